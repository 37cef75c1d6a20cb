"""Whether a stored text is of the form that `encode` writes. No code of registered codecs runs."""

from __future__ import annotations

from zrb_store.codec.strict_json import loads_finite

NOT_ASCII = "is not ASCII"
NOT_JSON = "is not JSON"


def problem_of(data: str) -> str | None:
    """What is wrong with a text that should be an encoded value, or None.

    A part of a known type whose content is damaged is not found: only its own reader knows.
    """
    if not data.isascii():
        return NOT_ASCII
    try:
        tree = loads_finite(data)
    except (ValueError, RecursionError):
        return NOT_JSON
    if '"$"' not in data:
        return None
    from zrb_store.codec.walk import READERS  # late, as in `decode`

    left = [tree]
    while left:
        part = left.pop()
        if type(part) is list:
            left += part
        elif type(part) is dict:
            left += part.values()
            if "$" in part:
                tag = part["$"]
                if type(tag) is not str or tag not in READERS:
                    return f"has the unknown type {str(tag)[:40]!r}: a newer zrb-store may know it"
                if not part.keys() <= READERS[tag][1]:
                    return f"has a part of type {tag!r} that is not of its form"
    return None
