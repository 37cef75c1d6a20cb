"""A session as it was at an earlier moment, reconstructed from its rows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from zrb_store.errors import InvalidArgument, TaskNotFound
from zrb_store.local_time import parse_time
from zrb_store.queries.clock import Moment
from zrb_store.queries.history import AttemptName, Returned, Value
from zrb_store.records import AttemptRecord, ReturnRecord, RunRecord, ValueRecord

_BY_ATTEMPT = re.compile(r"(before|after):(.+)#(\d{1,18})")


def moment_of(
    text: str, session: str, start: int, find: Callable[[str, int], AttemptRecord | None]
) -> tuple[Moment | None, str | None]:
    """Return the moment that a text names, and the task whose attempt starts next if it is named by that.

    The text is `before:TASK#N` (just before attempt N starts), `after:TASK#N` (its end; None for now, since it has not
    ended), or a time as it is printed: without a date it is of the day of `start`, in microseconds.
    """
    match = _BY_ATTEMPT.fullmatch(text)
    if match is None:
        time = parse_time(text, start)
        if time is None:
            raise InvalidArgument(
                f"{text!r} is not a moment: use a time as printed, e.g. 2026-11-24 03:12:45 (local time), "
                "2026-11-24T02:12:45Z or 03:12:45; or before:TASK#1 or after:TASK#1"
            )
        return Moment(time, None), None
    side, task, number = match[1], match[2], int(match[3])
    found = find(task, number)
    if found is None:
        raise TaskNotFound(f"session {session} has no attempt {task}#{number}; `zrb-store show {session}` lists them")
    if side == "before":
        # What an earlier attempt did was given back before.
        return Moment(found.started_at, found.started_tick - 1), task if found.step_of is None else None
    if found.ended_at is None or found.ended_tick is None:
        return None, None
    # A lost attempt ends when it is given back, which undoes what it did.
    return Moment(found.ended_at, found.ended_tick - (found.status == "lost")), None


def attempt_at(attempt: AttemptRecord, moment: Moment) -> AttemptRecord:
    """Return an attempt, which had started by then, as it was at a moment."""
    if not moment.includes(attempt.given_back_at, attempt.given_back_tick):
        attempt = replace(attempt, given_back_at=None, given_back_tick=None)
    if attempt.ended_at is None or moment.includes(attempt.ended_at, attempt.ended_tick):
        return attempt
    return replace(
        attempt,
        status="running",
        ended_at=None,
        ended_tick=None,
        result_queue_id=None,
        result_seq=None,
        error_type=None,
        error_message=None,
        error_traceback=None,
    )


def runs_at(runs: Iterable[RunRecord], moment: Moment) -> list[RunRecord]:
    """Return the runs that had started by a moment, as they were then."""
    return [
        run
        if moment.includes(run.ended_at, run.ended_tick)
        else replace(run, ended_at=None, status=None, error_type=None, error_message=None)
        for run in runs
        if moment.includes(run.started_at, run.started_tick)
    ]


def status_at(runs: Sequence[RunRecord], moment: Moment) -> str:
    """Return the session's status at a moment, from its runs as `runs_at` returns them."""
    if not runs:
        return "open"
    last = runs[-1]
    if last.ended_at is None:
        return "running" if last.lease_expires_at > moment.at else "stale"
    if last.status == "waiting" and last.stop_requested_at is not None and last.stop_requested_at <= moment.at:
        return "interrupted"
    return "stale" if last.status == "lost" or last.origin == "reclaim" else last.status or "stale"


def value_at(value: Value, moment: Moment) -> Value | None:
    """Return a value, read as of a moment, as it was then; None if it was pushed later."""
    now = value.record
    if not moment.includes(now.pushed_at, now.pushed_tick):
        return None
    returns = [each for each in value.returns if _has_returned(each.record, moment)]
    later = [each for each in value.returns if each not in returns]
    then, taker = _state_at(value, later, moment)
    if then.state in ("taken", "removed"):
        # A value that is still taken has its mark. One that came back since was orphaned if it is retracted.
        then = replace(then, orphaned=(now.orphaned or now.state == "retracted") and _was_undone(value, moment))
    taken_from = value.taken_from if then.ended_tick == now.ended_tick else None
    replaced = [each for each in value.replaced if moment.includes(*each.when)]
    return replace(value, record=then, taker=taker, returns=returns, replaced=replaced, taken_from=taken_from)


def _state_at(value: Value, later: Sequence[Returned], moment: Moment) -> tuple[ValueRecord, AttemptName | None]:
    """Return a value's row at a moment, and who had taken it; `later` are the returns that came after the moment."""
    now = value.record
    next_take = min((each.record for each in later), key=lambda record: record.taken_tick, default=now)
    then = replace(now, due_at=next_take.due_at, failed_deliveries=_failed_deliveries_at(value, moment))
    held = next((each for each in later if moment.includes(each.record.taken_at, each.record.taken_tick)), None)
    is_in_queue = held is None and not moment.includes(now.ended_at, now.ended_tick)
    if value.is_live or (is_in_queue and (then.due_at or 0) > moment.at):
        state = "live" if value.is_live else "delayed"
        return replace(then, state=state, ended_at=None, ended_tick=None, orphaned=False), None
    if held is not None:
        state = "dead" if held.record.failed_deliveries == 0 else "taken"
        return replace(then, state=state, ended_at=held.record.taken_at, ended_tick=held.record.taken_tick), held.taker
    if now.state == "retracted" and value.undone is not None and not _was_undone(value, moment):
        then = replace(then, state="dead")  # it was retracted after its death
    return then, value.taker


def _was_undone(value: Value, moment: Moment) -> bool:
    return value.undone is not None and moment.includes(*value.undone)


def _has_returned(record: ReturnRecord, moment: Moment) -> bool:
    return moment.includes(record.returned_at, record.returned_tick)


def _failed_deliveries_at(value: Value, moment: Moment) -> int:
    """Return the count of failed deliveries at a moment. A value that was moved or copied did not begin with 0."""
    if moment.includes(value.record.ended_at, value.record.ended_tick):
        return value.record.failed_deliveries  # nothing has changed it since, not even a drop
    counted = [each.record for each in value.returns if each.record.failed_deliveries is not None]
    changes = [(row.returned_tick, _has_returned(row, moment), row.failed_deliveries or 0) for row in counted]
    # A count that begins with a requeue is that of a copy: how often its original was delivered is not known here.
    firsts = [(row.returned_tick, row.failed_deliveries - 1 if row.failed_deliveries else 1) for row in counted]
    for each in value.replaced:
        changes.append((each.record.replaced_tick, moment.includes(*each.when), 0))
        # Before the return that ends a death.
        firsts.append((each.record.replaced_tick - 1, each.record.failed_deliveries))
    if not changes:
        return value.record.failed_deliveries
    return next((count for _, had_come, count in sorted(changes, reverse=True) if had_come), min(firsts)[1])
