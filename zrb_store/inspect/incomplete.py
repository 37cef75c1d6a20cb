"""Sessions that did not complete, and why."""

from __future__ import annotations

from collections.abc import Sequence

from zrb_store.queries.last_errors import LastError
from zrb_store.queries.runs import last_started
from zrb_store.records import RunRecord, SessionRecord


def reason(session: SessionRecord, runs: Sequence[RunRecord], error: LastError | None, died: str | None) -> str | None:
    """Say why a session failed, was interrupted or is stale; None if nothing is known."""
    if session.status == "stale":
        last = last_started(runs)
        died = died or "its process died; its values are back in their queues"
        return died if last is None else f"pid {last.pid} on {last.host}: {died}"
    if error is None:
        return None
    # These say no more than that it was interrupted.
    says_little = error.type in ("CancelledError", "KeyboardInterrupt")
    return f"while {error.task} ran" if error.task and says_little else error.text()
