"""JSON text as we write it: ASCII, compact, without NaN; and how it is read."""

from __future__ import annotations

import json
from typing import Any, NoReturn

# Fewer than 640 digits: Python refuses to read longer ints where its digit limit is set to the least it can be.
HUGE_INT_DIGITS = 640
HUGE_INT_BITS = 2100

MAX_DEPTH = 200
"""How deep containers may be nested in one value, so that reading it needs no more stack than there is."""

dumps = json.JSONEncoder(separators=(",", ":"), allow_nan=False, check_circular=False).encode


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite_or_tagged(digits: str) -> Any:
    number = float(digits)
    return number if number - number == 0 else {"$": "float", "v": repr(number)}


loads = json.JSONDecoder(parse_constant=_refuse_constant).decode
loads_finite = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite_or_tagged).decode
"""Like `loads`, but a number too large for a float becomes a tagged infinity, which can be written as JSON again."""
