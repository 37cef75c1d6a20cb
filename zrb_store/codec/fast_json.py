"""Write and read JSON with msgspec, which is several times as fast as the standard library.

What it cannot do, or does differently, is left to the standard library. So is everything if it is not installed: it
does not have wheels for every platform.
"""

from __future__ import annotations

import functools
import gc
import sys
from collections.abc import Callable
from typing import Any

REFUSALS = (TypeError, ValueError, OverflowError)
"""What the function that `writer` returns raises for a value that it does not write."""

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
def writer() -> Callable[[Any], bytes] | None:
    """Return a function that writes a value as JSON in UTF-8, or None if msgspec is not installed.

    The function writes tuples and sets as lists, members of enums as their values, UUIDs, dates and bytes as texts,
    keys that are numbers as texts, and nan and infinities as `null`. It refuses a surrogate in a text, and in some
    releases an int of more than 64 bits.
    """
    try:
        from msgspec.json import Encoder
    except ImportError:
        return None
    return Encoder().encode


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
