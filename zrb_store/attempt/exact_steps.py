"""Steps with exact names, as a caller gives them. They begin again if what they were asked has changed."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple

from zrb_store.attempt.attempt import Attempt
from zrb_store.attempt.open_attempt import Step
from zrb_store.attempt.steps import NOT_RESTORABLE, StoredResult, refuse_uncertain
from zrb_store.db.transaction import Executor, Transaction
from zrb_store.errors import StepUncertain
from zrb_store.masking import mask_text
from zrb_store.queries import survived
from zrb_store.queries.attempts import BegunAttempt
from zrb_store.queries.dependent_steps import steps_in
from zrb_store.queries.give_back import give_back
from zrb_store.queries.steps import NewStep, StepKey, StepRecord
from zrb_store.records import RERUN


class ExactStep(NamedTuple):
    """A step whose name says which one it is, however often the attempt comes to it."""

    new: NewStep  # its name has the ~2 of a second step if it is one
    # Compares the encoded arguments of the step that completed with those of now. If it returns a reason, the step and
    # all that began after it are given back for that, and the step begins again; but not what this attempt has used
    # already. It is not asked about a step that a person has kept, by `fork` or `mark`, unless `compares_kept` is true.
    change: Callable[[str], str | None]
    own: Collection[StepKey] = ()  # steps of the same caller: given back although this attempt has used them
    repeat: bool = False  # whether it may begin although the end of an earlier try is unknown
    leads: bool = False  # whether the steps after it rest on its result
    compares_kept: bool = False
    notes_change: bool = False  # whether it keeps, in its attributes, why it began again (`records.RERUN`)
    # Is called if it leads and its result could not be stored, before the steps after it are given back with it.
    not_stored: Callable[[], object] = lambda: None
    # Is called before it begins, with its last attempt, and whether that is given back; it may raise an error.
    begins: Callable[[StepRecord | None, bool], object] = lambda known, given_back: None
    # Is called with a step that another process has begun and that has not ended: ends it, or raises an error.
    settle: Callable[[StepRecord], None] = lambda _: None


def stored_step(attempt: Attempt, key: StepKey) -> StepRecord | None:
    """Return the step of this exact name if it is done."""
    with attempt.xcom.watched():
        known = attempt.steps.newest(key)
    return known if known is not None and known.is_done else None


def steps_before(attempt: Attempt, *, results: bool = False) -> list[StepRecord]:
    """Return the last attempt of each step that earlier attempts of the task began."""
    with attempt.xcom.watched():
        if not attempt.steps.task_had_steps():
            return []
        return steps_in(attempt.database, attempt.id, attempt.task, before=attempt.id, results=results)


def steps_since(attempt: Attempt, key: StepKey, own: Collection[StepKey]) -> list[StepRecord]:
    """Return the step of this exact name and those after it: what is given back if it begins again."""
    with attempt.xcom.watched():
        known = attempt.steps.newest(key)
        return [] if known is None else _since(attempt.database, attempt, known, None, own)


def _since(
    executor: Executor, attempt: Attempt, known: StepRecord, later: int | None, own: Collection[StepKey]
) -> list[StepRecord]:
    """Return the steps that began since a known one, the oldest first.

    They come with their results if `later` is None, otherwise locked, without results. What this attempt has done since
    it began, it did on the way to this step, unless it has done this step too. What it has used stays, except for its
    `own`.
    """
    before = attempt.id if known.id < attempt.id else later
    only_read = later is None
    found = steps_in(
        executor, attempt.id, attempt.task, since=known.id, before=before, results=only_read, lock=not only_read
    )
    return [one for one in found if one.key in own or not attempt.steps.is_used(one)]


@contextlib.contextmanager
def open_exact(attempt: Attempt, call: ExactStep) -> Iterator[Step | StoredResult]:
    """Yield the step of this exact name, begun, or its result if it is done. The block completes it, or it fails.

    `StepUncertain` is raised if the end of a `once` step is unknown that would begin again, or be given back.
    """
    with attempt.steps.holding(call.new.key) as was_used:
        with attempt.xcom.watched():
            step = _begun_or_stored(attempt, call, was_used)
        if isinstance(step, StoredResult):
            yield step
        else:
            with step:
                yield step


def _begun_or_stored(attempt: Attempt, call: ExactStep, was_used: bool) -> Step | StoredResult:
    steps, new = attempt.steps, call.new
    while True:
        known = steps.newest(new.key) if was_used or steps.task_had_steps() else None
        if known is not None and known.status == "running" and steps.shared:
            call.settle(known)
            continue
        change = None if known is None else _why_again(attempt, call, known)
        if known is not None and known.is_done and change is None:
            if steps.use(known):
                return steps.stored_result(known)
            continue
        undo = None
        if known is not None and change is not None:
            undo = functools.partial(_discard_from, attempt, call, known, change)
            if call.notes_change:
                new = new._replace(attributes=json.dumps({RERUN: mask_text(change)}))
        call.begins(known, undo is not None)
        step = steps.begin(new.key, new, known, undo=undo)
        if step is not None:
            return step


def _why_again(attempt: Attempt, call: ExactStep, known: StepRecord) -> str | None:
    """Return why a step is given back, with all that began after it, before it begins; None if nothing is."""
    if known.is_done:
        if known.arguments is None or (known.kept and not call.compares_kept):  # what a person has kept is kept
            return None
        return call.change(known.arguments)
    if known.in_effect and call.leads:
        call.not_stored()
        return NOT_RESTORABLE
    if not call.repeat:
        failed = known.status == "failed"
        if failed and (error := attempt.steps.survived.last_error(call.new.key, known.id, call.new.arguments)):
            raise error
        refuse_uncertain(attempt, known, call.new.step)
    return None


def _discard_from(
    attempt: Attempt, call: ExactStep, known: StepRecord, reason: str, transaction: Transaction, begun: BegunAttempt
) -> None:
    """Give back a step that completed, and those that began after it, in the transaction that begins it again."""
    found = _since(transaction, attempt, known, begun.id, {*call.own, call.new.key})
    step = next((one for one in found if one.uncertain), None)
    if step is not None:
        if reason == NOT_RESTORABLE:
            reason, advice = f"the result of step {call.new.step} is not stored", "start the task over"
        else:
            advice = "undo the change, or start the task over"
        raise StepUncertain(
            mask_text(
                f"step {step.step} of task {attempt.task} ({attempt.session}/{step.task}) {step.what} and is declared "
                f"`once`, but might run again ({reason}): {advice} with --from {attempt.task} --repeat-once"
            )
        )
    give_back(transaction, [(one.id, reason) for one in reversed(found) if one.in_effect])
    failed = [one.step for one in found if one.status == "failed"]
    if failed:
        survived.forget(transaction, attempt.task, attempt_id=attempt.id, names=failed)
