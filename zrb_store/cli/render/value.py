"""Printing of one value: by `get` and `last` the value itself, by `show` and `trace` what became of it."""

from __future__ import annotations

from zrb_store.cli.render.damage_notes import print_damage
from zrb_store.cli.render.document import Fields, Lines
from zrb_store.cli.render.format import (
    NOTHING,
    TimeFormat,
    deliveries,
    format_duration,
    length,
    preview,
    pusher,
    size,
    taker,
)
from zrb_store.cli.render.output import echo_json, echo_value, print_document, write_bytes
from zrb_store.cli.render.raw import is_text, raw_pieces
from zrb_store.cli.render.stdout import on_terminal
from zrb_store.errors import ZrbStoreError
from zrb_store.inspect.get import StepResult, StoredValue, part
from zrb_store.inspect.value import Value
from zrb_store.json_tree import JsonObject, JsonValue
from zrb_store.safe_text import one_line


def print_value(stored: StoredValue | StepResult, output_format: str, path: str | None) -> None:
    """Print a value or the result of a step, or the part of it at a path, in one of the formats or as `raw`."""
    content = stored.content if path is None else part(stored.content, path)
    if output_format == "raw":
        _write_raw(content, stored.id + (f" at {path}" if path else ""))
    elif output_format == "value":
        echo_value(content)
    elif output_format == "table":
        fields = _value_fields(stored.value) if isinstance(stored, StoredValue) else _step_fields(stored)
        print_document([Fields(fields, frozenset({"State"})), Lines([preview(content, full=True)])])
    else:
        shown: JsonObject = {**stored.to_json(), "value": content}
        echo_json(shown, one_line=output_format == "jsonl")
    print_damage(stored.damage)


def _write_raw(tree: JsonValue, name: str) -> None:
    to_terminal = on_terminal()
    try:  # nothing is written of what cannot be written whole
        fits = [not to_terminal or is_text(piece) for piece in raw_pieces(tree)]
    except ValueError as error:
        raise ZrbStoreError(f"{name} {error}") from None
    if not all(fits):
        raise ZrbStoreError(f"{name} is not text, and would upset the terminal: redirect it, as in `--raw > FILE`")
    for piece in raw_pieces(tree):
        write_bytes(piece)


def _value_fields(value: Value) -> list[tuple[str, str]]:
    return [
        ("Value", one_line(value.id)),
        ("State", fate(value, TimeFormat())),
        ("Type", f"{one_line(value.record.type)}, {size(value.record.size)}"),
        ("Pushed", f"{TimeFormat().full(value.record.pushed_at)} by {pusher(value) or 'no attempt'}"),
    ]


def _step_fields(result: StepResult) -> list[tuple[str, str]]:
    step = result.step
    return [
        ("Result of", one_line(result.id)),
        ("Step", one_line(step.step or NOTHING) + ("" if step.restorable else ", not restorable")),
        ("Size", size(result.size)),
        ("Completed", TimeFormat().full(step.ended_at)),
    ]


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
        value: The value, which a running attempt took, or a step of a session that does not run.
        holder: What is known of the attempt's process, or of the step.
        read_at: When the value was read, in microseconds.
    """
    duration = format_duration(None if value.taken_at is None else length(value.taken_at, read_at))
    return f"held by {one_line(value.taken_by or '')} for {duration} ({holder}){_orphaned(value)}"


def _orphaned(value: Value) -> str:
    return ", orphaned" if value.record.orphaned else ""
