"""The plan of an agent: which of its stored steps a resume uses again, and which it makes again, before it runs.

Its first request is made as zrb makes it, and goes nowhere. Functions of the task that make the message, the settings
or the tools are called without queues. What they cannot tell, or only a run can, is known when it runs.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
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
from zrb_store.queries import attempts, show
from zrb_store.queries.dependent_steps import StoredStep, of_attempts
from zrb_store.records import AttemptRecord, JsonValue

_PARTS = ("settings", "tools", "output", "instructions")  # of a request, as `Request.stored` names them
_OTHERS = ("_toolsets", "_toolset_factories")  # of a task: what may give tools that are not known before
_STARTS = ("message", "attachments", "instructions")  # what the step of the prompt compares


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
        """What it was asked, as digests."""
        return positional_and_named(self.last.arguments or "null")[1] if self.stands else {}


def steps_of_agent(transaction: Transaction, session_id: int, task: str) -> list[Known]:
    """Return the steps of a task's agent, in the order in which they began."""
    unfinished = attempts.unfinished(transaction, session_id)
    undone = of_attempts(transaction, [record.id for record in unfinished])  # before the task runs
    found = show.steps_of_task(transaction, session_id, task)
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

    def difference(self, stored: dict[str, JsonValue], *, is_first: bool, others: bool) -> str:
        """Say how the request differs from a stored one that has all its parts; empty if it does not.

        The messages are compared of the first one: those of later ones follow from the answers before. With `others`,
        the agent may have tools that are not known here.
        """
        given, tools, then = self.request.messages, stored.get("tools"), stored.get("new")
        if others and isinstance(tools, dict):
            stored = {**stored, "tools": {name: one for name, one in tools.items() if name in self.tools}}
        if self.code and isinstance(then, list):  # as in `Fingerprints`, it counts of a message that a hook has made
            made = (digest([self.code, place, given]) for place in range(len(then)))
            given = [one if one in given else other for one, other in zip(then, made, strict=True)]
        found = self.request.difference(stored, None)
        return "" if found.startswith("messages[") and (not is_first or then == given) else found


@dataclass
class _Now:
    """What a task would give its agent now, as far as that is known."""

    prompt: dict[str, JsonValue]  # digests, by the names of the arguments of its step
    has_others: bool  # whether it may have tools that are not known here, such as an MCP server's
    probe: _Probe | None = None
    once: Mapping[str, str] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)  # what is not known, each with the reason

    @contextmanager
    def finding(self, name: str) -> Iterator[None]:
        """Note why it is not known, if something fails in the block."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - the user's function, or no key for the model
            self.unknown.append(f"the {name} ({str(error).partition(chr(10))[0]})")


def _now(task: Any, inputs: Mapping[str, Any], stored: Prompt | None) -> _Now:
    shared = compat.SharedContext(args=[], env=dict(os.environ), input=dict(inputs))
    ctx = task.get_ctx(compat.Session(shared_ctx=shared, root_group=compat.cli))
    shared.__dict__["_xcom"] = _Queues()
    rendering = (task._render_message,) if hasattr(task, "_render_message") else ()  # zrb 2
    now = _Now({"instructions": declared_instructions(task, "")}, any(getattr(task, name, ()) for name in _OTHERS))
    with now.finding("message"):
        now.prompt["message"] = digest(get_attr(ctx, task._message, "", *rendering))
    with now.finding("attachments"):
        now.prompt["attachments"] = digest(get_attachments(ctx, task._attachment) or [])
    with now.finding("request"):
        now.once = once_tools(task, task.get_all_tools(ctx))
        agent = task._create_agent(ctx, system_prompt=stored.system_prompt if stored else "", toolsets=[])
        message, earlier, probe = (stored.message if stored else ""), list(stored.history if stored else []), _Probe()
        with suppress(_Seen):
            asyncio.run(agent.run(message, message_history=earlier, capabilities=[probe]))
        now.probe = probe
    return now


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
    if one.last.status == "waiting":
        return "known-when-it-runs", "waiting"
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
    parts, probe = dict[str, JsonValue](), now.probe
    for place, one in enumerate(known):
        step, then = one.stored.step, one.request
        is_kept, is_prompt, is_answer = one.last.run_id is None, step == "prompt", is_answer_name(step)
        if one.lost_result and (is_prompt or is_answer):
            yield place, NOT_STORED
        differing = [name for name in _STARTS if name in now.prompt and then.get(name) != now.prompt[name]]
        if is_prompt and then and not is_kept and differing:
            yield place, ", ".join(differing)
        if is_answer and one.stands and probe is not None:
            parts |= {name: value for name, value in then.items() if name in _PARTS}
            if then and not is_kept:
                difference = probe.difference({**then, **parts}, is_first=step == "model", others=now.has_others)
                probe = None  # the others follow
                if difference:
                    yield place, difference
