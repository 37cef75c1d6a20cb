"""Write JSON text in the form that is stored (ASCII, compact, without NaN), and read it."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from itertools import accumulate
from typing import Any, NoReturn

# The lowest limit that a user can set on the digits of an int that Python parses is 640. An int of 2100 bits has fewer.
HUGE_INT_DIGITS = 640
HUGE_INT_BITS = 2100

MAX_DEPTH = 200
"""How deep containers may be nested in a value, so that the stack suffices to read it."""

TEXT_DEPTH = 3 * MAX_DEPTH + 10
"""How deep brackets may be nested in the text of such a value."""

_USUAL_RECURSION_LIMIT = 3000
_ALL_BUT_BRACKETS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[^][{}"]+', re.DOTALL)

_ENCODER = json.JSONEncoder(separators=(",", ":"), allow_nan=False, check_circular=False)


def fastest_encoder() -> Callable[[Any], str]:
    """Return a function that does what `_ENCODER.encode` does in half the time.

    `_ENCODER.encode` makes a new C encoder for each value; this function makes one for all values.
    """
    try:  # these names are undocumented: another Python may lack them, or change their parameters
        from json.encoder import c_make_encoder, encode_basestring_ascii  # type: ignore[attr-defined]

        pieces = c_make_encoder(None, _ENCODER.default, encode_basestring_ascii, None, ":", ",", False, False, False)
    except (ImportError, TypeError):
        return _ENCODER.encode
    return lambda value: "".join(pieces(value, 0))


dumps = fastest_encoder()


def loads(data: str) -> Any:
    """Parse a JSON text."""
    # If the user has raised Python's recursion limit, its JSON parser would overflow the stack and crash the process.
    if len(data) > TEXT_DEPTH and sys.getrecursionlimit() > _USUAL_RECURSION_LIMIT and is_deep(data):
        raise ValueError("nested too deep")
    try:
        tree, end = _DECODER.raw_decode(data)
        if end == len(data):
            return tree
    except ValueError:
        pass
    # Not called first: it also skips white space, which our texts do not have, and that doubles the time.
    return _DECODER.decode(data)


def loads_finite(data: str) -> Any:
    """Parse a JSON text to a tree that can be written as JSON again: not too deep, and without infinities."""
    if is_deep(data):
        raise ValueError("nested too deep")
    return _FINITE_DECODER.decode(data)


def is_deep(data: str) -> bool:
    """Whether brackets are nested deeper than in any text that `encode` writes."""
    if data.count("[") + data.count("{") <= TEXT_DEPTH:
        return False
    brackets = _ALL_BUT_BRACKETS.sub("", data)
    return max(accumulate(1 if bracket in "[{" else -1 for bracket in brackets), default=0) > TEXT_DEPTH


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite_or_tagged(digits: str) -> Any:
    number = float(digits)
    return number if number - number == 0 else {"$": "float", "v": repr(number)}


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)
_FINITE_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite_or_tagged)
