"""What became of a value, line by line, as a terminal and a page tell it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from zrb_store.masking import one_line
from zrb_store.queries.history import Replaced, Returned, Value
from zrb_store.records import ErrorRecord
from zrb_store.render.document import shorten
from zrb_store.render.format import TimeFormat, given_back, replacement


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
