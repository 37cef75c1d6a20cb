"""Commit what a function changes in the user's database exactly once, together with the row of its execution."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, Protocol

from zrb_store import codec
from zrb_store.codec import Encoded
from zrb_store.db.clock import clock
from zrb_store.db.core import sa
from zrb_store.db.engine import Database
from zrb_store.db.transaction import failpoint
from zrb_store.errors import StepUncertain, StoreUnavailable
from zrb_store.own_tables import done
from zrb_store.own_tables.database import UserDatabase
from zrb_store.own_tables.guard import kept_open

MOST_TRIES = 5
"""How often the function runs at most, while the database rolls it back because of other transactions."""

_PAUSE = 0.05  # seconds


class Committed(NamedTuple):
    """The result of an execution that is committed."""

    data: str  # encoded
    value: Any = None
    ran: bool = False  # whether the function has just run: then `value` is what it returned


class Proof(Protocol):
    """What tells whether an execution has happened, in the same transaction as what it has changed."""

    def claim(self, connection: sa.Connection) -> done.Found | Literal["ours", "held"]:
        """Return what is committed; else make it this transaction's, unless it is `held` by another one."""

    def around(self, connection: sa.Connection) -> contextlib.AbstractContextManager[None]:
        """Return what surrounds the function."""

    def write(self, connection: sa.Connection, item: Encoded) -> bool:
        """Write the result, just before the commit; return False if the function has committed by itself."""


class Once:
    """One execution: it looks whether it has happened, or else lets it happen."""

    def __init__(self, database: UserDatabase, key: done.Key, proof: Proof, what: str, store: Database) -> None:
        """Describe it. `what` names it in messages. It waits for others as long as operations of the store do."""
        self._database = database
        self._key = key
        self._proof = proof
        self._what = what
        self._store = store
        self._deadline = clock.monotonic() + store.timeout
        self._is_looking = True  # whether nothing has run yet in this transaction
        self._is_sent = False  # whether its COMMIT was sent
        self.is_unknown = False  # whether nobody knows if it was committed

    def commit(
        self,
        function: Callable[[sa.Connection], Any],
        encode: Callable[[Any], Encoded],
        tell: Callable[[str], None],
    ) -> Committed:
        """Run the function in a transaction and commit it, unless that has happened: return the result.

        `tell` gets a line if the function runs again.
        """
        tries = 0
        while True:
            self._is_looking, self._is_sent = True, False
            try:
                with self._database.transaction() as connection:
                    found = self._proof.claim(connection)
                    if isinstance(found, done.Found):
                        self.is_unknown = False
                        return Committed(self._whole(found))
                    if found == "ours":
                        self.is_unknown, self._is_looking = False, False
                        tries += 1
                        return self._run(connection, function, encode)
                self._wait(None)
            except sa.exc.DBAPIError as error:
                self._after(error, tries, tell)
            except Exception as error:
                if not self._database.is_conflict(error):  # of the driver, which the function may use by itself
                    raise
                self._after(error, tries, tell)

    def _run(
        self,
        connection: sa.Connection,
        function: Callable[[sa.Connection], Any],
        encode: Callable[[Any], Encoded],
    ) -> Committed:
        with self._proof.around(connection), kept_open(connection, self._what):
            value = function(connection)
            item = encode(value)
        failpoint("own_tables:before")
        if not self._proof.write(connection, item):
            raise self._ended_by_itself()
        failpoint("own_tables:inside")
        self._is_sent = True
        connection.commit()
        failpoint("own_tables:after")
        return Committed(item.data, value, ran=True)

    def _after(self, error: Exception, tries: int, tell: Callable[[str], None]) -> None:
        """Decide after an error: return to try again, or raise one."""
        database = self._database
        if self._is_looking and done_is_missing(error):
            database.make_table()
        elif self._is_looking and (database.is_conflict(error) or database.is_gone(error)):
            self._wait(error)
        elif self._is_sent and database.is_gone(error):
            self.is_unknown = True  # the row tells, once the database answers
            self._wait(error)
        elif self._is_looking:
            with database.engine.connect() as connection:
                done.is_missing(connection)  # raises an error if it is another table
            raise StoreUnavailable(f"{self._what} cannot use {database.name}: {database.reason(error)}") from error
        elif database.is_conflict(error) and tries < MOST_TRIES:
            tell(
                f"{self._what} was rolled back by {database.name} because of another transaction "
                f"({database.reason(error)}): its function runs again ({tries + 1} of {MOST_TRIES})"
            )
            database.pause(_PAUSE)
        else:
            raise error

    def _wait(self, error: Exception | None) -> None:
        """Pause before the next try. When the usual time is over, say what to do instead."""
        if clock.monotonic() < self._deadline and not self._store.is_overdue:
            self._database.pause(_PAUSE)
            return
        name = self._database.name
        if error is not None and self._database.is_gone(error):
            unknown = "; whether it was committed is not known: the next attempt finds out" * self.is_unknown
            raise StoreUnavailable(f"{self._what} cannot reach {name}: {self._database.reason(error)}{unknown}")
        holder = self._database.holder(self._key)
        if self._database.is_sqlite:
            raise StoreUnavailable(f"{self._what} waits for {name}, which another process has locked: {holder}")
        raise StoreUnavailable(f"{self._what} waits for an earlier try, which is still open in {name}: {holder}")

    def _whole(self, found: done.Found) -> str:
        if found.result is None:
            raise self._ended_by_itself()
        return found.result

    def _ended_by_itself(self) -> StepUncertain:
        key = self._key
        return StepUncertain(
            f"the function of {self._what} has committed by itself, and how much of its work is done is unknown: find "
            f"out, then delete the row of {done.NAME} in {self._database.name} with identity {key.identity} and item "
            f"{key.item}, or mark it as completed by `zrb-store mark`"
        )


def done_is_missing(error: BaseException) -> bool:
    """Whether a database refused a statement because it has no table `zrb_store_done`."""
    cause = getattr(error, "orig", None) or error
    state = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
    return state == "42P01" or f"no such table: {done.NAME}" in str(cause)


def decoded(committed: Committed) -> Any:
    """Return the result as the caller gets it."""
    return committed.value if committed.ran else codec.decode(committed.data)
