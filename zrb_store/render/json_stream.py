"""JSON that is written while its data is read: lazy lists and iterators are never held in memory as a whole."""

from __future__ import annotations

import codecs
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator

from zrb_store.json_tree import JsonTree
from zrb_store.safe_text import printable

Dumps = Callable[[JsonTree], str]

_SCALARS = frozenset({str, int, float, bool, type(None)})
_NOT_PLAIN = re.compile(r"[^\x20-\x7e\n]+")  # newlines stand only between items: in a string they are escapes


def pieces(tree: JsonTree, dumps: Dumps, *, compact: bool, level: int = 0) -> Iterator[str]:
    """Yield the JSON text of a tree in pieces.

    Args:
        tree: Plain data, which may contain lazy lists and iterators.
        dumps: Writes plain data without these: on one line if `compact`, else with an indent of 2.
        compact: Whether all is on one line.
        level: How deep the tree is nested in the whole.
    """
    if not _has_lazy_parts(tree):
        text = dumps(tree)
        # A newline stands only between two items: in a string it is an escape.
        yield text if compact or not level else text.replace("\n", _new_line(level))
        return
    opening, closing = "{}" if isinstance(tree, dict) else "[]"
    colon, inner, outer = (":", "", "") if compact else (": ", _new_line(level + 1), _new_line(level))
    separator = opening
    for key, item in _items(tree):
        prefix = separator + inner + ("" if key is None else f"{dumps(key)}{colon}")
        for piece in pieces(item, dumps, compact=compact, level=level + 1):
            yield prefix + piece
            prefix = ""
        separator = ","
    yield opening + closing if separator == opening else outer + closing


def _items(tree: JsonTree) -> Iterator[tuple[str | None, JsonTree]]:
    """Yield the items of a dict with their keys, or of a list."""
    if isinstance(tree, dict):
        yield from tree.items()
    elif isinstance(tree, Iterable):
        yield from ((None, item) for item in tree)


def _new_line(level: int) -> str:
    return "\n" + level * "  "


def _has_lazy_parts(tree: JsonTree) -> bool:
    """Whether anything in the tree is neither a dict nor a list nor a scalar."""
    remaining = [tree]  # not recursive: values may be nested as deep as Python's stack allows
    while remaining:
        part = remaining.pop()
        if type(part) is dict:
            remaining += part.values()
        elif type(part) is list:
            remaining += part
        elif type(part) not in _SCALARS:
            return True
    return False


def dumps_compact(tree: JsonTree) -> str:
    """Write plain data as JSON on one line, as far as stdout can show it."""
    return _dumps(tree, indent=None)


def dumps_indented(tree: JsonTree) -> str:
    """Write plain data as JSON with an indent of 2, as far as stdout can show it."""
    return _dumps(tree, indent=2)


def _dumps(tree: JsonTree, *, indent: int | None) -> str:
    """Write JSON: where stdout is UTF-8 with escapes only for what cannot be printed, elsewhere in ASCII."""
    separators = (",", ":") if indent is None else None
    if codecs.lookup(sys.stdout.encoding or "ascii").name != "utf-8":
        return json.dumps(tree, indent=indent, separators=separators)
    text = json.dumps(tree, ensure_ascii=False, indent=indent, separators=separators)
    return _NOT_PLAIN.sub(_escape_unprintable, text)


def _escape_unprintable(match: re.Match[str]) -> str:
    return printable(match[0], escape=lambda char: json.dumps(char)[1:-1])
