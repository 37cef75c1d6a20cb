"""The queues of a session as `show` prints them: every value with what became of it."""

from __future__ import annotations

from collections.abc import Sequence

from zrb_store.inspect.queues import HeldBy
from zrb_store.inspect.show import Queue, SessionDocument
from zrb_store.inspect.value import Returned, Value
from zrb_store.masking import one_line
from zrb_store.queries.history import Only
from zrb_store.records import UNSUCCESSFUL
from zrb_store.render.document import Block, Column, Lines, Table
from zrb_store.render.format import (
    NOTHING,
    TimeFormat,
    deliveries,
    error_line,
    format_duration,
    preview,
    pusher,
    size,
    taker,
)
from zrb_store.render.table import shorten


def fate(value: Value, times: TimeFormat) -> str:
    """Return what became of a value: `live`, `taken by load#2`, `retracted`, `dead after 5 deliveries`.

    If no attempt took it, or one that was deleted, it says when: `taken by amy, pid 7 on db-1, at 03:12:45`.
    """
    state = value.record.state
    if state == "dead":
        return f"dead after {deliveries(value.record.deliveries)}"
    if state != "taken" or value.taken_by:
        by = f" by {taker(value)}" if value.taken_by else ""
        return f"{state}{by}{_orphaned(value)}"
    by = f" by {taker(value)}," if value.popped_by else ""
    return f"taken{by} at {times.brief(value.taken_at)}{_orphaned(value)}"


def fate_of_held(value: Value, holder: str, read_at: int) -> str:
    """Return by whom a value is held, and for how long: `held by load#2 for 12 min (alive)`.

    Args:
        holder: What is known of the process of the attempt that took it; or of the step, if its session does not run.
        read_at: When the value was read, in microseconds.
    """
    duration = format_duration(None if value.taken_at is None else read_at - value.taken_at)
    return f"held by {one_line(value.taken_by or '')} for {duration} ({holder}){_orphaned(value)}"


def _orphaned(value: Value) -> str:
    return ", orphaned" if value.record.orphaned else ""


_ERROR_WIDTH = 120  # columns of a delivery's error; `log` shows all of it
_COLUMNS = (
    Column("seq", right=True),
    Column("value", cut=True),
    Column("type", leaves=2),
    Column("size", right=True, leaves=1),
    Column("pushed by", fold=True, leaves=3),
    Column("fate", status=True),
)


class QueuePrinter:
    """Makes the blocks that show the queues of a session."""

    def __init__(
        self,
        document: SessionDocument,
        times: TimeFormat,
        holders: Sequence[HeldBy],
        *,
        only: Only | None,
        at: str | None,
        full: bool,
    ) -> None:
        """Create a printer.

        Args:
            holders: What holds values of its queues now.
            only: The values to which the document is restricted, if any.
            at: The moment that is shown, as the user gave it; None for now. How many deliveries the queue allows is
                known only of now.
            full: Whether values are shown whole.
        """
        self._read_at = document.read_at
        own = document.session.name
        self._holders = {
            f"{each.task}#{each.number}" if each.session == own else each.name: each.state for each in holders
        }
        self._times = times
        self._only = only
        self._is_now = at is None
        self._full = full

    def block(self, queue: Queue) -> Block:
        """Return the block of one queue."""
        limit = queue.max_deliveries if self._is_now else None
        if self._only == "dead":
            parts = [f"{queue.count:,} dead"]
        else:
            parts = [f"{len(queue.live):,} live of {queue.count:,}" if queue.count else "empty"]
            if self._is_now and queue.dead:
                parts.append(f"{queue.dead} dead")
        if limit is not None:
            parts.append(f"at most {deliveries(limit)}")
        title = f"Queue {one_line(queue.name)}: {', '.join(parts)}"
        rows = (self._row(value, limit) for value in queue.values)
        return Table(_COLUMNS, rows, title, _not_shown(queue.earlier)) if len(queue.values) else Lines([], title)

    def _row(self, value: Value, limit: int | None) -> list[str]:
        record = value.record
        moved_from = "" if record.moved_from is None else f", as #{record.moved_from}"
        history = map(self._delivery if record.state == "dead" else _return, value.returns)
        return [
            f"#{record.seq}",
            preview(value.content, full=self._full),
            one_line(record.type),
            size(record.size),
            (pusher(value) or NOTHING) + moved_from,
            "\n".join([*history, self._fate(value, limit)]),
        ]

    def _fate(self, value: Value, limit: int | None) -> str:
        record = value.record
        holder = self._holders.get(value.taken_by or "") if record.state == "taken" else None
        text = fate(value, self._times) if holder is None else fate_of_held(value, holder, self._read_at)
        may_die = limit is not None and record.deliveries and (record.state == "live" or holder is not None)
        return f"{text}, delivered {record.deliveries} of {limit}" if may_die else text

    def _delivery(self, returned: Returned) -> str:
        """Say who took a value that is dead now, when, and how that ended."""
        record = returned.record
        if not record.deliveries:
            return _return(returned)
        error = "" if returned.error is None else f", {error_line(returned.error)}"
        text = f"{self._times.brief(record.taken_at)} {_taker(returned)}: {record.reason}{error}"
        return shorten(one_line(f"delivery {record.deliveries}: {text}"), _ERROR_WIDTH)


def _not_shown(earlier: dict[str, int]) -> str:
    """Say how many values come before those that are shown, and what became of them."""
    if not earlier:
        return ""
    states = sorted(earlier, key=lambda state: (state != "live", state != "taken", state))
    parts = ", ".join(f"{earlier[state]:,} {state}" for state in states)
    count = sum(earlier.values())
    are = "earlier value is" if count == 1 else "earlier values are"
    return f"{count:,} {are} not shown ({parts}): --all shows {'it' if count == 1 else 'them'}"


def _return(returned: Returned) -> str:
    reason = returned.record.reason
    if returned.is_requeue:
        return one_line(reason)  # requeued, and by whom
    # That an attempt failed or was lost is shown among the tasks already.
    return one_line(f"given back by {_taker(returned)}{'' if reason in UNSUCCESSFUL else f': {reason}'}")


def _taker(returned: Returned) -> str:
    return returned.taken_by or "a deleted attempt"
