"""Check whether a stored text has the form that `encode` writes, without running registered codecs."""

from __future__ import annotations

from zrb_store.codec.json_text import loads_finite

NOT_JSON = "is not JSON"


def problem_of(data: str) -> str | None:
    """Describe what is wrong with a text that should be an encoded value, or return None if nothing is.

    Damage inside a tagged object of a known type is not found: only the reader of that type can find it.
    """
    try:
        tree = loads_finite(data)
    except (ValueError, RecursionError):
        return NOT_JSON
    if '"$"' not in data:
        return None
    from zrb_store.codec.walk import READERS  # late: most values need no tags, and the types take time to import

    unchecked = [tree]
    while unchecked:
        part = unchecked.pop()
        if type(part) is list:
            unchecked += part
        elif type(part) is dict:
            unchecked += part.values()
            if "$" in part:
                tag = part["$"]
                if type(tag) is not str or tag not in READERS:
                    return f"has the unknown type {str(tag)[:40]!r}: a newer zrb-store may know it"
                if not part.keys() <= READERS[tag][1]:
                    return f"has a part of type {tag!r} that is not of its form"
    return None
