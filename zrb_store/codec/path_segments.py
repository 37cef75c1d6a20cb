"""The segments of a path to a part of a value, such as `$.rows[0].name`."""

from __future__ import annotations

import json
from typing import Any

from zrb_store.codec.display import key_segment

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


def by_segment(pairs: Any) -> dict[str, Any]:
    """Return the items of a dict that is stored as pairs, by the segment for each. Only texts and ints have a segment.

    The result is not keyed by the keys themselves, because ints may have been chosen to collide.
    """
    try:
        return {segment_of(key): item for key, item in pairs if type(key) in (str, int)}
    except (TypeError, ValueError):  # damaged
        return {}
