"""The plan of an agent: which of its stored steps a resume uses again, and which it makes again, before it runs.

Its first request is made as zrb makes it, and goes nowhere. Functions of the task that make the message, the settings
or the tools are called without queues. What they cannot tell, or only a run can, is known when it runs.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import reduce
from typing import Any, NamedTuple, NoReturn

from pydantic_ai.capabilities import AbstractCapability, CapabilityOrdering
from zrb.llm.util.attachment import get_attachments
from zrb.util.attr import get_attr

from zrb_store import codec
from zrb_store.codec.arguments import positional_and_named
from zrb_store.db.transaction import Transaction
from zrb_store.inspect.agents import Spent, answer_cost, is_answer_name
from zrb_store.inspect.resume import PlannedStep
from zrb_store.plugin import compat
from zrb_store.plugin.agents.changes import NOT_STORED, in_words, obstacle
from zrb_store.plugin.agents.declared import declared_hooks, declared_instructions
from zrb_store.plugin.agents.fingerprint import Fingerprints, Request, digest
from zrb_store.plugin.agents.hooks import mode_of, on_change_of, once_tools
from zrb_store.plugin.agents.prompts import NotReadable, Prompt, read_prompt
from zrb_store.plugin.compat import AnyTask
from zrb_store.queries import attempts, history
from zrb_store.queries.dependent_steps import StoredStep, of_attempts
from zrb_store.records import AttemptRecord, JsonValue

_WHOLE_PROMPT = ("message", "attachments", "instructions")


class Known(NamedTuple):
    """A step of an agent: its last attempt, with its result."""

    last: AttemptRecord
    result: str | None
    stands: bool

    @property
    def name(self) -> str:
        return self.last.step or ""

    @property
    def arguments(self) -> dict[str, JsonValue]:
        return positional_and_named(self.last.arguments or "null")[1]

    @property
    def is_compared(self) -> bool:
        """Whether it is compared with a request: a person has not kept it."""
        return self.stands and self.last.run_id is not None and self.last.arguments is not None

    @property
    def cost(self) -> Spent:
        if is_answer_name(self.name):
            return answer_cost(codec.to_json(self.result or "null"))
        return Spent(tool_calls=1) if self.name.startswith("tool ") else Spent()


def steps_of_agent(transaction: Transaction, session_id: int, task: str) -> list[Known]:
    """Return the steps of a task's agent, in the order in which they began; none if it has no agent."""
    unfinished = attempts.unfinished(transaction, session_id)
    without = of_attempts(transaction, [record.id for record in unfinished])  # they come back before the task runs
    found = history.of_task(transaction, session_id, task)
    newest = [list(group)[-1] for _, group in itertools.groupby(found, lambda each: each[0].step_number)]
    known = [
        Known(last, result, last.in_effect and last.restorable and last.id not in without) for last, result in newest
    ]
    of_agent = any(is_answer_name(one.name) or one.name == "prompt" for one in known)
    return sorted(known, key=lambda one: one.last.started_tick) if of_agent else []


class _Queues:
    """Stands for the queues of a session while it is planned: nobody may look into them."""

    def __getattr__(self, name: str) -> NoReturn:
        raise RuntimeError("it looks into queues")

    __getitem__ = __getattr__


class _Seen(BaseException):
    """The first request was made. No `except Exception` of the user's stops it."""


class _Probe(AbstractCapability[Any]):
    """Sees the first request, before any other capability, and lets it go nowhere."""

    request: Request
    tools: frozenset[str]
    code: str  # of the other capabilities

    def get_ordering(self) -> CapabilityOrdering:
        return CapabilityOrdering(position="outermost")

    async def wrap_model_request(self, ctx: Any, *, request_context: Any, handler: Any) -> Any:
        return await self.before_model_request(ctx, request_context)

    async def before_model_request(self, ctx: Any, request_context: Any) -> Any:
        fingerprints, parameters = Fingerprints(), request_context.model_request_parameters
        code = declared_hooks(getattr(ctx, "root_capability", None))
        if code:
            fingerprints.before_hooks(request_context.messages, code)
        self.request = fingerprints.of(
            request_context.model, request_context.model_settings, parameters, request_context.messages
        )
        self.tools = frozenset(tool.name for tool in (*parameters.function_tools, *parameters.output_tools))
        self.code = code
        raise _Seen

    def difference(self, stored: dict[str, JsonValue], others: bool, is_first: bool) -> str:
        """Say how the request differs from a stored one, with all its parts; empty if it does not.

        Args:
            stored: The stored one.
            others: Whether the agent may have tools that are not known here.
            is_first: Whether it was the agent's first one, so that its messages are compared.
        """
        now = self.request
        then = stored.get("tools")
        if others and isinstance(then, dict):
            stored = {**stored, "tools": {name: one for name, one in then.items() if name in self.tools}}
        found = now.difference(stored, None)
        if not found.startswith("messages["):
            return found
        messages = stored.get("new")
        if not is_first or not isinstance(messages, list):
            return ""
        # As `Fingerprints` has it: of a message that a hook has made, its code counts.
        as_now = [
            one if one in now.messages or not self.code else digest([self.code, place, now.messages])
            for place, one in enumerate(messages)
        ]
        return "" if messages == (as_now if self.code else now.messages) else found


class _Now(NamedTuple):
    """What a task would give its agent now, as far as that is known."""

    prompt: Mapping[str, JsonValue]
    probe: _Probe | None
    once: Mapping[str, str]
    has_others: bool  # whether it may have tools that are not known here, such as an MCP server's
    unknown: Sequence[str]  # what is not known, each with the reason


def _now(task: Any, inputs: Mapping[str, Any], stored: Prompt | None) -> _Now:
    shared = compat.SharedContext(args=[], env=dict(os.environ), input=dict(inputs))
    ctx = task.get_ctx(compat.Session(shared_ctx=shared, root_group=compat.cli))
    shared.__dict__["_xcom"] = _Queues()
    prompt: dict[str, JsonValue] = {"instructions": declared_instructions(task, "")}
    unknown = []
    rendering = (task._render_message,) if hasattr(task, "_render_message") else ()  # zrb 2
    makers: dict[str, Callable[[], object]] = {
        "message": lambda: get_attr(ctx, task._message, "", *rendering),
        "attachments": lambda: get_attachments(ctx, task._attachment) or [],
    }
    for name, maker in makers.items():
        try:
            prompt[name] = digest(maker())
        except Exception as error:  # noqa: BLE001 - the user's function
            unknown.append(f"the {name} ({error})")
    has_others = bool(task._toolsets or task._toolset_factories)
    probe, once = _Probe(), {}
    try:
        once = once_tools(task, task.get_all_tools(ctx))
        agent = task._create_agent(ctx, system_prompt=stored.system_prompt if stored else "", toolsets=[])
        start = (stored.message, list(stored.history)) if stored else ("", [])
        asyncio.run(agent.run(start[0], message_history=start[1], capabilities=[probe]))
    except _Seen:
        return _Now(prompt, probe, once, has_others, unknown)
    except Exception as error:  # noqa: BLE001 - the user's function, or no key for the model
        unknown.append(f"the request ({str(error).partition(chr(10))[0]})")
    return _Now(prompt, None, once, has_others, unknown)


def plan_agent(
    known: Sequence[Known], task: AnyTask, inputs: Mapping[str, Any], over: str | None
) -> tuple[list[PlannedStep], Spent]:
    """Return what a resume does with each step of a task's agent, and what it makes again that had completed.

    Args:
        known: Its steps, in the order in which they began.
        task: The task.
        inputs: Its inputs, as far as they are known.
        over: Why the task starts over; None if it does not.
    """
    mode = mode_of(task)
    over = over or {"on": None, "off": "agents-off", "private": "private"}[mode]
    if over is not None:
        return _planned(known, {one.name: ("made-again", over) for one in known})
    prompt = next((one for one in known if one.name == "prompt"), None)
    stored = None
    if prompt is not None and prompt.stands:
        with suppress(NotReadable):  # the run tells of it
            stored = read_prompt(codec.decode(prompt.result or "null"))
    now = _now(task, inputs, stored)
    plans = {one.name: _alone(one, now) for one in known}
    place, action, reason = _change(known, now, on_change_of(task))
    for one in known[place:]:
        if one.stands or action == "made-again":
            plans[one.name] = (action, reason if one is known[place] or action != "made-again" else "follows")
    if not plans or place < len(known) or not now.unknown:
        return _planned(known, plans)
    unknown = ("known-when-it-runs", ", ".join(now.unknown))
    return _planned(known, {name: unknown if plan[0] == "reused" else plan for name, plan in plans.items()})


def _planned(known: Sequence[Known], plans: Mapping[str, tuple[str, str]]) -> tuple[list[PlannedStep], Spent]:
    steps = [PlannedStep(one.last.task, one.name, *plans[one.name]) for one in known]
    again = [one.cost for one in known if one.stands and plans[one.name][0] == "made-again"]
    return steps, reduce(Spent.__add__, again, Spent())


def _alone(one: Known, now: _Now) -> tuple[str, str]:
    """Return what becomes of a step if no request has changed."""
    if one.stands:
        return "reused", "completed"
    status = one.last.status
    if one.last.once and status != "failed":
        tool = one.name.split(" ")[1] if one.name.startswith("tool ") else ""
        return ("not-repeated" if now.once.get(tool) == "tell" else "stops"), "unknown"
    if one.last.in_effect and not one.last.restorable:
        return "made-again", "not-stored"
    return "made-again", "lost" if status in ("running", "completed") else status


def _change(known: Sequence[Known], now: _Now, policy: str) -> tuple[int, str, str]:
    """Return from which place on the steps no longer fit the requests, what becomes of them, and why."""
    for place, difference in _differences(known, now):
        rest, reason = known[place:], in_words(difference)
        standing = [
            StoredStep(one.name, one.result, one.last.started_tick, one.last.ended_tick) for one in rest if one.stands
        ]
        if not standing:
            return place, "made-again", reason
        if policy == "rerun":
            uncertain = any(one.last.once and one.last.status != "failed" for one in rest)
            return place, "stops" if uncertain else "made-again", reason
        why = NOT_STORED if difference == NOT_STORED else ""
        if policy == "reuse" and not why:
            if now.probe is None:
                continue
            why = obstacle(standing, None if now.has_others else now.probe.tools)
            if not why:
                return place, "reused", reason
        return place, "stops", f"{reason}, but {why}" if why and why != reason else reason
    return len(known), "", ""


def _differences(known: Sequence[Known], now: _Now) -> Iterator[tuple[int, str]]:
    """Yield where a stored answer no longer fits, and how its request differs."""
    parts: dict[str, JsonValue] = {}
    is_compared = False
    for place, one in enumerate(known):
        is_model = is_answer_name(one.name)
        if one.last.in_effect and not one.last.restorable and (is_model or one.name == "prompt"):
            yield place, NOT_STORED
        if one.name == "prompt" and one.is_compared:
            then = one.arguments
            differing = [name for name in _WHOLE_PROMPT if name in now.prompt and then.get(name) != now.prompt[name]]
            if differing:
                yield place, ", ".join(differing)
        elif is_model and one.stands:
            then = one.arguments
            parts |= {name: value for name, value in then.items() if name in ("settings", "tools", "output")}
            parts |= {"instructions": then["instructions"]} if "instructions" in then else {}
            if one.is_compared and now.probe is not None and not is_compared:
                is_compared = True
                difference = now.probe.difference({**then, **parts}, now.has_others, one.name == "model")
                if difference:
                    yield place, difference
