"""The story of a session: what happened to it, in one sentence."""

from __future__ import annotations

from typing import Any


def story(described: dict[str, Any]) -> str:
    """Return a sentence such as `load failed in run 1 after 3 of 4 tasks; resumed 9 h later; completed`.

    Args:
        described: The session, in the shape of a report.
    """
    return str(described["status"])
