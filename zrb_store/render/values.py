"""The values of a session: one alone for `get` and `last`, and every one with its fate for `show` and `trace`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zrb_store.errors import ZrbStoreError
from zrb_store.inspect.holders import HeldBy
from zrb_store.inspect.paths import part
from zrb_store.inspect.show import SessionDocument
from zrb_store.inspect.stored_value import StepResult, StoredValue
from zrb_store.queries.value_history import Only
from zrb_store.records import UNSUCCESSFUL, iso
from zrb_store.render.document import Block, Column, Fields, Lines, Table, on_terminal
from zrb_store.render.format import (
    NOTHING,
    TimeFormat,
    deliveries,
    error_line,
    format_duration,
    micros_between,
    preview,
    pusher,
    size,
    taker,
)
from zrb_store.render.printing import (
    echo_json,
    echo_value,
    is_text,
    print_damage,
    print_document,
    raw_pieces,
    write_bytes,
)
from zrb_store.render.table import shorten
from zrb_store.safe_text import one_line


def print_value(stored: StoredValue | StepResult, output_format: str, path: str | None) -> None:
    """Print a value or the result of a step, or the part of it at a path, in one of the formats or as `raw`."""
    value = stored.shape
    if path is not None:
        value = {**value, "value": part(value["value"], path)}
    if output_format == "raw":
        _write_raw(value["value"], str(value["id"]) + (f" at {path}" if path else ""))
    elif output_format == "value":
        echo_value(value["value"])
    elif output_format == "table":
        fields = _value_fields(value) if isinstance(stored, StoredValue) else _step_fields(value)
        print_document([Fields(fields, frozenset({"State"})), Lines([preview(value["value"], full=True)])])
    else:
        echo_json(value, one_line=output_format == "jsonl")
    print_damage(stored.damage)


def _write_raw(tree: Any, name: str) -> None:
    to_terminal = on_terminal()
    try:  # nothing is written of what cannot be written whole
        fits = [not to_terminal or is_text(piece) for piece in raw_pieces(tree)]
    except ValueError as error:
        raise ZrbStoreError(f"{name} {error}") from None
    if not all(fits):
        raise ZrbStoreError(f"{name} is not text, and would upset the terminal: redirect it, as in `--raw > FILE`")
    for piece in raw_pieces(tree):
        write_bytes(piece)


def _value_fields(value: dict[str, Any]) -> list[tuple[str, str]]:
    pushed_at = TimeFormat().full(value["pushed_at"])
    return [
        ("Value", one_line(value["id"])),
        ("State", fate(value, TimeFormat())),
        ("Type", f"{one_line(value['type'])}, {size(value['size'])}"),
        ("Pushed", f"{pushed_at} by {pusher(value) or 'no attempt'}"),
    ]


def _step_fields(result: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        ("Result of", one_line(result["id"])),
        ("Step", one_line(result["step"] or NOTHING) + ("" if result["restorable"] else ", not restorable")),
        ("Size", size(result["size"])),
        ("Completed", TimeFormat().full(result["completed_at"])),
    ]


def fate(value: dict[str, Any], times: TimeFormat) -> str:
    """Return what became of a value: `live`, `taken by load#2`, `retracted`, `dead after 5 deliveries`.

    If no attempt took it, or one that was deleted, it says when: `taken by amy, pid 7 on db-1, at 03:12:45`.
    """
    if value["state"] == "dead":
        return f"dead after {deliveries(value['deliveries'])}"
    if value["state"] != "taken" or value["taken_by"]:
        by = f" by {taker(value)}" if value["taken_by"] else ""
        return f"{value['state']}{by}{_orphaned(value)}"
    by = f" by {taker(value)}," if value["popped_by"] else ""
    return f"taken{by} at {times.brief(value['taken_at'])}{_orphaned(value)}"


def fate_of_held(value: dict[str, Any], holder: str, read_at: int) -> str:
    """Return by whom a value is held, and for how long: `held by load#2 for 12 min (alive)`.

    Args:
        value: The value, which a running attempt took, or a step of a session that does not run.
        holder: What is known of the attempt's process, or of the step.
        read_at: When the value was read, in microseconds.
    """
    duration = format_duration(micros_between(value["taken_at"], iso(read_at)))
    return f"held by {one_line(value['taken_by'])} for {duration} ({holder}){_orphaned(value)}"


def _orphaned(value: dict[str, Any]) -> str:
    return ", orphaned" if value["orphaned"] else ""


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
