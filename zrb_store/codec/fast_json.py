"""Write JSON with orjson and read it with msgspec, which are several times as fast as the standard library.

What they cannot do, or do differently, is left to the standard library. So is everything if they are not installed:
they do not have wheels for every platform.
"""

from __future__ import annotations

import functools
import gc
import sys
from collections.abc import Callable
from typing import Any

# While a large value is read, these Pythons look for garbage again and again, which doubles the time. Later ones wait
# until a function in C has returned.
_COLLECTS_MEANWHILE = sys.version_info < (3, 12)
_PAUSE_FROM = 64 * 1024  # characters


# Both are imported late: many commands neither write nor read a value, and the milliseconds are noticed.
@functools.cache
def writer() -> Callable[[Any], bytes] | None:
    """Return a function that writes a value as JSON in UTF-8, or None if orjson is not installed.

    The function writes tuples as lists, members of enums as their values, UUIDs as texts, and nan and infinities as
    `null`. It raises a `TypeError` for all other types but those of JSON, a key that is not a text, an int of more than
    64 bits, and a surrogate in a text.
    """
    try:
        import orjson
    except ImportError:
        return None
    options = orjson.OPT_PASSTHROUGH_SUBCLASS | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME
    return functools.partial(orjson.dumps, option=options)


@functools.cache
def _decoder() -> Callable[[str], Any] | None:
    try:
        from msgspec.json import Decoder
    except ImportError:
        return None
    return Decoder().decode


def read(data: str) -> Any:
    """Return the value of a text, as the standard library does, or raise.

    Raises:
        ValueError: The text is not JSON, or it has a surrogate or a number that is out of range; or msgspec is not
            installed.
        RecursionError: The value is nested too deep.
    """
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
