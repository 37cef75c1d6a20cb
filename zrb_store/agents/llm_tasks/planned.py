"""The plan of an agent: which of its stored steps a resume uses again, and which it makes again, before it runs.

Its first request is made as zrb makes it, and goes nowhere. Functions of the task that make the message, the settings
or the tools are called without queues, and servers are asked for their tools. `decide` decides, as when the agent runs.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, NoReturn

from pydantic_ai.capabilities import AbstractCapability, CapabilityOrdering
from zrb.llm.util.attachment import get_attachments
from zrb.util.attr import get_attr

from zrb_store import codec
from zrb_store.agents.kinds import MODEL_REQUEST, PROMPT
from zrb_store.agents.llm_tasks.agent_run import instructions_of
from zrb_store.agents.llm_tasks.hooks import terms_of
from zrb_store.agents.once import OncePolicy
from zrb_store.agents.runtime.capability import marked_policy
from zrb_store.agents.runtime.changes import NOT_STORED, Tools, decide, in_words, paid_by, schemas_of
from zrb_store.agents.runtime.digests import digest
from zrb_store.agents.runtime.fingerprint import Fingerprints, RequestFingerprint
from zrb_store.agents.runtime.journal import prompt_difference
from zrb_store.agents.runtime.stored import NotReadable, Prompt, read_prompt
from zrb_store.agents.step import AgentStep
from zrb_store.codec.arguments import positional_and_named
from zrb_store.inspect.resume import PlannedStep
from zrb_store.plugin import compat
from zrb_store.plugin.compat import AnyTask
from zrb_store.queries.steps import StepRecord
from zrb_store.records import JsonValue


class _Queues:
    """Stands for the queues of a session while it is planned."""

    def __getattr__(self, name: str) -> NoReturn:
        raise RuntimeError("it looks into queues")

    __getitem__ = __getattr__


class _FirstRequest(BaseException):
    """The first request was made. No `except Exception` of the user's stops it."""


class _Probe(AbstractCapability[Any]):
    """Sees the first request, before any other capability, and lets it go nowhere."""

    request: RequestFingerprint
    schemas: Tools  # of the tools of the request

    def __init__(self) -> None:
        super().__init__()
        self._fingerprints = Fingerprints()
        self.once: dict[str, OncePolicy] = {}  # the tools that are marked

    def get_ordering(self) -> CapabilityOrdering:
        return CapabilityOrdering(position="outermost")

    async def wrap_model_request(self, ctx: Any, *, request_context: Any, handler: Any) -> Any:
        return await self.before_model_request(ctx, request_context)

    async def before_model_request(self, ctx: Any, request_context: Any) -> Any:
        given = request_context.messages
        self._fingerprints.begin_run(ctx)
        self._fingerprints.before_hooks(given)
        model, settings = request_context.model, request_context.model_settings
        parameters = request_context.model_request_parameters
        self.request = self._fingerprints.of(model, settings, parameters, given)
        self.schemas = schemas_of(parameters)
        found = {name: marked_policy(ctx, name) for name in self.tools}
        self.once = {name: policy for name, policy in found.items() if policy}
        raise _FirstRequest

    @property
    def tools(self) -> dict[str, JsonValue]:
        """Digests of the tools of the request, by name."""
        found = self.request.parts["tools"]
        return found if isinstance(found, dict) else {}

    def difference(self, then: Mapping[str, Any], *, is_first: bool) -> str:
        """Say how the request differs from a stored one that has all its parts; empty if it does not.

        Of a later one only what does not follow from the answers before is compared, if it had the tools of the first.
        """
        found = self.request.difference(then, None)
        given, made_at = self.request.messages, self._fingerprints.placeholder_digest
        same = (one in given or one == made_at(place) for place, one in enumerate(then.get("new", ())))
        return "" if found.startswith("messages[") and (not is_first or all(same)) else found


@dataclass
class _Now:
    """What a task would give its agent now, as far as that is known."""

    prompt: dict[str, JsonValue] = field(default_factory=dict)  # digests, by the names of the arguments of its step
    probe: _Probe | None = None
    unknown: list[str] = field(default_factory=list)  # what is not known, each with the reason

    @contextmanager
    def finding(self, name: str) -> Iterator[None]:
        """Note why it is not known, if something fails in the block."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - the user's function, a server, or no key for the model
            self.unknown.append(f"the {name} ({str(error).partition(chr(10))[0]})")


def _now(task: Any, inputs: Mapping[str, Any], first: StepRecord | None) -> _Now:
    shared = compat.SharedContext(args=[], env=dict(os.environ), input=dict(inputs))
    ctx = task.get_ctx(compat.Session(shared_ctx=shared, root_group=compat.cli))
    shared.__dict__["_xcom"] = _Queues()
    rendering = (task._render_message,) if hasattr(task, "_render_message") else ()  # zrb 2
    now, stored = _Now(), Prompt("", [], "")
    with suppress(NotReadable):  # the run tells of it
        stored = (first and read_prompt(codec.decode(first.result or "null"))) or stored
    with now.finding("message"):
        now.prompt["message"] = digest(get_attr(ctx, task._message, "", *rendering))
    with now.finding("attachments"):
        now.prompt["attachments"] = digest(get_attachments(ctx, task._attachment) or [])
    declared, _ = instructions_of(task, "", None)
    if first is not None and _arguments(first).get("instructions") != declared:
        with now.finding("instructions"):
            now.prompt["instructions"], _ = instructions_of(task, task.get_system_prompt(ctx), first)
    with now.finding("request"):
        agent, probe = task._create_agent(ctx, system_prompt=stored.system_prompt), _Probe()
        with suppress(_FirstRequest):
            asyncio.run(agent.run(stored.message, message_history=list(stored.history), capabilities=[probe]))
        now.probe = probe
    return now


def plan_agent(
    known: Sequence[StepRecord], task: AnyTask, inputs: Mapping[str, Any], over: str | None, survived: Collection[int]
) -> list[PlannedStep]:
    """Return what a resume does with each known step of a task's agent, with the inputs that are known.

    What is given back before the task runs is not in effect. `over` says why the task starts over, if it does, and
    `survived` has the ids of the failures that it survived.
    """
    terms = terms_of(task, "")
    plans: list[tuple[str, str]] = [("made-again", over or "agents-off")] * len(known)
    if over is None and terms is None and paid_by("", known)[0]:
        plans = [("stops", "agents-off")] * len(known)
    if over is None and terms is not None:
        now = _now(task, inputs, next(filter(_is_first_prompt, known), None))
        once = {**(now.probe.once if now.probe else {}), **terms.once}
        plans = [_alone(one, once, survived) for one in known]
        reason = ""
        for place, difference, tools in _differences(known, now):
            verdict = decide(terms.on_change, difference, known[place:], tools)
            action = "stops" if verdict.action == "refused" else verdict.action
            reason = in_words(difference) + (f", but {verdict.obstacle}" if verdict.obstacle else "")
            for each in range(place, len(known)):
                if action == "made-again":
                    plans[each] = action, "follows" if each > place else reason
                elif known[each].is_done or (known[each].in_effect and action == "stops"):
                    plans[each] = action, reason
            if action != "reused":
                break
        if now.unknown and not reason:
            unknown = ("known-when-it-runs", ", ".join(now.unknown))
            plans = [unknown if plan[0] == "reused" else plan for plan in plans]
    return [PlannedStep(one.task, one.step, *plan) for one, plan in zip(known, plans, strict=True)]


def _is_first_prompt(one: StepRecord) -> bool:
    return one.is_done and one.kind == PROMPT and AgentStep.of(one) == AgentStep()


def _alone(one: StepRecord, once: Mapping[str, str], survived: Collection[int]) -> tuple[str, str]:
    """Return what becomes of a step if no request has changed."""
    if one.is_done:
        return "reused", "completed"
    if one.id in survived:
        return "raised-again", "survived"
    if one.uncertain:
        return "not-repeated" if once.get(AgentStep.of(one).tool) == "tell" else "stops", "unknown"
    if one.status == "waiting":
        return "known-when-it-runs", "waiting"
    dead = one.status in ("running", "completed")
    return "made-again", "not-stored" if one.in_effect else "lost" if dead else one.status


def _differences(known: Sequence[StepRecord], now: _Now) -> Iterator[tuple[int, str, Tools]]:
    """Yield where stored steps no longer fit, how their requests differ, and the tools that the agent has there.

    A later request may have had tools that the first one had not: it is taken to have them again.
    """
    parts, first = dict[str, Any](), dict[str, JsonValue]()  # of the requests then, and the tools of the first one
    found, is_compared = "", False
    for place, one in enumerate(known):
        kind, then = one.kind, _arguments(one)
        if kind in (PROMPT, MODEL_REQUEST) and one.in_effect and not one.restorable:
            yield place, NOT_STORED, {}
        elif kind == PROMPT and one.is_done and then and not one.kept:
            found = prompt_difference(one.arguments or "null", {**then, **now.prompt})
            if found:
                yield place, found, {}
        elif kind == MODEL_REQUEST and one.is_done and now.probe is not None:
            parts |= then
            tools = parts.get("tools", {})
            first = first or tools
            if then and not one.kept:
                if not found and not is_compared:  # the others follow
                    had = {**parts, "tools": now.probe.tools} if tools != first else parts
                    found = now.probe.difference(had, is_first=AgentStep.of(one).number == 1)
                is_compared = True
                if found:
                    gone = first.keys() - now.probe.tools.keys()
                    left = (tools.keys() | now.probe.tools.keys()) - gone
                    yield place, found, {name: now.probe.schemas.get(name, {}) for name in left}


def _arguments(step: StepRecord) -> dict[str, JsonValue]:
    return positional_and_named(step.arguments or "null")[1]
