"""Until when a run has worked, as far as that is known."""

from __future__ import annotations

from zrb_store.queries import lease
from zrb_store.records import RunRecord


def worked_until(run: RunRecord, now: int | None) -> int:
    """Return the last moment at which a run is known to have worked, in microseconds.

    Args:
        run: The run, with the outcome that readers see: `lost` if its process died.
        now: The present, or the moment at which the run is seen; None if it does not run then.
    """
    if run.ended_at is not None and run.outcome != "lost":
        return run.ended_at
    if now is not None and run.outcome is None:
        return now
    # The last that is known of a run that died is when it renewed its lease.
    return run.lease_expires_at - int(lease.DURATION * 1_000_000)
