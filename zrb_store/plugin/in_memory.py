"""A run of a user's task that is not stored. Its `ctx.xcom` behaves as if it were."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zrb_store.plugin import compat

if TYPE_CHECKING:
    from zrb.session.any_session import AnySession


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


def runs_in_memory(zrb_session: AnySession | None) -> bool:
    """Whether `run_in_memory` was called for a session."""
    shared_ctx = getattr(zrb_session, "shared_ctx", None)
    return isinstance(getattr(shared_ctx, "_xcom", None), XcomsInMemory)


def run_in_memory(zrb_session: Any) -> None:
    """Run a session in memory, with missing queues read as empty."""
    if not runs_in_memory(zrb_session):
        zrb_session.shared_ctx._xcom = XcomsInMemory(zrb_session.shared_ctx._xcom)
