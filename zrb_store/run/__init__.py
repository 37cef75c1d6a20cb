"""A run: one process working on a session under a lease."""

from zrb_store.run.run import Run
from zrb_store.run.spec import RunSpec

__all__ = ["Run", "RunSpec"]
