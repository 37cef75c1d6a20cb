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
from typing import Any, NamedTuple, NoReturn

from pydantic_ai.capabilities import AbstractCapability, CapabilityOrdering
from zrb.llm.util.attachment import get_attachments
from zrb.util.attr import get_attr

from zrb_store import codec
from zrb_store.agents.changes import NOT_STORED, OnChange, in_words, obstacle
from zrb_store.agents.declared import declared_functions, declared_hooks, declared_instructions
from zrb_store.agents.fingerprint import Fingerprints, Request, digest
from zrb_store.agents.prompts import NotReadable, Prompt, read_prompt
from zrb_store.codec.arguments import positional_and_named
from zrb_store.db.transaction import Transaction
from zrb_store.inspect.agents import is_answer_name
from zrb_store.inspect.resume import PlannedStep
from zrb_store.plugin import compat
from zrb_store.plugin.agents.hooks import mode_of, on_change_of, once_tools
from zrb_store.plugin.compat import AnyTask
from zrb_store.queries import attempts, history
from zrb_store.queries.dependent_steps import StoredStep, of_attempts
from zrb_store.records import AttemptRecord, JsonValue

_PARTS = ("settings", "tools", "output", "instructions")  # of a request, as `Request.stored` names them


class Known(NamedTuple):
    """A step of an agent: its last attempt, and the result of that if it stands."""

    last: AttemptRecord
    result: str | None
    stands: bool

    @property
    def stored(self) -> StoredStep:
        return StoredStep(self.last.step or "", self.result, self.last.started_tick, self.last.ended_tick)

    @property
    def uncertain(self) -> bool:
        """Whether it must not be repeated, and has happened or may have."""
        return self.last.once and self.last.status != "failed"

    @property
    def lost_result(self) -> bool:
        """Whether it completed, and its result could not be stored."""
        return self.last.in_effect and not self.last.restorable

    @property
    def request(self) -> dict[str, JsonValue]:
        """What is compared of it; nothing if a person has kept it."""
        is_own = self.stands and self.last.run_id is not None
        return positional_and_named(self.last.arguments or "null")[1] if is_own else {}


def steps_of_agent(transaction: Transaction, session_id: int, task: str) -> list[Known]:
    """Return the steps of a task's agent, in the order in which they began."""
    unfinished = attempts.unfinished(transaction, session_id)
    undone = of_attempts(transaction, [record.id for record in unfinished])  # before the task runs
    found = history.of_task(transaction, session_id, task)
    newest = [list(group)[-1] for _, group in itertools.groupby(found, lambda each: each[0].step_number)]
    known = [Known(last, data, last.in_effect and last.restorable and last.id not in undone) for last, data in newest]
    return sorted(known, key=lambda one: one.last.started_tick)


class _Queues:
    """Stands for the queues of a session while it is planned."""

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
        self.code, fingerprints.functions = (
            declared_hooks(getattr(ctx, "root_capability", None)),
            declared_functions(ctx),
        )
        if self.code:
            fingerprints.before_hooks(request_context.messages, self.code)
        self.request = fingerprints.of(
            request_context.model, request_context.model_settings, parameters, request_context.messages
        )
        self.tools = frozenset(tool.name for tool in (*parameters.function_tools, *parameters.output_tools))
        raise _Seen

    def difference(self, stored: dict[str, JsonValue], *, others: bool) -> str:
        """Say how the request differs from a stored one that has all its parts; empty if it does not.

        With `others`, the agent may have tools that are not known here.
        """
        now, tools, then = self.request, stored.get("tools"), stored.get("new")
        if others and isinstance(tools, dict):
            stored = {**stored, "tools": {name: one for name, one in tools.items() if name in self.tools}}
        found = now.difference(stored, None)
        if not found.startswith("messages[") or not isinstance(then, list):
            return found
        # As in `Fingerprints`, the code counts of a message that a hook has made.
        given = now.messages
        seen = [
            one if one in given or not self.code else digest([self.code, place, given])
            for place, one in enumerate(then)
        ]
        return "" if then == (seen if self.code else given) else found


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
    rendering = (task._render_message,) if hasattr(task, "_render_message") else ()  # zrb 2
    makers: dict[str, Callable[[], object]] = {
        "message": lambda: get_attr(ctx, task._message, "", *rendering),
        "attachments": lambda: get_attachments(ctx, task._attachment) or [],
    }
    prompt, unknown, once = dict[str, JsonValue](), list[str](), dict[str, str]()
    for name, make in makers.items():
        try:
            prompt[name] = digest(make())
        except Exception as error:  # noqa: BLE001 - the user's function
            unknown.append(f"the {name} ({error})")
    prompt["instructions"] = declared_instructions(task, "")
    probe: _Probe | None = _Probe()
    try:
        once |= once_tools(task, task.get_all_tools(ctx))
        agent = task._create_agent(ctx, system_prompt=stored.system_prompt if stored else "", toolsets=[])
        message, history = (stored.message, list(stored.history)) if stored else ("", [])
        asyncio.run(agent.run(message, message_history=history, capabilities=[probe]))
    except _Seen:
        pass
    except Exception as error:  # noqa: BLE001 - the user's function, or no key for the model
        probe = None
        unknown.append(f"the request ({str(error).partition(chr(10))[0]})")
    return _Now(prompt, probe, once, bool(task._toolsets or task._toolset_factories), unknown)


def plan_agent(known: Sequence[Known], task: AnyTask, inputs: Mapping[str, Any], over: str | None) -> list[PlannedStep]:
    """Return what a resume does with each step of a task's agent.

    Args:
        known: Its steps, in the order in which they began.
        task: The task.
        inputs: Its inputs, as far as they are known.
        over: Why the task starts over; None if it does not.
    """
    over = over or {"on": None, "off": "agents-off", "private": "private"}[mode_of(task)]
    plans: list[tuple[str, str]] = [("made-again", over or "")] * len(known)
    if over is None:
        stored = None
        first = next((one for one in known if one.stands and one.last.step == "prompt"), None)
        if first is not None:
            with suppress(NotReadable):  # the run tells of it
                stored = read_prompt(codec.decode(first.result or "null"))
        now = _now(task, inputs, stored)
        plans = [_alone(one, now) for one in known]
        place, action, reason = _change(known, now, on_change_of(task))
        for each in range(place, len(known)):
            if known[each].stands or action == "made-again":
                plans[each] = action, "follows" if each > place and action == "made-again" else reason
        if place == len(known) and now.unknown:
            unknown = ("known-when-it-runs", ", ".join(now.unknown))
            plans = [unknown if plan[0] == "reused" else plan for plan in plans]
    return [PlannedStep(one.last.task, one.stored.step, *plan) for one, plan in zip(known, plans, strict=True)]


def _alone(one: Known, now: _Now) -> tuple[str, str]:
    """Return what becomes of a step if no request has changed."""
    if one.stands:
        return "reused", "completed"
    if one.uncertain:
        tool = one.stored.step.removeprefix("tool ").partition(" ")[0]
        return "not-repeated" if now.once.get(tool) == "tell" else "stops", "unknown"
    dead = one.last.status in ("running", "completed")
    return "made-again", "not-stored" if one.lost_result else "lost" if dead else one.last.status


def _change(known: Sequence[Known], now: _Now, policy: OnChange) -> tuple[int, str, str]:
    """Return from which place on the steps no longer fit the requests, what becomes of them, and why."""
    for place, difference in _differences(known, now):
        standing, reason = [one.stored for one in known[place:] if one.stands], in_words(difference)
        if policy == "rerun" or not standing:
            return place, "stops" if any(one.uncertain for one in known[place:]) else "made-again", reason
        if policy == "stop" or difference == NOT_STORED:
            return place, "stops", reason
        if now.probe is not None:  # else it is not known whether they can be used
            why = obstacle(standing, None if now.has_others else now.probe.tools)
            return place, "stops" if why else "reused", f"{reason}, but {why}" if why else reason
    return len(known), "", ""


def _differences(known: Sequence[Known], now: _Now) -> Iterator[tuple[int, str]]:
    """Yield where a stored answer no longer fits, and how its request differs."""
    parts, is_compared = dict[str, JsonValue](), False
    for place, one in enumerate(known):
        is_answer, then = is_answer_name(one.stored.step), one.request
        if one.lost_result and (is_answer or one.stored.step == "prompt"):
            yield place, NOT_STORED
        if one.stored.step == "prompt" and then:
            names = ("message", "attachments", "instructions")
            if differing := [name for name in names if name in now.prompt and then.get(name) != now.prompt[name]]:
                yield place, ", ".join(differing)
        if is_answer and one.stands and now.probe is not None and not is_compared:
            all_of = positional_and_named(one.last.arguments or "null")[1]
            parts |= {name: value for name, value in all_of.items() if name in _PARTS}
            if then:
                is_compared = True
                if one.stored.step != "model":  # the messages follow from the answers before
                    then = {**then, "messages": len(now.probe.request.messages), "new": [*now.probe.request.messages]}
                if difference := now.probe.difference({**then, **parts}, others=now.has_others):
                    yield place, difference
