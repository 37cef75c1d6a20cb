"""Named points around every commit, where `zrb_store.testing` can stop the process. They do nothing by themselves."""

from __future__ import annotations

from collections.abc import Callable

_at: Callable[[str], None] | None = None


def reach(point: str) -> None:
    """Say that the process is at `point`, e.g. `complete:before`, `complete:inside` or `complete:after`."""
    if _at is not None:
        _at(point)


def watch(at: Callable[[str], None] | None) -> None:
    """Let `at` be called with each point's name; None ends that."""
    global _at
    _at = at
