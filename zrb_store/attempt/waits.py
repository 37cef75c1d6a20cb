"""Waiting for a value of the session's own queue, or for a time, without a process (promise 18).

A wait is a step. If its answer is there, it takes it in one transaction. If not, that transaction ends the attempt as
`waiting`, and `Waiting` leaves the action. The task's next attempt comes to the same wait again.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

from zrb_store import codec
from zrb_store.attempt.attempt import Attempt
from zrb_store.attempt.open_attempt import Step
from zrb_store.db.transaction import Transaction
from zrb_store.errors import InputsDiffer, InvalidArgument, Waiting, ZrbStoreError
from zrb_store.local_time import delay_in_micros, parse_duration
from zrb_store.masking import ErrorText, mask_text, one_line
from zrb_store.names import check_name, check_step_name
from zrb_store.queries import attempts, steps, takes, waits
from zrb_store.queries.clock import now_micros
from zrb_store.queries.give_back import undo_ended
from zrb_store.queries.queues import find_queue
from zrb_store.queries.steps import NewStep, StepKey, StepRecord
from zrb_store.queries.values import traceparents
from zrb_store.queries.waits import Wait
from zrb_store.records import to_datetime

if TYPE_CHECKING:
    from zrb_store.runtime.output import Output

T = TypeVar("T")
Length = timedelta | float | str
"""A length of time: a timedelta, seconds, or a text such as `2d`."""


def result_for(caller: FrameType, answer: str) -> Any:
    """Return the decoded answer to a function that called `wait`, and something to await to a coroutine."""
    value = codec.decode(answer)
    return _given(value) if caller.f_code.co_flags & (inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR) else value


async def _given(value: T) -> T:
    return value


def wait_in(
    attempt: Attempt,
    queue: str | None,
    timeout: Length | None = None,
    say: str | None = None,
    until: datetime | timedelta | None = None,
    name: str | None = None,
) -> str:
    """Return the encoded answer that the attempt waits for, as `wait` says; end the attempt if it is not there."""
    attempt._refuse_other_process()
    if (queue is None) == (until is None) or queue == "":
        raise InvalidArgument("wait for one thing: wait(QUEUE, timeout=..., say=...) or wait(until=...)")
    if queue is None and timeout is not None:
        raise InvalidArgument("wait(until=...) ends at that time, and takes no timeout")
    if not isinstance(until, datetime | timedelta | None) or isinstance(timeout, datetime):
        raise InvalidArgument("until=... is a datetime or a timedelta, and timeout=... a length of time")
    if not isinstance(say, str | None):
        raise InvalidArgument(f"say={say!r} is not a text")
    step = check_step_name(name or ("wait" if queue is None else f"wait {check_name(queue, 'queue')}"))
    wanted = NewStep(step, None, kind="wait", awaited_queue=queue, say=say and mask_text(say))
    length = until if until is not None else timeout
    with attempt.steps.claim(step, (queue,), {}, kind=wanted.kind) as claim:
        named = wanted._replace(step=claim.name)
        outcome = _outcome(attempt, claim.base, named, length, is_named=name is not None)
    if isinstance(outcome, str):
        return outcome
    if isinstance(outcome, TimeoutError):
        raise outcome
    attempt.parked = _waiting_error(attempt, [outcome])
    raise attempt.parked


def answers_in(attempt: Attempt, wanted: Sequence[NewStep]) -> list[str]:
    """Return the encoded answers to all questions, each a step of this exact name that waits for a value of a queue.

    If one is not there, end the attempt: it waits for each of those that are missing.
    """

    def is_there(each: NewStep) -> bool:
        known = attempt.steps.newest(each.key)
        queue_id = attempt.xcom.find_id(str(each.awaited_queue), refresh=True)
        return (known is not None and known.is_done) or takes.has_live(attempt.database, queue_id or 0)

    answers: dict[str, str] = {}
    left = sorted(wanted, key=lambda each: not is_there(each))
    missing = [each for each in left if not is_there(each)]
    while left:
        each = left.pop(0)
        others = [one for one in missing if one is not each and one in left]
        with contextlib.ExitStack() as held:
            for one in (each, *others):
                held.enter_context(attempt.steps.holding(one.key))
            outcome = _outcome(attempt, each.key, each, None, others if each in missing else ())
        if not isinstance(outcome, str):
            assert isinstance(outcome, Wait)  # it has no deadline
            waiting = [_wait(attempt, one, outcome.since) for one in (each, *others)]
            attempt.parked = _waiting_error(attempt, waiting)
            raise attempt.parked
        answers[each.step] = outcome
    return [answers[each.step] for each in wanted]


def _waiting_error(attempt: Attempt, missing: Sequence[Wait]) -> Waiting:
    from zrb_store.inspect import advice

    return Waiting(advice.waiting(attempt.session, missing))


def _refuse_here(attempt: Attempt) -> None:
    """Raise an error where no attempt can wait, with the reason and with what to do instead."""
    attempt.refuse_if_closed()
    around = waits.surroundings(attempt.database, attempt.id)
    if around is None:
        return  # it was just removed: the step cannot begin
    if around.kind == "delivery":
        why = "a delivery is given back whole: push the value to the queue of a session of its own, and wait there"
    elif around.kind in ("check", "server"):
        what = "readiness check" if around.kind == "check" else "server"
        why = f"a {what} is ended with its session: wait in a task before it"
    elif around.parent is not None:
        why = f"{around.parent} started this session, and would continue or fail meanwhile: wait there"
    elif around.running is not None:
        why = f"its step {around.running} is running: let it end first"
    elif around.elsewhere is not None:
        why = (
            f"it took a value of session {around.elsewhere}, which another process would take meanwhile: "
            "take it in a step, or after the wait"
        )
    else:
        return
    raise ZrbStoreError(f"{attempt.full_name} cannot wait: {why}")


def _outcome(
    attempt: Attempt,
    base: StepKey,
    wanted: NewStep,
    length: Length | datetime | None,
    others: Sequence[NewStep] = (),
    *,
    is_named: bool = True,
) -> str | TimeoutError | Wait:
    """Return the encoded answer, or the error if it did not come in time; end the attempt if neither is there yet.

    Then it waits for the `others` too.
    """
    all_steps = attempt.steps
    while True:
        with attempt.xcom.watched():
            known = all_steps.newest(wanted.key)  # also of this attempt: it may decide without a wait
            if known is not None and known.is_done:
                _refuse_other_question(attempt, known, wanted)
                if all_steps.shared and not is_named and all_steps.is_used(known):
                    raise ZrbStoreError(
                        f"{wanted.step} of {attempt.full_name} has given its answer already: a second question needs a "
                        "name of its own (--name), and who asks the first one again gives both calls the same name"
                    )
                if not all_steps.use(known):
                    continue
                return all_steps.stored_result(known).result
            _refuse_here(attempt)
            before = waits.waited_before(attempt.database, attempt.id, wanted.key)
            deadline = _deadline(attempt, length) if before is None else before.deadline_at
            awaited = wanted._replace(deadline_at=deadline)
            step = all_steps.begin(base, awaited, known)
        if step is not None:
            went_on = functools.partial(waits.went_on, attempt.database, attempt.id)
            is_settled = known is not None and known.status == "failed" and went_on(known.id)
            begun = [all_steps.begin(each.key, each, all_steps.newest(each.key)) for each in others]
            return _take_or_park(attempt, step, awaited, list(filter(None, begun)), is_settled=is_settled)


def _refuse_other_question(attempt: Attempt, known: StepRecord, wanted: NewStep) -> None:
    if known.is_wait and (known.awaited_queue, known.say) != (wanted.awaited_queue, wanted.say):
        questions = [f"{each.say!r} of {each.awaited_queue}" for each in (known, wanted)]
        raise InputsDiffer(
            f"{wanted.step} of {attempt.full_name} has the answer to {questions[0]}, and now asks {questions[1]}: "
            "--from asks again, or give the wait a name of its own"
        )


def _deadline(attempt: Attempt, length: Length | datetime | None) -> int | None:
    """Return the deadline of a wait that begins now, in microseconds since 1970; None if it has none."""
    if length is None:
        return None
    moment = now_micros(attempt.database)
    if isinstance(length, datetime):
        try:
            micros = round(length.timestamp() * 1_000_000)
            delay_in_micros(max(micros - moment, 0) / 1_000_000)
        except (OverflowError, ValueError, OSError):
            raise InvalidArgument(f"until={length!r} is out of range: at most ten years") from None
        return max(micros, 0)  # no table holds a time before 1970
    if isinstance(length, str):
        length = parse_duration(length)
    return moment + delay_in_micros(length)


def _take_or_park(
    attempt: Attempt, step: Step, awaited: NewStep, others: Sequence[Step], *, is_settled: bool
) -> str | TimeoutError | Wait:
    """Take the answer and complete the step; at its deadline, fail it; otherwise park step and attempt.

    The `others`, further waits of the same call, park with it or end.
    """
    database, queue = attempt.database, awaited.awaited_queue
    late = ErrorText("TimeoutError", _late(attempt, awaited), "")

    def work(transaction: Transaction) -> tuple[str, str | None]:
        if not attempts.lock(transaction, attempt.id):
            attempt._refuse(transaction)
        answer = None if is_settled or queue is None else _take(transaction, attempt, step, queue)
        moment = now_micros(transaction)
        is_late = is_settled or (awaited.deadline_at is not None and awaited.deadline_at <= moment)
        if is_late and queue is None:
            answer = "null"
        if answer is not None:
            _require(attempt, transaction, steps.complete(transaction, step.id, answer, restorable=True))
            return "completed", answer
        if is_late:
            _require(attempt, transaction, attempts.fail(transaction, step.id, "failed", late) is not None)
            undo_ended(transaction, [step.id], "failed")
            return "failed", None
        _park(transaction, attempt, (step, *others), output)
        return "waiting", None

    if queue is not None and (queue_id := attempt.xcom.find_id(queue, refresh=True)) is not None:
        attempt.xcom.reclaim(queue_id, attempt, missing=True)
    status = ""
    try:
        with attempt.xcom.watched(), attempt._last_output() as output:
            status, answer = database.transact(
                work, "wait", is_made=lambda transaction, made: attempts.status_of(transaction, step.id) == made[0]
            )
    finally:
        step._open = False
        attempt.xcom.step_ended(step, attempt, completed=status == "completed")
    for each in others:
        if status == "waiting":
            each._open = False
            each._end_span(status)
        else:
            each.fail(None, "interrupted")
    step._end_span(status, late if status == "failed" else None, answer)
    if answer is not None:
        return answer
    if status == "failed":
        return TimeoutError(late.message)
    attempt._close()
    attempt._end_span("waiting")
    return _wait(attempt, awaited, now_micros(database))


def _take(transaction: Transaction, attempt: Attempt, step: Step, queue: str) -> str | None:
    """Let a step take the oldest value of a queue; return its text, or None if there is none."""
    queue_id = find_queue(transaction, attempt.session, queue)
    found = None if queue_id is None else takes.take_whole(transaction, queue_id, step.id)
    if queue_id is None or found is None:
        return None
    if step.span is not None:
        step.span.note({}, traceparents(transaction, queue_id, [found[0]]))
    return found[1]


def _park(transaction: Transaction, attempt: Attempt, parked: Iterable[Step], output: Output | None) -> None:
    """End an attempt and its waits as `waiting`."""
    for each in parked:
        _require(attempt, transaction, waits.park(transaction, each.id))
    closed = attempt._close_steps(transaction)
    _require(attempt, transaction, waits.park(transaction, attempt.id, attempt.inputs_read()))
    if output is not None:
        output.write_rest(transaction)
    undo_ended(transaction, [*closed, attempt.id], "waiting")


def _require(attempt: Attempt, transaction: Transaction, is_done: bool) -> None:
    """Raise why the attempt may not write, unless something was done."""
    if not is_done:
        attempt._refuse(transaction)


def _wait(attempt: Attempt, awaited: NewStep, moment: int) -> Wait:
    """Return a wait that has begun at a moment."""
    return Wait(
        session=attempt.session,
        task=attempt.task,
        kind=awaited.kind,
        step=awaited.step,
        attributes=awaited.attributes,
        queue=awaited.awaited_queue,
        since=moment,
        deadline=awaited.deadline_at,
        say=awaited.say,
        has_value=False,
        moment=moment,
    )


def _late(attempt: Attempt, awaited: NewStep) -> str:
    if awaited.deadline_at is None:
        return f"no answer came to queue {awaited.awaited_queue} in time"
    until = f"{to_datetime(awaited.deadline_at).astimezone():%Y-%m-%d %H:%M:%S}"
    return one_line(f"no value came to queue {attempt.session}/{awaited.awaited_queue} until {until}")
