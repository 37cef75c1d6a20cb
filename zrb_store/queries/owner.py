"""The interface of the attempt that owns a change to a queue."""

from __future__ import annotations

from typing import Protocol

from zrb_store.db.engine import Database
from zrb_store.db.transaction import Executor


class Owner(Protocol):
    """An attempt that owns changes to queues: they are given back if it does not complete."""

    id: int
    database: Database

    @property
    def full_name(self) -> str:
        """`SESSION/TASK#N`."""

    def owner_of_change(self) -> Owner:
        """Return the owner of a change that is made now: the attempt itself, or a step of it."""

    def refuse_if_closed(self, executor: Executor | None = None) -> None:
        """Raise an error if the attempt may no longer write.

        Args:
            executor: The open transaction, if there is one.

        Raises:
            AttemptClosed: The attempt has ended.
            LeaseLost: Another process has taken over its session.
        """
