"""The steps of the agent that works in one attempt (`Journal`).

`AgentRuns` counts the runs of an agent, and `Terms` are what its task says of it.
"""

from __future__ import annotations

import asyncio
import shlex
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from functools import partial
from itertools import count, takewhile
from types import MappingProxyType
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from pydantic_ai import ToolApproved, ToolDenied
from pydantic_ai.messages import ModelMessage, ToolCallPart
from pydantic_ai.models import Model, ModelRequestParameters
from pydantic_ai.settings import ModelSettings

from zrb_store.agents.kinds import APPROVAL, DEFERRED, MODEL_REQUEST, PROMPT, TOOL_CALL
from zrb_store.agents.once import OncePolicy
from zrb_store.agents.runtime.changes import (
    NO_TOOLS,
    NOT_STORED,
    ChangedRequests,
    OnChange,
    Tools,
    in_words,
    schemas_of,
)
from zrb_store.agents.runtime.decisions import Budget, ask
from zrb_store.agents.runtime.digests import digest
from zrb_store.agents.runtime.fingerprint import Fingerprints, RequestFingerprint, message_digest
from zrb_store.agents.runtime.leftovers import leftovers_of
from zrb_store.agents.runtime.names import CallNames, bounded, word
from zrb_store.agents.runtime.stored import (
    Data,
    Dump,
    NotReadable,
    Prompt,
    encoded,
    encoded_messages,
    refusal_of,
    summary,
)
from zrb_store.agents.settings import Limits
from zrb_store.agents.step import AgentStep
from zrb_store.attempt import Attempt, Step
from zrb_store.attempt.exact_steps import ExactStep, open_exact, steps_before, stored_step
from zrb_store.attempt.steps import StoredResult
from zrb_store.codec.arguments import positional_and_named, stored_arguments
from zrb_store.errors import AttemptClosed, LeaseLost, StepUncertain, StoreUnavailable, ZrbStoreError
from zrb_store.masking import ErrorText
from zrb_store.names import numbered
from zrb_store.queries.steps import NewStep, StepRecord
from zrb_store.records import JsonValue

_MADE_AGAIN = ("failed", "interrupted", "completed")
"""How steps have ended that are made again where they were, whatever came after them, the last without a result."""
_LAST_WAIT = 3.0  # seconds, for the store
# The tool or the model decides what other errors of ours mean.
_FATAL = (AttemptClosed, LeaseLost, StoreUnavailable)


class AgentRuns:
    """Numbers the runs of one agent in an attempt.

    A run that starts as a stored one has its number again: gathered ones may start in another order. Of an agent that
    had one run, the message may have changed. Any other run is a new one.
    """

    def __init__(self, stored: Sequence[Mapping[str, JsonValue] | None]) -> None:
        self.stored = self._last = len(stored)
        # The arguments of the prompts of those that stand, and did not start again yet.
        self._starts = {number: one for number, one in enumerate(stored, 1) if one is not None}

    def number(self, start: Mapping[str, JsonValue]) -> int:
        """Return the number of a run that starts with these arguments of its prompt."""
        equal = [number for number, stored in self._starts.items() if {**stored, **start} == stored]
        found = equal or (self._left(start) if self.stored == 1 else [])
        self._last += not found
        number = next(iter(found), self._last)
        self._starts.pop(number, None)
        return number

    def _left(self, start: Mapping[str, JsonValue]) -> list[int]:
        """Return the stored runs with the same deps that nobody has asked for yet."""
        # A private run has stored none.
        return [number for number, one in self._starts.items() if not one or one.get("deps") == start.get("deps")]


_runs: WeakKeyDictionary[Attempt, dict[str, AgentRuns]] = WeakKeyDictionary()
"""The runs of agents in each attempt, by name."""


reading: ContextVar[tuple[Step, ...]] = ContextVar("zrb_store_reading", default=())
"""The requests whose streams the code reads."""


class Terms(NamedTuple):
    """How an agent works, as a task or `durable` says."""

    is_private: bool = False  # whether neither prompts nor answers are stored
    on_change: OnChange = "rerun"
    setting: str = "`ZRB_STORE_CHANGED_REQUEST={}` at the next start"  # how a person sets another one in place of `{}`
    budget: Limits | None = None  # what the agents of the session may use
    waits: bool = False  # whether the session waits for what a person has to decide
    once: Mapping[str, OncePolicy] = MappingProxyType(
        {}
    )  # tools that must not be repeated, beside those that are marked


class Journal:
    """The steps of one agent that works in an attempt. `agent` is its name, if the attempt may have others."""

    def __init__(self, attempt: Attempt, terms: Terms | None = None, agent: str = "") -> None:
        self.terms = terms = terms or Terms()
        self.agent = agent
        # The tools that must not be repeated, by name, and what happens if the end of one is unknown.
        self.once = dict(terms.once)
        # By it the store, or a step that must not be repeated, has stopped the agent.
        self.fatal: ZrbStoreError | None = None
        self.any_live = False  # whether an answer did not come from the store since this was last set to False
        self.request_step: Step | StoredResult | None = None  # the last request
        self.changes = ChangedRequests(attempt, terms.on_change, terms.setting)
        self.fingerprints = Fingerprints()
        self._reasons: dict[str, str] = {}  # why steps run although they had completed, by name
        self._used_anyway = ""  # what had changed when stored answers were used, until that is kept with the next one
        self._attempt = attempt
        self._budget = None if terms.budget is None else Budget(attempt, terms.budget, waits=terms.waits)
        self._own = AgentStep()  # what all its steps have in their attributes
        self._is_new = False  # whether no stored run starts like this one
        self._leftovers = leftovers_of(attempt, self._at_the_end)
        self._start: Prompt | None = None  # what its run starts from, until that is kept
        self._started_by: dict[str, JsonValue] = {}  # as digests
        self._requests: list[RequestFingerprint] = []
        self._restart_at: int | None = None
        self._failed: tuple[ExactStep, Exception] | None = None  # the last request, if it has failed
        self._calls = CallNames()
        self._prompts = 0

    @property
    def position(self) -> int:
        """How many requests the agent has made."""
        return len(self._requests)

    def restart(self, position: int) -> None:
        """Note that zrb runs the agent again from an earlier point, because a request failed.

        If its next request is the one that was made there, the answers since then are used again.
        """
        self._restart_at = position
        self._calls.restart(position)

    def begin_run(self, prompt: Any, history: Sequence[ModelMessage], deps: object) -> None:
        """Choose the number of a run of the agent by what it starts from."""
        self._start = Prompt(prompt, list(history), "")
        try:
            of_deps = digest(deps)
        except RecursionError:  # they contain themselves
            of_deps = type(deps).__qualname__
        self._started_by = {"message": digest([prompt, list(map(message_digest, history))]), "deps": of_deps}
        start = {} if self.terms.is_private else self._started_by
        all_runs = _runs.setdefault(self._attempt, {})
        runs = all_runs[self.agent] = all_runs.get(self.agent) or self._stored_runs()
        number = runs.number(start)
        self._own = AgentStep(bounded(self.agent), number)
        self._is_new = number > runs.stored
        self._leftovers.begins(self._run)

    def end_run(self) -> None:
        """Note that the run of the agent has ended."""
        self._leftovers.ends(self._run)

    @property
    def _run(self) -> str:
        return self._own.label

    def _begins(self, pays: bool | None, known: StepRecord | None, given_back: bool) -> None:
        """Look for what is left before a step begins, which `pays` for a request, or for a call (False)."""
        if known is not None and given_back:
            self._leftovers.given_back(known.id)
        elif pays is None or (known is not None and known.status in _MADE_AGAIN):
            return
        position = self.position if self._restart_at is None else self._restart_at
        left = self._leftovers.before(self._run, position, is_call=pays is False)
        if pays is not None:
            self.changes.passes_over(left, self._run, is_new=self._is_new)

    def _at_the_end(self) -> None:
        self.changes.passes_over(self._leftovers.at_the_end())

    def _stored_runs(self) -> AgentRuns:
        steps = ((AgentStep.of(step), step) for step in steps_before(self._attempt) if step.kind == PROMPT)
        prompts = {own.run: step for own, step in steps if (own.agent, own.number) == (bounded(self.agent), 1)}

        def start(found: StepRecord) -> Mapping[str, JsonValue] | None:
            return positional_and_named(found.arguments or "null")[1] if found.in_effect else None

        return AgentRuns([start(prompts[run]) for run in takewhile(prompts.__contains__, count(1))])

    def _new(self, kind: str, text: str, number: int, *, tool: str = "", call: str = "") -> NewStep:
        """Return a step without arguments. The text says which one it is among those of the agent with its number."""
        own = self._own._replace(number=number, tool=tool, call=call)
        name = numbered(bounded(f"{own.label}: {text}" if own.label else text), number)
        return NewStep(name, None, kind=kind, attributes=own.encoded())

    def _keep_start(self, instructions: str = "") -> None:
        """Keep what the run starts from, before its first request or, if it starts with approved calls, its first call.

        `show` tells it.
        """
        start, self._start = self._start, None
        if start is not None:
            with self.prompt(self._started_by) as step:
                if isinstance(step, Step):
                    self.keep(step, start._replace(system_prompt=instructions).dump)

    def prompt(self, arguments: Mapping[str, JsonValue]) -> AbstractContextManager[Step | StoredResult]:
        """Open the step that keeps what an agent starts from, or what is stored of it."""
        self._prompts += 1
        new = self._new(PROMPT, "prompt", self._prompts)
        kept = {} if self.terms.is_private else arguments
        return self._open(self._compared(new, kept, lambda stored: prompt_difference(stored, arguments)))

    def stored_prompt(self) -> StepRecord | None:
        """Return what is stored of the prompt that the agent is about to start from."""
        return stored_step(self._attempt, self._new(PROMPT, "prompt", self._prompts + 1).key)

    @contextmanager
    def request(
        self,
        model: Model,
        settings: ModelSettings | None,
        parameters: ModelRequestParameters,
        messages: Sequence[ModelMessage],
    ) -> Iterator[Step | StoredResult]:
        """Yield the step of a request to a model, or the stored answer if the request is the same as then."""
        self.refuse_if_stopping()
        request = self.fingerprints.of(model, settings, parameters, messages)
        if self._start is not None:
            new = messages[len(self._start.history) :]
            system = (part for message in new for part in message.parts if part.part_kind == "system-prompt")
            parts = (*system, *(getattr(parameters, "instruction_parts", None) or ()))
            self._keep_start("\n\n".join(part.content for part in parts))
        self._rewind(request)
        before = self._requests[-1] if self._requests else None
        self._requests.append(request)
        call = self._compared(
            self._new(MODEL_REQUEST, "model", len(self._requests)),
            {"model": request.model} if self.terms.is_private else request.stored(before),
            lambda stored: request.difference(positional_and_named(stored)[1], before),
            schemas_of(parameters),
        )
        if self._budget:
            budget = self._budget
            call = call._replace(begins=lambda known, given_back: budget.refuse_or_wait())
        step: Step | StoredResult | None = None
        try:
            with self._open(call, pays=True) as step:
                self.request_step = step
                self.any_live = self.any_live or isinstance(step, Step)
                yield step
        except Exception as error:
            is_refused = not isinstance(step, StoredResult) and not isinstance(error, ZrbStoreError)
            self._failed = (call, error) if is_refused else None
            raise

    def _compared(
        self,
        new: NewStep,
        arguments: Mapping[str, JsonValue],
        difference: Callable[[str], str],
        tools: Tools = NO_TOOLS,
    ) -> ExactStep:
        """Return a step on which later ones rest, and which begins again if its stored arguments differ."""

        def change(stored: str) -> str | None:
            found = difference(stored)
            if not found:
                return None
            if self.changes.keeps(found, new.key, tools):
                self._used_anyway = self._used_anyway or f"earlier answers were used although {in_words(found)}"
                return None
            self._reasons[new.step] = f"request changed: {found}"
            return self._reasons[new.step]

        not_stored = partial(self.changes.keeps, NOT_STORED, new.key)
        new = new._replace(arguments=stored_arguments((), arguments))
        return ExactStep(new, change, leads=True, not_stored=not_stored)

    def _rewind(self, request: RequestFingerprint) -> None:
        start, self._restart_at = self._restart_at, None
        if start is not None and start < len(self._requests) and self._requests[start].whole == request.whole:
            del self._requests[start:]
            self._failed = None  # the request that has failed is made again

    def _keep_refusal(self) -> None:
        """Store why the last request has failed: the agent goes on from that, with another request.

        A later attempt must not ask again, since the steps from here on do not follow from an answer.
        """
        failed, self._failed = self._failed, None
        if failed is not None:
            call, error = failed
            with self._open(call._replace(repeat=True)) as step:
                if isinstance(step, Step):
                    refusal = refusal_of(error)
                    self.keep(step, lambda _: refusal)

    def tool_call(self, call: ToolCallPart, *, is_approved: bool) -> NewStep:
        """Return the step, without arguments, of a call that is made now.

        One that waited for an approval is executed again when it has that.
        """
        text = f"tool {word(call.tool_name)} {word(call.tool_call_id)}{' approved' * is_approved}"
        return self._of_call(TOOL_CALL, text, call.tool_call_id, tool=call.tool_name)

    def approval(self, call: ToolCallPart) -> NewStep:
        """Return the step, without arguments, in which it is decided about a call."""
        return self._of_call(APPROVAL, f"approval {word(call.tool_call_id)}", call.tool_call_id)

    def deferred(self, calls: Sequence[ToolCallPart]) -> NewStep:
        """Return the step, without arguments, in which calls are answered."""
        ids = sorted(call.tool_call_id for call in calls)
        return self._of_call(DEFERRED, f"deferred {' '.join(map(word, ids))}", " ".join(ids))

    def _of_call(self, kind: str, text: str, call_id: str, *, tool: str = "") -> NewStep:
        self.refuse_if_stopping()
        self._keep_start()
        position = len(self._requests) if self._restart_at is None else self._restart_at
        return self._new(kind, text, self._calls.number(text, position), tool=tool, call=call_id)

    def tool(self, new: NewStep, tool_name: str, arguments: Mapping[str, JsonValue], *, repeat: bool = False) -> Any:
        """Open the step of a tool call."""
        text = self._text(arguments)

        def change(before: str) -> str | None:
            # An agent may start with calls that its model has not made in this run.
            what = f"the call of {tool_name}"
            is_same = not self.agent or before == text or self.changes.keeps(what, new.key)
            return None if is_same else f"request changed: {what}"

        new = new._replace(arguments=text, once=tool_name in self.once)
        step = ExactStep(new, change, repeat=repeat)
        return self._open(step, stop=self.once.get(tool_name) != "tell", pays=None if repeat else False)

    def decision(self, new: NewStep, calls: Sequence[ToolCallPart] = (), *, repeat: bool = False) -> Any:
        """Open the step in which it is decided about calls, or in which deferred `calls` are answered."""
        text = self._text({call.tool_call_id: call.args for call in calls})
        found = {self.once[call.tool_name] for call in calls if call.tool_name in self.once}
        step = ExactStep(new._replace(arguments=text, once=bool(found)), lambda _: None, repeat=repeat)
        return self._open(step, stop=found != {"tell"})

    async def ready(self) -> None:
        """Wait until no other agent of the attempt is at work, if the attempt may end before the next request."""
        if self._budget and self.terms.waits and self._budget.used_up():
            await self._alone()

    async def _alone(self) -> None:
        # Of what it reads from itself, nothing would ever end: the wait is refused then.
        while any(step not in (None, *reading.get()) for step in self._attempt.steps.open.values()):
            await asyncio.sleep(0.01)

    async def ask(self, calls: Sequence[tuple[NewStep, ToolCallPart]]) -> dict[str, ToolApproved | ToolDenied]:
        """Return what a person has answered about calls, as the function `ask`, once no other agent is at work."""
        await self._alone()
        self.refuse_if_stopping()  # the wait of another agent may still be on its way out of that
        return ask(self._attempt, calls, is_private=self.terms.is_private)

    @contextmanager
    def _open(self, call: ExactStep, *, stop: bool = True, pays: bool | None = None) -> Iterator[Step | StoredResult]:
        if self.fatal is not None:
            raise self.fatal
        if self._restart_at is None:  # else the next request decides whether the one that has failed is made again
            self._keep_refusal()
        try:
            self.changes.own.add(call.new.key)

            def begins(known: StepRecord | None, given_back: bool) -> None:
                self._begins(pays, known, given_back)
                call.begins(known, given_back)

            with open_exact(self._attempt, call._replace(own=self.changes.own, begins=begins)) as step:
                try:
                    yield step
                except Exception as error:
                    if self.terms.is_private and isinstance(step, Step):
                        self.fail(step, error)  # without the text of the error
                    raise
        except NotReadable as error:
            from zrb_store.inspect.advice import fork

            again = fork(self._attempt.session, self._attempt.task, "--step", shlex.quote(call.new.step))
            self.fatal = ZrbStoreError(
                f"the result of step {call.new.step} of {self._attempt.full_name} is {error}: fork the session with "
                f"`{again}`"
            )
            raise self.fatal from error
        except StepUncertain as error:
            self.fatal = error if stop else self.fatal
            raise
        except _FATAL as error:
            self.fatal = error
            raise

    def fail(self, step: Step, error: BaseException | ErrorText) -> None:
        """End a step by an error, if it has not ended."""
        if not step.is_open:
            return
        if self.terms.is_private:
            error = ErrorText(error.type if isinstance(error, ErrorText) else type(error).__name__, "", "")
        step.fail(error)

    def keep(self, step: Step, dump: Dump) -> None:
        """Complete a step with messages, and with the reason why it runs again, or follows what did not fit."""
        reason, self._used_anyway = self._reasons.get(step.step) or self._used_anyway, ""
        why = {"changed": reason} if reason else {}
        if self.terms.is_private:
            step.complete(summary({**dump("python"), **why}))
        else:
            step.complete(encoded_messages(lambda mode: {**dump(mode), **why}, self._limit))

    def end(self, step: Step, outcome: Data) -> None:
        """Complete the step of a tool call with how it ended."""
        step.complete(summary(outcome) if self.terms.is_private else encoded(outcome, self._limit))

    @property
    def is_stopping(self) -> bool:
        """Whether a signal has asked this process to end."""
        return self._attempt.database.is_stopping or _is_interrupted()

    def refuse_if_stopping(self) -> None:
        """Let nothing begin after a signal or a wait has ended what runs, although it was not cancelled here yet."""
        is_ending = self.is_stopping and any(task.cancelling() for task in asyncio.all_tasks())
        if is_ending or self._attempt.parked is not None:
            raise asyncio.CancelledError

    def wait_for_store(self) -> None:
        """Wait for the store as long as a signal that zrb handles allows, from now on."""
        if self._attempt.database.is_stopping:
            self._attempt.database.stop_waiting(_LAST_WAIT)

    @property
    def _limit(self) -> int:
        return self._attempt.xcom.max_value  # bytes of one stored value

    def _text(self, arguments: Mapping[str, JsonValue]) -> str:
        return stored_arguments((), {} if self.terms.is_private else {**arguments})


def _is_interrupted() -> bool:
    """Whether Ctrl-C has made `asyncio.run` cancel what it runs."""
    runner = getattr(getattr(signal.getsignal(signal.SIGINT), "func", None), "__self__", None)
    return getattr(runner, "_interrupt_count", 0) > 0


def prompt_difference(stored: str, now: Mapping[str, JsonValue]) -> str:
    """Name the arguments of the step of a prompt that differ from the stored ones."""
    then = positional_and_named(stored)[1]
    return ", ".join(name for name in {**then, **now} if then.get(name) != now.get(name))
