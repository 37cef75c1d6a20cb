"""A session as it was at an earlier moment, from its rows alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from zrb_store.errors import InvalidName, TaskNotFound
from zrb_store.queries.lives import Life
from zrb_store.records import AttemptRecord, RunRecord

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BY_ATTEMPT = re.compile(r"(before|after):(.+)#(\d{1,18})")


def moment_of(text: str, session: str, find: Callable[[str, int], AttemptRecord | None]) -> int | None:
    """The moment that a person means, in microseconds since 1970; None for now.

    Args:
        text: `before:TASK#N` (what attempt N found when it started), `after:TASK#N` (what it left when it ended), or
            an ISO 8601 time, local if it has no zone.
        session: Name of the session, for messages.
        find: Finds its attempts by task and number.

    Raises:
        InvalidName: The text is none of these.
        TaskNotFound: There is no such attempt.
    """
    match = _BY_ATTEMPT.fullmatch(text)
    if match is None:
        return _micros(text)
    side, task, number = match[1], match[2], int(match[3])
    found = find(task, number)
    if found is None:
        raise TaskNotFound(f"session {session} has no attempt {task}#{number}; `zrb-store show {session}` lists them")
    if side == "before":
        return found.started_at
    if found.status == "lost" and found.ended_at is not None:
        return found.ended_at - 1  # it ended when it was given back, and what it had done was undone
    return found.ended_at


def _micros(text: str) -> int:
    try:
        return (datetime.fromisoformat(text).astimezone(UTC) - _EPOCH) // timedelta(microseconds=1)
    except (ValueError, OverflowError):
        raise InvalidName(
            f"{text!r} is not a moment: use e.g. 2026-11-24T03:12:45 (local time), 2026-11-24T02:12:45Z, "
            "before:TASK#1 or after:TASK#1"
        ) from None


def attempt_at(one: AttemptRecord, moment: int) -> AttemptRecord:
    """An attempt that had started, as it stood at a moment."""
    if one.given_back_at is not None and one.given_back_at > moment:
        one = replace(one, given_back_at=None)
    if one.ended_at is None or one.ended_at <= moment:
        return one
    return replace(
        one,
        status="running",
        ended_at=None,
        result_queue_id=None,
        result_seq=None,
        error_type=None,
        error_message=None,
        error_traceback=None,
    )


def runs_at(runs: Iterable[RunRecord], moment: int) -> list[RunRecord]:
    """The runs as they stood at a moment."""
    return [
        replace(one, ended_at=None, outcome=None) if one.ended_at is not None and one.ended_at > moment else one
        for one in runs
        if one.started_at <= moment
    ]


def status_at(runs: Sequence[RunRecord], moment: int) -> str:
    """The session's status at a moment, from its runs as they stood then."""
    if not runs:
        return "open"
    last = runs[-1]
    if last.ended_at is None:
        return "running" if last.lease_expires_at > moment else "stale"
    return "stale" if last.outcome == "lost" else last.outcome or "stale"


def life_at(life: Life, moment: int) -> Life | None:
    """A value's life as it stood at a moment, or None if the value was not pushed yet.

    Args:
        life: Read as of that moment.
        moment: In microseconds.
    """
    value, taker = life.value, life.taker
    if value.pushed_at > moment:
        return None
    returns = [back for back in life.returns if back.record.returned_at <= moment]
    held = next((one for one in life.returns if one.record.taken_at <= moment < one.record.returned_at), None)
    if life.is_live:
        value, taker = replace(value, state="live", ended_at=None, orphaned=False), None
    elif held is not None:
        value, taker = replace(value, state="taken", ended_at=held.record.taken_at), held.taker
    if value.state in ("taken", "removed"):
        given_back = life.pusher.given_back_at if life.pusher else None
        value = replace(value, orphaned=given_back is not None and given_back <= moment)
    return life._replace(value=value, taker=taker, returns=returns)
