"""One value alone, or the result of a step, as `get` and `last` print it."""

from __future__ import annotations

import binascii
from collections.abc import Iterator

from zrb_store.errors import ZrbStoreError
from zrb_store.inspect.get import StepResult, part
from zrb_store.inspect.value import Value
from zrb_store.masking import one_line, printable
from zrb_store.records import JsonObject, JsonValue
from zrb_store.render.document import Fields, Lines, on_terminal
from zrb_store.render.format import NOTHING, TimeFormat, preview, pusher, single_text, size
from zrb_store.render.printing import echo_json, echo_value, print_document, slices, write_bytes
from zrb_store.render.values import fate


def print_value(stored: Value | StepResult, output_format: str, path: str | None) -> None:
    """Print a value or the result of a step, or the part of it at a path, in one of the formats or as `raw`."""
    content = stored.content if path is None else part(stored.content, path)
    if output_format == "raw":
        _write_raw(content, stored.id + (f" at {path}" if path else ""))
    elif output_format == "value":
        echo_value(content)
    elif output_format == "table":
        fields = _value_fields(stored) if isinstance(stored, Value) else _step_fields(stored)
        print_document([Fields(fields, frozenset({"State"})), Lines([preview(content, full=True)])])
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
        raise ZrbStoreError(f"{name} is not text, and would upset the terminal: redirect it, as in `--raw > FILE`")
    for piece in _raw_pieces(tree):
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


def _raw_pieces(tree: JsonValue) -> Iterator[bytes]:
    """Yield the raw form of a value, as `codec.to_json` returns it. A long text is encoded piece by piece.

    Raises:
        ValueError: The value has none. The message continues a sentence that begins with its name.
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
        raise ValueError("has no raw form, since it is neither bytes nor text: leave out --raw to get it as JSON")
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
