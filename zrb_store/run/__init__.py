"""A run: one process working on a session under a lease."""

from zrb_store.run.lifecycle import RunSpec
from zrb_store.run.run import Run

__all__ = ["Run", "RunSpec"]
