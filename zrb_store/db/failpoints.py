"""Failpoints: named points around every commit, at which `zrb_store.testing` can stop the process.

By themselves they do nothing.
"""

from __future__ import annotations

from collections.abc import Callable

Callback = Callable[[str], None]

_callback: Callback | None = None


def failpoint(name: str) -> None:
    """Mark a point, such as `complete:before`, `complete:inside` or `complete:after`."""
    if _callback is not None:
        _callback(name)


def set_callback(callback: Callback | None) -> Callback | None:
    """Let every point call `callback` with its name; None turns that off.

    Returns:
        The previous callback.
    """
    global _callback
    previous, _callback = _callback, callback
    return previous
