"""Texts and bytes of many megabytes, written and read slice by slice, so that memory holds them and their JSON once.

A JSON library holds one or two more copies meanwhile.
"""

from __future__ import annotations

import binascii
import io
import re
from collections.abc import Callable, Iterator
from typing import Any

from zrb_store.codec import fast_json

FROM = 4 * 1024 * 1024
"""The least number of characters or bytes that is written and read so. It takes a little longer."""

_SLICE = 12 * 64 * 1024  # divisible by 3 and by 4, so that the slices of bytes fit together in base 64
_LOW_SURROGATE = re.compile(r"\\u[dD][c-fC-F]")
_BYTES = re.compile(r'\{"\$":"(bytes|bytearray)","v":"')

# The loops below extend a text that nothing else refers to. CPython does that in place where it has seen it before, and
# 3.11 only in a `for`; so nothing is added to the text after a loop.


def write_text(value: str) -> tuple[str, int] | None:
    """Return the JSON text of a text and its size in bytes; None if that cannot be written so."""
    write = fast_json.writer()
    if write is None:
        return None
    data, size = "", 0
    try:
        for part in _written(value, write):
            data += part.decode()
            size += len(part)
    except fast_json.REFUSALS:  # a surrogate
        return None
    return data, size


def _written(value: str, write: Callable[[Any], bytes]) -> Iterator[bytes]:
    yield b'"'
    for start in range(0, len(value), _SLICE):
        yield write(value[start : start + _SLICE])[1:-1]
    yield b'"'


def read_text(data: str) -> str:
    """Return the text that a JSON text consists of.

    Raises:
        ValueError: It is another value, or cannot be read so.
    """
    if data[:1] != '"' or data[-1:] != '"':
        raise ValueError("not a text")
    value = ""
    for part in _parts(data):
        value += fast_json.read(f'"{part}"')
    return value


def _parts(data: str) -> Iterator[str]:
    """Yield the parts of the JSON text of a text, each of which is one itself but for the quotes."""
    start, end = 1, len(data) - 1
    while start < end:
        stop = _boundary(data, start, start + _SLICE) if start + _SLICE < end else end
        if stop <= start:
            raise ValueError("no place to cut")
        yield data[start:stop]
        start = stop


def _boundary(data: str, start: int, place: int) -> int:
    """Return a place, at the given one or a few characters before it, where no escape is cut in two.

    Args:
        data: The JSON text.
        start: A boundary before that place.
        place: Where to look for one.
    """
    last = data.rfind("\\", max(start, place - 6), place)
    if last < 0:
        return place
    before = data[start : last + 1]
    if (len(before) - len(before.rstrip("\\"))) % 2 == 0:  # the backslashes are escaped themselves
        return place
    # Two escaped surrogates in a row are one character.
    return last - 6 if _LOW_SURROGATE.match(data, last) and data[last - 6 : last - 4] == "\\u" else last


def write_bytes(value: bytes | bytearray) -> str:
    """Return the JSON text of bytes, as the codec writes it."""
    data = ""
    for part in _written_bytes(value):
        data += part.decode()
    return data


def _written_bytes(value: bytes | bytearray) -> Iterator[bytes]:
    yield f'{{"$":"{type(value).__name__}","v":"'.encode()
    for start in range(0, len(value), _SLICE):
        yield binascii.b2a_base64(value[start : start + _SLICE], newline=False)
    yield b'"}'


def read_bytes(data: str) -> bytes | bytearray:
    """Return the bytes that a JSON text consists of.

    Raises:
        ValueError: It is another value, or cannot be read so.
    """
    found = _BYTES.match(data)
    if found is None or not data.endswith('"}'):
        raise ValueError("not bytes")
    content = io.BytesIO()  # returns what it holds without a copy
    end = len(data) - 2
    for start in range(found.end(), end, _SLICE):
        stop = min(start + _SLICE, end)
        if stop < end and data[stop - 1] == "=":
            raise ValueError("padding in the middle")
        content.write(binascii.a2b_base64(data[start:stop], strict_mode=True))
    return content.getvalue() if found[1] == "bytes" else bytearray(content.getbuffer())
