"""Check whether a stored text has the form that `encode` writes, without running registered codecs."""

from __future__ import annotations

from zrb_store.codec.json_text import loads_finite

NOT_JSON = "is not JSON"


def problem_of(data: str) -> str | None:
    """Describe what is wrong with a text that should be an encoded value, or return None if nothing is.

    What only the code of a registered class can tell is not found, nor whether this machine knows a time zone.
    """
    try:
        tree = loads_finite(data)
    except (ValueError, RecursionError):
        return NOT_JSON
    if '"$"' not in data:
        return None
    from zrb_store.codec.walk import TreeChecker  # late: most values need no tags, and the types take time to import

    checker = TreeChecker()
    checker.walk(tree)
    return checker.problem
