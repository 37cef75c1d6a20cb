"""The segments of a path to a part of a value, such as `$.rows[0].name`."""

from __future__ import annotations

import json

from zrb_store.codec.display import key_segment
from zrb_store.json_tree import JsonValue

PAIRS = ("dict", "OrderedDict")
"""The tags of dicts that are stored as pairs of key and item."""


def segment_of(key: str | int) -> str:
    """Return the segment for a key. Unlike `key_segment`, never shorten it."""
    if type(key) is str:
        return f".{key}" if key.isidentifier() else f"[{json.dumps(key)}]"
    try:
        return f"[{key}]"
    except ValueError:  # it has more digits than Python converts
        return key_segment(key)


def by_segment(pairs: JsonValue) -> dict[str, JsonValue]:
    """Return the items of a dict that is stored as pairs, by the segment for each. Only texts and ints have a segment.

    The result is not keyed by the keys themselves, because ints may have been chosen to collide.
    """
    items: dict[str, JsonValue] = {}
    for pair in pairs if type(pairs) is list else ():
        if type(pair) is not list or len(pair) != 2:
            return {}  # damaged
        key, item = pair
        if isinstance(key, (str, int)) and type(key) is not bool:
            items[segment_of(key)] = item
    return items
