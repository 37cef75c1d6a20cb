"""Printing of one value: by `get` and `last` the value itself, by `show` and `trace` what became of it."""

from __future__ import annotations

from typing import Any

from zrb_store.cli.render.damage_notes import print_damage
from zrb_store.cli.render.document import Fields, Lines
from zrb_store.cli.render.format import (
    NOTHING,
    TimeFormat,
    deliveries,
    format_duration,
    micros_between,
    preview,
    pusher,
    size,
    taker,
)
from zrb_store.cli.render.output import echo_json, echo_value, print_document, write_bytes
from zrb_store.cli.render.raw import is_text, raw_pieces
from zrb_store.cli.render.stdout import on_terminal
from zrb_store.errors import ZrbStoreError
from zrb_store.inspect.paths import part
from zrb_store.inspect.stored_value import StepResult, StoredValue
from zrb_store.records import iso
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
