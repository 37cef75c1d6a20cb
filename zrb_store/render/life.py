"""What became of a value, line by line, as a terminal and a page tell it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from zrb_store.inspect.advice import PROGRAM
from zrb_store.inspect.trace import Event
from zrb_store.masking import one_line
from zrb_store.names import name_within
from zrb_store.queries.history import Replaced, Returned, Value
from zrb_store.queries.holders import Holder
from zrb_store.records import ErrorRecord
from zrb_store.render.document import shorten
from zrb_store.render.format import (
    NOTHING,
    TimeFormat,
    error_note,
    fate,
    format_duration,
    given_back,
    orphaned,
    preview,
    process,
    replacement,
)


def past(
    value: Value, times: TimeFormat | None, error_text: Callable[[ErrorRecord], str], width: int | None = None
) -> Iterator[str]:
    """Yield what happened to a value before its present state, in order, without times if these have no format.

    Of a dead value each delivery is told with its error, cut to a width.
    """
    is_dead = value.record.state == "dead"
    told = _deliveries(value.returns, times, error_text, width) if is_dead else map(given_back, value.returns)
    for each in value.past:
        yield replacement(each, times, "replaced") if isinstance(each, Replaced) else next(told)


def _deliveries(
    returns: Iterable[Returned],
    times: TimeFormat | None,
    error_text: Callable[[ErrorRecord], str],
    width: int | None,
) -> Iterator[str]:
    """Say who took a value, when, and how that ended; the same error only once."""
    before = None
    for returned in returns:
        record, error = returned.record, returned.error
        if not record.failed_deliveries:
            yield given_back(returned)
            continue
        why = "" if error is None else ", the same error" if error == before else f", {error_text(error)}"
        at = f"{times.brief(record.taken_at)} " if times else ""
        by = returned.taken_by or "a deleted attempt"
        text = one_line(f"delivery {record.failed_deliveries}: {at}{by}: {record.reason}{why}")
        yield text if width is None else shorten(text, width)
        before = error


def states_of(holders: Iterable[Holder], session: str) -> dict[str, str]:
    """Return the state of the process of each attempt that holds values of a session, by its name in the session."""
    return {name_within(session, each.session, each.task, each.number): each.status for each in holders}


def fate_now(value: Value, times: TimeFormat | None, states: Mapping[str, str], limit: int | None, moment: int) -> str:
    """Say what became of a value; of one that is held, by whom and for how long: `held by load#2 for 12 min (alive)`.

    Of a queue with a limit, it says how often the value was delivered. It says no time if there is no format for it.
    """
    record = value.record
    holder = states.get(value.taken_by or "") if record.state == "taken" else None
    text = fate(value, times)
    if holder is not None:
        duration = "" if times is None or value.taken_at is None else f" for {format_duration(moment - value.taken_at)}"
        text = f"held by {one_line(value.taken_by or '')}{duration} ({holder}){orphaned(value)}"
    may_die = limit is not None and record.failed_deliveries and (record.state in ("live", "delayed") or holder)
    return f"{text}, delivered {record.failed_deliveries} of {limit}" if may_die else text


class EventRow(NamedTuple):
    """One thing that happened to a value."""

    at: int | None  # microseconds
    event: str
    by: str  # the attempt, of a step with its name: `load/3#1 (page 3)`; or who did it from a shell
    note: str


def row_of_event(event: Event, program: str = PROGRAM) -> EventRow:
    """Return the row of an event; commands in its note are those of a program."""
    by = NOTHING if event.by is None else event.by.name
    if event.by is not None and event.by.step is not None:
        by += f" ({event.by.step})"
    if by_hand := event.pushed_from or event.taken_from:
        by = process(by_hand)
    verb = {"pushed": "continues ", "moved": "continued as "}.get(event.event, "")
    notes = [
        None if event.value is None else f"{verb}{event.value}",
        f"was {preview(event.earlier)}" if event.event == "replaced" else None,
        event.reason,
        None if event.error is None else error_note(event.error, program),
    ]
    return EventRow(event.at, event.event, one_line(by), one_line(", ".join(filter(None, notes))))
