"""Write JSON text in the stored form (compact, without NaN and surrogates), and read it.

msgspec does it several times as fast as the standard library, which does what msgspec cannot do or does differently,
and everything where it is not installed.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import json
import re
import sys
from collections.abc import Callable
from itertools import accumulate
from typing import NamedTuple, NoReturn

from zrb_store.records import JsonTree, JsonValue

# The lowest limit that a user can set on the digits of an int that Python parses is 640. An int of 2100 bits has fewer.
HUGE_INT_DIGITS = 640
HUGE_INT_BITS = 2100

MAX_DEPTH = 200  # how deep containers may be nested in a value, so that the stack suffices to read it

TEXT_DEPTH = 3 * MAX_DEPTH + 10  # how deep brackets may be nested in the text of such a value

_USUAL_RECURSION_LIMIT = 3000
_ALL_BUT_BRACKETS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[^][{}"]+', re.DOTALL)

_SURROGATE = re.compile("[\ud800-\udfff]")
_FAST_FROM = 256  # characters; the standard library is fast enough with shorter texts, and need not be found


_dumps = json.JSONEncoder(separators=(",", ":"), allow_nan=False, check_circular=False, ensure_ascii=False).encode


class Encoded(NamedTuple):
    """An encoded value."""

    data: str
    type: str  # the name of the value's class, for display
    size: int  # of the text in bytes
    restorable: bool = True  # whether `decode(data)` returns an equal value
    problem: str | None = None  # the part that could not be stored, such as `$.rows[3].conn: socket`


def dumps(value: JsonTree) -> str:
    """Write JSON text in the form that is stored. Surrogates are escaped, because UTF-8 does not have them."""
    data = _dumps(value)
    return data if data.isascii() else _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", data)


def size_of(data: str) -> int:
    """Return the size of a text in bytes, as it is stored."""
    return len(data) if data.isascii() else len(data.encode())


def loads(data: str) -> JsonValue:
    """Parse a JSON text."""
    # If the user has raised Python's recursion limit, a JSON parser would overflow the stack and crash the process.
    if len(data) > TEXT_DEPTH and sys.getrecursionlimit() > _USUAL_RECURSION_LIMIT and is_deep(data):
        raise ValueError("nested too deep")
    if len(data) >= _FAST_FROM:
        try:  # contextlib.suppress would take as long as reading a short text
            return read(data)
        except ValueError:
            pass
    tree: JsonValue
    try:
        tree, end = _DECODER.raw_decode(data)
        if end == len(data):
            return tree
    except ValueError:
        pass
    # Not called first: it also skips white space, which our texts do not have, and that doubles the time.
    tree = _DECODER.decode(data)
    return tree


def loads_finite(data: str) -> JsonValue:
    """Parse a JSON text to a tree that can be written as JSON again: not too deep, and without infinities."""
    if is_deep(data):
        raise ValueError("nested too deep")
    if len(data) >= _FAST_FROM:
        with contextlib.suppress(ValueError):
            return read(data)
    tree: JsonValue = _FINITE_DECODER.decode(data)
    return tree


def is_deep(data: str) -> bool:
    """Whether brackets are nested deeper than in any text that `encode` writes."""
    if data.count("[") + data.count("{") <= TEXT_DEPTH:
        return False
    brackets = _ALL_BUT_BRACKETS.sub("", data)
    return max(accumulate(1 if bracket in "[{" else -1 for bracket in brackets), default=0) > TEXT_DEPTH


def refuse_constant(name: str) -> NoReturn:
    """Refuse NaN and infinities, which Python's parser would read."""
    raise ValueError(f"{name} is not JSON")


def _finite_or_tagged(digits: str) -> JsonValue:
    number = float(digits)
    return number if number - number == 0 else {"$": "float", "v": repr(number)}


_DECODER = json.JSONDecoder(parse_constant=refuse_constant)
_FINITE_DECODER = json.JSONDecoder(parse_constant=refuse_constant, parse_float=_finite_or_tagged)


_BETWEEN_SURROGATES = re.compile("(?<=[\ud800-\udbff])(?=[\udc00-\udfff])")


def write_text(value: str) -> JsonValue:
    """Return the tree of a text. JSON would read a high and a low surrogate, which are two characters, as one."""
    if value.isascii() or not _BETWEEN_SURROGATES.search(value):
        return value
    return {"$": "str", "v": _BETWEEN_SURROGATES.split(value)}


# -- msgspec

# While a large value is read, these Pythons look for garbage again and again, which doubles the time. Later ones wait
# until a function in C has returned.
_COLLECTS_MEANWHILE = sys.version_info < (3, 12)
_PAUSE_FROM = 64 * 1024  # characters


def load() -> None:
    """Import msgspec now, before work begins: a signal during the import of native code may crash the process."""
    writer()
    _decoder()


# Imported late: many commands neither write nor read a value, and the milliseconds are noticed.
@functools.cache
def writer() -> Callable[[JsonTree], bytes] | None:
    """Return a function that writes a value as JSON in UTF-8, or None if msgspec is not installed.

    It also writes what JSON does not have (ADR 0004), nan and infinities as `null`, and raises for a surrogate.
    """
    try:
        from msgspec.json import Encoder
    except ImportError:
        return None
    return Encoder().encode


@functools.cache
def _decoder() -> Callable[[str], JsonValue] | None:
    try:
        from msgspec.json import Decoder
    except ImportError:
        return None
    return Decoder().decode


def read(data: str) -> JsonValue:
    """Return the value of a text, as the standard library does; raise ValueError for what msgspec cannot read."""
    decode = _decoder()
    if decode is None:
        raise ValueError("msgspec is not installed")
    if not _COLLECTS_MEANWHILE or len(data) < _PAUSE_FROM or not gc.isenabled():
        return decode(data)
    gc.disable()
    try:
        return decode(data)
    finally:
        gc.enable()
