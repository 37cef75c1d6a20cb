"""Cutting of long lists and long values to what a page can hold."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

Measure = Callable[[Any], int]
"""How many bytes plain data takes on a page."""

BEGINNING = 2000
"""Characters that are shown of a value that is too long."""


class Cut(NamedTuple):
    """The last items that fit in a room.

    Attributes:
        items: The items.
        left_out: How many come before them.
        used: How many bytes they take.
    """

    items: list[dict[str, Any]]
    left_out: int
    used: int


def last_within(items: Iterable[dict[str, Any]], room: int, measure: Measure) -> Cut:
    """Return the last items that have room together, and at least one.

    Args:
        items: The items, which are read once.
        room: How many bytes there are.
        measure: Measures an item.
    """
    kept: deque[tuple[dict[str, Any], int]] = deque()
    used, left_out = 0, 0
    for item in items:
        size = measure(item)
        kept.append((item, size))
        used += size
        while used > room and len(kept) > 1:
            used -= kept.popleft()[1]
            left_out += 1
    return Cut([item for item, _ in kept], left_out, used)


def json_length(tree: Any) -> int:
    """Return how long data is as JSON, in bytes of UTF-8."""
    return len(json.dumps(tree, separators=(",", ":"), ensure_ascii=False).encode(errors="surrogatepass"))


def beginning(tree: Any) -> str:
    """Return the first characters of a long value: of its text, or of its JSON."""
    return tree[:BEGINNING] if type(tree) is str else json.dumps(tree, ensure_ascii=False)[:BEGINNING]


def cut_text(text: str, length: int) -> str:
    """Return a text, or its first characters and a sign that there are more."""
    return text if len(text) <= length else f"{text[:length]} […]"
