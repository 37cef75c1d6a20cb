"""A run of a user's task that is not stored: its workflow finds what it finds when it is stored."""

from __future__ import annotations

from typing import Any

from zrb_store.plugin import compat


class XcomsInMemory(compat.DotDict):
    """zrb's own dictionary of its own queues, in which reading a missing name gives an empty queue."""

    def __missing__(self, name: Any) -> compat.Xcom:
        queue = self[name] = compat.Xcom([])
        return queue

    def __getattr__(self, name: str) -> Any:
        # copy, pickle and template engines probe for names such as __deepcopy__.
        if name.startswith("_") and name not in self:
            raise AttributeError(f"'DotDict' object has no attribute '{name}'")
        return self[name]


def is_kept(zrb_session: Any) -> bool:
    """Whether a session runs in memory although its task is a user's."""
    shared_ctx = getattr(zrb_session, "shared_ctx", None)
    return isinstance(getattr(shared_ctx, "_xcom", None), XcomsInMemory)


def keep(zrb_session: Any) -> None:
    """Let a session run in memory."""
    if not is_kept(zrb_session):
        zrb_session.shared_ctx._xcom = XcomsInMemory(zrb_session.shared_ctx._xcom)
