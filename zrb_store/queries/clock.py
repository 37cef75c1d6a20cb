"""The database's clock."""

from __future__ import annotations

from zrb_store.db.core import sa
from zrb_store.db.dialect import now
from zrb_store.db.transaction import Executor

_NOW = sa.select(now())


def now_micros(executor: Executor) -> int:
    """Read the database's clock, in microseconds since 1970 UTC.

    Call this after all locks are taken. Otherwise a value could seem to have been taken before it was pushed, or by two
    attempts at once.
    """
    micros: int = executor.execute(_NOW)[0][0]
    return micros
