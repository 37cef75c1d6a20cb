"""Named points around every commit, where `zrb_store.testing` can stop the process. They do nothing by themselves."""

from __future__ import annotations

from collections.abc import Callable

VARIABLE = "ZRB_STORE_TESTING"
"""The environment variable by which `zrb_store.testing` reaches other processes; read when a store is opened."""

At = Callable[[str], None]

_at: At | None = None


def reach(point: str) -> None:
    """Say that the process is at `point`, e.g. `complete:before`, `complete:inside` or `complete:after`."""
    if _at is not None:
        _at(point)


def watch(at: At | None) -> At | None:
    """Let `at` be called with each point's name; None ends that. Returns what was called until now."""
    global _at
    previous, _at = _at, at
    return previous
