"""What the agents of a task had completed, and its attempt of now has not come to (guarantees.md, promise 20).

Before an agent pays for a request or a call, such answers and `once` calls are looked for: an agent that was renamed,
or that comes in another order, would pay for them again. Runs that overlap come to their steps in any order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple
from weakref import WeakKeyDictionary

from zrb_store.agents.kinds import KINDS, MODEL_REQUEST, TOOL_CALL
from zrb_store.agents.step import AgentStep
from zrb_store.attempt import Attempt
from zrb_store.attempt.exact_steps import steps_before
from zrb_store.queries.steps import StepKey, StepRecord

_NEVER = 2**62


class _Span(NamedTuple):
    """When a run of an agent was at work in earlier attempts, in ticks."""

    start: int
    end: int

    def overlaps(self, other: _Span) -> bool:
        return self.start <= other.end and other.start <= self.end


class Leftovers:
    """The steps of agents that stand and that one attempt of their task has not come to."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt
        self._at_work: set[str] = set()  # the runs that this attempt has begun, and that have not ended
        self._told: set[StepKey] = set()  # the steps that were announced
        steps = [step for step in steps_before(attempt) if step.kind in KINDS]
        self._runs = {step.key: AgentStep.of(step).label for step in steps}
        self._spans: dict[str, _Span] = {}
        for step in steps:
            run, end = self._runs[step.key], step.ended_tick or _NEVER
            span = self._spans.get(run, _Span(step.started_tick, end))
            self._spans[run] = _Span(min(span.start, step.started_tick), max(span.end, end))
        self._answers = [step for step in steps if step.kind == MODEL_REQUEST]
        paid = [step for step in steps if step.kind in (MODEL_REQUEST, TOOL_CALL)]
        self._left = {step.key: step for step in paid if step.in_effect or step.uncertain}

    def begins(self, run: str) -> None:
        """Note that a run of an agent begins."""
        self._at_work.add(run)

    def ends(self, run: str) -> None:
        """Note that a run of an agent has ended."""
        self._at_work.discard(run)

    def given_back(self, since: int) -> None:
        """Note that the steps which began since one of this id are given back. They were announced."""
        self._left = {key: step for key, step in self._left.items() if step.id < since}

    def before(self, run: str, position: int, *, is_call: bool) -> list[StepRecord]:
        """Return what is left before a run pays for something, after so many answers; none if it was announced."""
        left = [step for step in self._unused() if self._is_due(step, run, position, is_call=is_call)]
        return self._new(left)

    def at_the_end(self) -> list[StepRecord]:
        """Return what is left before the task completes; none if it was announced."""
        return self._new(self._unused())

    def _unused(self) -> list[StepRecord]:
        for key in self._attempt.steps.used.intersection(self._left):
            del self._left[key]
        return list(self._left.values())

    def _is_due(self, step: StepRecord, run: str, position: int, *, is_call: bool) -> bool:
        """Whether the attempt should have come to a step before."""
        other = self._runs[step.key]
        if other == run:  # the calls that one answer asks for come in any order
            return not (is_call and step.kind == TOOL_CALL and self._position(step) == position)
        if other in self._at_work:
            return False
        known = self._spans.get(run)
        return known is None or not known.overlaps(self._spans[other])

    def _position(self, call: StepRecord) -> int:
        """Return after how many answers of its run a call was made."""
        run = self._runs[call.key]
        return sum(one.id < call.id and self._runs[one.key] == run for one in self._answers)

    def _new(self, left: Sequence[StepRecord]) -> list[StepRecord]:
        counts = [step.key for step in left if step.uncertain or (step.kind == MODEL_REQUEST and step.is_done)]
        if self._told.issuperset(counts):
            return []
        self._told.update(counts)
        return list(left)


_of_attempts: WeakKeyDictionary[Attempt, Leftovers] = WeakKeyDictionary()


def leftovers_of(attempt: Attempt, at_the_end: Callable[[], object]) -> Leftovers:
    """Return the leftovers that all agents of an attempt share. The first agent looks at them at the end."""
    if attempt not in _of_attempts:
        _of_attempts[attempt] = Leftovers(attempt)
        attempt.before_completion.append(at_the_end)
    return _of_attempts[attempt]
