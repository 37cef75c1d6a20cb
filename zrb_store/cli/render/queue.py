"""The queues of a session, as `show` prints them: every value with its fate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zrb_store.cli.render.document import Block, Column, Lines, Table
from zrb_store.cli.render.errors import error_line
from zrb_store.cli.render.format import NOTHING, TimeFormat, deliveries, preview, pusher, size
from zrb_store.cli.render.value import fate, fate_of_held
from zrb_store.cli.render.width import shorten
from zrb_store.inspect.holders import HeldBy
from zrb_store.inspect.show import SessionDocument
from zrb_store.queries.value_history import Only
from zrb_store.records import UNSUCCESSFUL
from zrb_store.safe_text import one_line

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
            document: The session.
            times: The format of times.
            holders: What holds values of its queues now.
            only: The values to which the document is restricted, if any.
            at: The moment that is shown, as the user gave it; None for now. How many deliveries the queue allows is
                known only of now.
            full: Whether values are shown whole.
        """
        self._read_at = document.read_at
        own = document.tree["name"]
        self._holders = {
            f"{each.task}#{each.number}" if each.session == own else each.name: each.state for each in holders
        }
        self._earlier = document.earlier
        self._dead = document.dead if at is None else {}
        self._times = times
        self._only = only
        self._is_now = at is None
        self._full = full

    def block(self, name: str, contents: dict[str, Any]) -> Block:
        """Return the block of one queue, which is in the shape of `show --format json`."""
        values, limit = contents["values"], contents["max_deliveries"] if self._is_now else None
        earlier = self._earlier.get(name, {})
        count = len(values) + sum(earlier.values())
        if self._only == "dead":
            parts = [f"{count:,} dead"]
        else:
            parts = [f"{len(contents['live']):,} live of {count:,}" if count else "empty"]
            if dead := self._dead.get(name):
                parts.append(f"{dead} dead")
        if limit is not None:
            parts.append(f"at most {deliveries(limit)}")
        title = f"Queue {one_line(name)}: {', '.join(parts)}"
        rows = (self._row(value, limit) for value in values)
        return Table(_COLUMNS, rows, title, _not_shown(earlier)) if len(values) else Lines([], title)

    def _row(self, value: dict[str, Any], limit: int | None) -> list[str]:
        moved_from = "" if value["moved_from"] is None else f", as #{value['moved_from']}"
        history = map(self._delivery if value["state"] == "dead" else _return, value["returns"])
        return [
            f"#{value['seq']}",
            preview(value["value"], full=self._full),
            one_line(value["type"]),
            size(value["size"]),
            (pusher(value) or NOTHING) + moved_from,
            "\n".join([*history, self._fate(value, limit)]),
        ]

    def _fate(self, value: dict[str, Any], limit: int | None) -> str:
        holder = self._holders.get(value["taken_by"]) if value["state"] == "taken" else None
        text = fate(value, self._times) if holder is None else fate_of_held(value, holder, self._read_at)
        may_die = limit is not None and value["deliveries"] and (value["state"] == "live" or holder is not None)
        return f"{text}, delivered {value['deliveries']} of {limit}" if may_die else text

    def _delivery(self, returned: dict[str, Any]) -> str:
        """Say who took a value that is dead now, when, and how that ended."""
        if not returned["deliveries"]:
            return _return(returned)
        error = "" if returned["error"] is None else f", {error_line(returned['error'])}"
        text = f"{self._times.brief(returned['taken_at'])} {_taker(returned)}: {returned['reason']}{error}"
        return shorten(one_line(f"delivery {returned['deliveries']}: {text}"), _ERROR_WIDTH)


def _not_shown(earlier: dict[str, int]) -> str:
    """Say how many values come before those that are shown, and what became of them."""
    if not earlier:
        return ""
    states = sorted(earlier, key=lambda state: (state != "live", state != "taken", state))
    parts = ", ".join(f"{earlier[state]:,} {state}" for state in states)
    count = sum(earlier.values())
    are = "earlier value is" if count == 1 else "earlier values are"
    return f"{count:,} {are} not shown ({parts}): --all shows {'it' if count == 1 else 'them'}"


def _return(returned: dict[str, Any]) -> str:
    if returned["deliveries"] == 0:
        return one_line(returned["reason"])  # requeued, and by whom
    # That an attempt failed or was lost is shown among the tasks already.
    reason = "" if returned["reason"] in UNSUCCESSFUL else f": {returned['reason']}"
    return one_line(f"given back by {_taker(returned)}{reason}")


def _taker(returned: dict[str, Any]) -> str:
    return returned["taken_by"] or "a deleted attempt"
