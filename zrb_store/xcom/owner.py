"""Whom a change of a queue belongs to."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Protocol

from zrb_store.db.engine import Database
from zrb_store.db.transaction import Executor


class Owner(Protocol):
    """The attempt that owns what is done to a queue."""

    id: int
    database: Database

    def refuse_if_closed(self, executor: Executor | None = None) -> None:
        """Raise `AttemptClosed` or `LeaseLost` unless the attempt may still write, as an open transaction sees it."""


current_attempt: ContextVar[Owner | None] = ContextVar("zrb_store_current_attempt", default=None)
