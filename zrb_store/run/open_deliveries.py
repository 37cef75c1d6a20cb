"""The deliveries of one run that have not ended, as this process knows them."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import TypeVar

from zrb_store.attempt import Attempt
from zrb_store.db.engine import Database
from zrb_store.db.transaction import Transaction
from zrb_store.errors import StoreUnavailable
from zrb_store.queries import attempts, deliveries
from zrb_store.queries.give_back import undo_ended

T = TypeVar("T")


class OpenDeliveries:
    """The open deliveries of a run, which all its consumers share.

    If the connection is lost while a delivery begins, nobody knows whether it has begun. If it has, it holds a value
    that nobody works on, so it is given back before the next one begins.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        # Those that somebody can still end. They stay known while their end cannot be recorded.
        self._known: weakref.WeakValueDictionary[int, Attempt] = weakref.WeakValueDictionary()
        self._in_doubt = False

    def begin(self, run_id: int, take: Callable[[], tuple[Attempt, T] | None]) -> tuple[Attempt, T] | None:
        """Begin a delivery.

        Args:
            run_id: The run.
            take: Begins it. Returns its attempt, and something else; None if there is no value.

        Returns:
            What `take` returned.

        Raises:
            StoreUnavailable: The store cannot be used.
        """
        with self._lock:  # so that no delivery is taken for one that nobody knows
            if self._in_doubt:
                self._database.transact(lambda transaction: self._give_back_unknown(transaction, run_id), "fail")
                self._in_doubt = False
            try:
                begun = take()
            except StoreUnavailable:
                self._in_doubt = True
                raise
            if begun is not None:
                self._known[begun[0].id] = begun[0]
            return begun

    def _give_back_unknown(self, transaction: Transaction, run_id: int) -> None:
        for attempt_id in deliveries.running(transaction, run_id):
            if attempt_id not in self._known and attempts.fail(transaction, attempt_id, "interrupted", None):
                undo_ended(transaction, [attempt_id], "interrupted")
