"""The part of a value at a path, as in `$.rows[0].name`."""

from __future__ import annotations

import json
import re
from typing import Any

from zrb_store.codec.display import key_segment
from zrb_store.codec.path_segments import PAIRS, by_segment, segment_of
from zrb_store.errors import InvalidArgument, ValueNotFound

_SEGMENT = re.compile(r"""\.([^.\[\]"']+)|\[(-?\d+)\]|\[("(?:[^"\\]|\\.)*")\]|\['([^']*)'\]""")
_ABSENT = object()


def part(tree: Any, path: str) -> Any:
    """Return the part of a value, as `codec.to_json` gives it, at a path.

    Raises:
        InvalidArgument: The path is not of the form `$.name[0]["odd name"]`.
        ValueNotFound: The value has no such part.
    """
    here = "$"
    for segment in _segments(path):
        here += key_segment(segment)
        tree = _inner(tree, segment)
        if tree is _ABSENT:
            raise ValueNotFound(f"the value has no part {here}")
    return tree


def _inner(tree: Any, segment: str | int) -> Any:
    """Return the part of a value that one segment leads to."""
    while type(tree) is dict and "$" in tree:
        tag, tree = tree["$"], tree.get("v")
        if tag in PAIRS:
            return by_segment(tree).get(segment_of(segment), _ABSENT)
    if type(tree) is list and type(segment) is int:
        return tree[segment] if -len(tree) <= segment < len(tree) else _ABSENT
    return tree.get(segment, _ABSENT) if type(tree) is dict else _ABSENT


def _segments(path: str) -> list[str | int]:
    segments: list[str | int] = []
    place = 1
    while place < len(path):
        match = _SEGMENT.match(path, place)
        if match is None:
            break
        name, index, quoted, single = match.groups()
        try:
            segments.append(int(index) if index else json.loads(quoted) if quoted else name or single)
        except ValueError:  # not JSON, or more digits than Python reads
            break
        place = match.end()
    if path[:1] != "$" or place < len(path):
        raise InvalidArgument(f"""{path!r} is not a path: write it as $.rows[0].name or $["odd name"]""")
    return segments
