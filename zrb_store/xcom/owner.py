"""Whom a change of a queue belongs to."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Protocol

from zrb_store.db.engine import Database


class Owner(Protocol):
    """The attempt that owns what is done to a queue."""

    id: int
    database: Database

    def refuse_if_closed(self) -> None:
        """Raise `AttemptClosed` or `LeaseLost` unless the attempt may still write."""


current_attempt: ContextVar[Owner | None] = ContextVar("zrb_store_current_attempt", default=None)
