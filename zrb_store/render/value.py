"""One value, or the result of a step, as `get` and `last` print it, and with its history, as `trace` does."""

from __future__ import annotations

import binascii
from collections.abc import Iterator
from typing import TYPE_CHECKING

from zrb_store.errors import ZrbStoreError
from zrb_store.inspect.get import StepResult, part
from zrb_store.masking import one_line, printable
from zrb_store.queries.history import Value
from zrb_store.records import JsonObject, JsonValue
from zrb_store.render.document import Column, Fields, Lines, Table, on_terminal
from zrb_store.render.format import (
    NOTHING,
    TimeFormat,
    fate,
    preview,
    program_name,
    pusher,
    replacement,
    single_text,
    size,
)
from zrb_store.render.life import row_of_event
from zrb_store.render.printing import echo_json, echo_value, print_document, slices, write_bytes

if TYPE_CHECKING:
    from zrb_store.inspect.trace import Trace

_SHOWN_LENGTH = 240  # characters of a traced value, unless all of it is asked for
_EVENT_COLUMNS = (Column("at", words=True), Column("event", status=True), Column("by", fold=True), Column("note"))


def print_value(stored: Value | StepResult, output_format: str, path: str | None) -> None:
    """Print a value or the result of a step, or the part of it at a path, in one of the formats or as `raw`."""
    content = stored.content if path is None else part(stored.content, path)
    if output_format == "raw":
        _write_raw(content, stored.id + (f" at {path}" if path else ""))
    elif output_format == "value":
        echo_value(content)
    elif output_format == "table":
        if isinstance(stored, Value):
            times = TimeFormat()
            pushed = f"{times.full(stored.record.pushed_at)} by {pusher(stored) or 'no attempt'}"
            fields = _fields(stored, times, ("Pushed", pushed))
        else:
            fields = _step_fields(stored)
        print_document([fields, Lines([preview(content, full=True)])])
    else:
        shown: JsonObject = {**stored.to_json(), "value": content}
        echo_json(shown, one_line=output_format == "jsonl")


def _write_raw(tree: JsonValue, name: str) -> None:
    to_terminal = on_terminal()
    try:  # nothing is written of what cannot be written whole
        fits = [not to_terminal or _is_text(piece) for piece in _raw_pieces(tree)]
    except ValueError as error:
        raise ZrbStoreError(f"{name} {error}") from None
    if not all(fits):
        raise ZrbStoreError(f"{name} is not text, and could corrupt the terminal: redirect it, as in `--raw > FILE`")
    for piece in _raw_pieces(tree):
        write_bytes(piece)


def _fields(value: Value, times: TimeFormat, last: tuple[str, str]) -> Fields:
    record = value.record
    kind = f"{one_line(record.type)}, {size(record.size)}"
    pairs = [("Value", one_line(value.id)), ("State", fate(value, times)), ("Type", kind), last]
    pairs += [("Replaced", replacement(each, times)) for each in value.replaced]
    return Fields(pairs, status="State")


def _step_fields(result: StepResult) -> Fields:
    step = result.step
    return Fields(
        [
            ("Result of", one_line(result.id)),
            ("Step", one_line(step.step or NOTHING) + ("" if step.restorable else ", not restorable")),
            ("Size", size(result.size)),
            ("Completed", TimeFormat().full(step.ended_at)),
        ]
    )


def print_trace(history: Trace, *, full: bool) -> None:
    times, text = TimeFormat(), preview(history.value.content, full=full)
    shown = text if full or len(text) <= _SHOWN_LENGTH else f"{text[:_SHOWN_LENGTH]}..."
    told = (row_of_event(event, program_name()) for event in history.events)
    rows = ([times.exact(each.at), each.event, each.by, each.note] for each in told)
    fields = _fields(history.value, times, ("Content", shown))
    print_document([fields, Table(_EVENT_COLUMNS, rows)], full=full)


def _raw_pieces(tree: JsonValue) -> Iterator[bytes]:
    """Yield the raw form of a value, as `codec.to_json` returns it; a long text is encoded piece by piece.

    If it has none, the message of the ValueError continues a sentence that begins with the name of the value.
    """
    if type(tree) is dict and tree.get("$") in ("bytes", "bytearray"):
        content = tree.get("v")
        if type(content) is str:
            yield binascii.a2b_base64(content)
            return
    text = single_text(tree)
    if text is None and type(tree) in (int, float):
        text = repr(tree)
    if text is None:
        raise ValueError("has no raw form, because it is neither bytes nor text: leave out --raw to get it as JSON")
    try:
        for part in slices(text):
            yield part.encode(errors="surrogateescape")  # the name of a file may have bytes that are not UTF-8
    except UnicodeEncodeError:
        raise ValueError("has no raw form: it has characters that UTF-8 cannot express") from None


def _is_text(content: bytes) -> bool:
    """Whether a terminal can show this: UTF-8 without control characters."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return False
    return printable(text, keep="\n\t") == text
