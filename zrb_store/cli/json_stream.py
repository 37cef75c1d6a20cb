"""JSON that is written as it is read: lazy lists and iterators in it are never held whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

Dumps = Callable[[Any], str]

_SCALARS = frozenset({str, int, float, bool, type(None)})


def pieces(tree: Any, dumps: Dumps, *, compact: bool, level: int = 0) -> Iterator[str]:
    """The text of a tree, in pieces: on one line, or as with an indent of 2.

    Args:
        tree: Plain data with lazy lists and iterators in it.
        dumps: Writes plain data, `compact` or with an indent of 2.
        compact: Whether all is on one line.
        level: How deep it is.
    """
    if not _is_lazy(tree):
        text = dumps(tree)
        # A line ends only between two items: inside of a text it is an escape.
        yield text if compact or not level else text.replace("\n", _line(level))
        return
    is_dict = type(tree) is dict
    begin, end = "{}" if is_dict else "[]"
    colon, inner, outer = (":", "", "") if compact else (": ", _line(level + 1), _line(level))
    before = begin
    for key, item in tree.items() if is_dict else (("", item) for item in tree):
        beginning = f"{before}{inner}{dumps(key)}{colon}" if is_dict else before + inner
        for piece in pieces(item, dumps, compact=compact, level=level + 1):
            yield beginning + piece
            beginning = ""
        before = ","
    yield begin + end if before == begin else outer + end


def _line(level: int) -> str:
    return "\n" + level * "  "


def _is_lazy(tree: Any) -> bool:
    """Whether it is, or has in it, what is neither a dict, nor a list, nor a scalar."""
    left = [tree]  # not recursive: values may be nested as deep as Python's stack just bears
    while left:
        part = left.pop()
        kind = type(part)
        if kind is dict:
            left += part.values()
        elif kind is list:
            left += part
        elif kind not in _SCALARS:
            return True
    return False
