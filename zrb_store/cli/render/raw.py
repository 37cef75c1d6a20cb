"""The raw form of values: bytes as they are, and text in UTF-8."""

from __future__ import annotations

import binascii
from collections.abc import Iterator

from zrb_store.cli.render.format import single_text
from zrb_store.cli.render.slices import slices
from zrb_store.json_tree import JsonValue
from zrb_store.safe_text import printable


def raw_pieces(tree: JsonValue) -> Iterator[bytes]:
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


def is_text(content: bytes) -> bool:
    """Whether a terminal can show this: UTF-8 without control characters."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return False
    return printable(text, keep="\n\t") == text
