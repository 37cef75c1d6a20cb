"""What proves that an execution has happened: a row in the user's database, or the store's own row there."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Literal

from zrb_store.attempt import OpenAttempt
from zrb_store.codec import Encoded
from zrb_store.db.core import sa
from zrb_store.own_tables import done, store
from zrb_store.queries import attempts


class InRow:
    """A row of `zrb_store_done`."""

    def __init__(self, attempt: OpenAttempt, key: done.Key, session: str) -> None:
        self._attempt = attempt
        self._key = key
        self._session = session

    def claim(self, connection: sa.Connection) -> done.CommittedRow | Literal["ours", "held"]:
        return done.claim(connection, self._key, self._session)

    def around(self, connection: sa.Connection) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def write(self, connection: sa.Connection, item: Encoded) -> bool:
        if not done.write(connection, self._key, item.data):
            return False
        if not attempts.may_write(self._attempt.database, self._attempt.id):
            self._attempt.refuse_if_closed()
        return True


class InStore:
    """An attempt that completes in the user's own transaction, in the database of the store."""

    def __init__(self, attempt: OpenAttempt, complete: Callable[[Encoded], object]) -> None:
        self._attempt = attempt
        self._complete = complete
        self._written: str | None = None

    def claim(self, connection: sa.Connection) -> done.CommittedRow | Literal["ours", "held"]:
        attempt, written = self._attempt, self._written
        if written is not None and attempts.status_of(attempt.database, attempt.id) == "completed":
            return done.CommittedRow(written)
        attempt.reopen()
        return "ours"

    def around(self, connection: sa.Connection) -> contextlib.AbstractContextManager[None]:
        if connection.dialect.is_async:  # the store is used without `await`
            return contextlib.nullcontext()
        return store.in_transaction_of(connection, self._attempt.database)

    def write(self, connection: sa.Connection, item: Encoded) -> bool:
        with store.in_transaction_of(connection, self._attempt.database):
            self._complete(item)
        self._written = item.data
        return True
