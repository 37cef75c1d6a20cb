"""Commit what a function changes in the user's database exactly once, together with the row of its execution."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple, Protocol

from zrb_store import codec
from zrb_store.codec import Encoded
from zrb_store.db.core import sa
from zrb_store.db.patience import Patience
from zrb_store.db.transaction import failpoint
from zrb_store.errors import StepUncertain, StoreUnavailable
from zrb_store.own_tables import done
from zrb_store.own_tables.database import DatabaseWait, UserDatabase
from zrb_store.own_tables.guard import kept_open

MOST_TRIES = 5
"""How often the function runs at most, while the database rolls it back because of other transactions."""


class Committed(NamedTuple):
    """The result of an execution that is committed."""

    data: str  # encoded
    value: Any


class NotCommittedError(StoreUnavailable):
    """The connection was lost during a COMMIT that was not executed."""


class Begun(NamedTuple):
    """The open transaction of an execution."""

    connection: sa.Connection
    stack: contextlib.ExitStack

    def close(self) -> None:
        """Roll it back, unless it is committed."""
        self.stack.close()


class Proof(Protocol):
    """What tells whether an execution has happened, in the same transaction as what it has changed."""

    def claim(self, connection: sa.Connection) -> done.CommittedRow | Literal["ours", "held"]:
        """Return what is committed; else make it this transaction's, unless it is `held` by another one."""

    def around(self, connection: sa.Connection) -> contextlib.AbstractContextManager[None]:
        """Return what surrounds the function."""

    def write(self, connection: sa.Connection, item: Encoded) -> bool:
        """Write the result, just before the commit; return False if the function has committed by itself."""


class Once:
    """One execution: it looks whether it has happened, or else lets it happen."""

    def __init__(self, database: UserDatabase, key: done.Key, proof: Proof, what: str, patience: Patience) -> None:
        """Describe it. `what` names it in messages. It waits for others as long as operations of the store do."""
        self._database = database
        self._key = key
        self._proof = proof
        self._what = what
        self._patience = patience
        self.is_unknown = False  # whether nobody knows if it was committed

    def begin(self) -> Begun | str:
        """Begin its transaction, or return the result that is committed. Wait while another transaction has it."""
        wait = DatabaseWait(self._database, self._patience)
        while True:
            stack = contextlib.ExitStack()
            try:
                connection = stack.enter_context(self._database.transaction())
                found = self._proof.claim(connection)
            except (sa.exc.DBAPIError, OSError) as error:
                stack.close()
                self._after_looking(error, wait)
                continue
            except BaseException:
                stack.close()
                raise
            if found == "held":
                stack.close()
                self._wait_for_other(wait)
                continue
            self.is_unknown = False
            if found == "ours":
                return Begun(connection, stack)
            stack.close()
            if found.result is None:
                raise self._ended_by_itself_error()
            return found.result

    def end(self, begun: Begun, item: Encoded) -> None:
        """Commit its transaction, with the result. If the answer is lost, find out whether it was committed."""
        failpoint("own_tables:before")
        if not self._proof.write(begun.connection, item):
            raise self._ended_by_itself_error()
        failpoint("own_tables:inside")
        try:
            begun.connection.commit()
        except (sa.exc.DBAPIError, OSError) as error:
            begun.close()
            if not self._database.is_gone(error):
                raise
            self.is_unknown = True  # the proof tells, once the database answers
            again = self.begin()
            if isinstance(again, Begun):
                again.close()
                raise NotCommittedError(
                    f"{self._what} is not committed: the connection to {self._database.name} was lost at its COMMIT "
                    f"({self._database.reason(error)})"
                ) from error
        failpoint("own_tables:after")

    def commit(
        self,
        function: Callable[[sa.Connection], Any],
        encode: Callable[[Any], Encoded],
        tell: Callable[[str], None],
    ) -> Committed:
        """Run the function in a transaction and commit it, unless that has happened: return the result.

        `tell` gets a line if the function runs again.
        """
        for tries in range(1, MOST_TRIES + 1):
            begun = self.begin()
            if isinstance(begun, str):
                return Committed(begun, codec.decode(begun))
            try:
                with begun.stack:
                    with self.kept_open(begun):
                        value = function(begun.connection)
                        item = encode(value)
                    self.end(begun, item)
            except Exception as error:
                if tries == MOST_TRIES or not self._may_run_again(error):
                    raise
                why = str(error)
                if not isinstance(error, NotCommittedError):
                    why = f"{self._what} was rolled back by {self._database.name} ({self._database.reason(error)})"
                tell(f"{why}: its function runs again ({tries + 1} of {MOST_TRIES})")
                DatabaseWait(self._database, self._patience).pause()
            else:
                return Committed(item.data, value)
        raise AssertionError

    @contextlib.contextmanager
    def kept_open(self, begun: Begun) -> Iterator[None]:
        """Surround what the user does in the transaction."""
        with self._proof.around(begun.connection), kept_open(begun.connection, self._what):
            yield

    def _may_run_again(self, error: Exception) -> bool:
        """Whether nothing was committed, only because of another transaction or a lost connection."""
        return isinstance(error, NotCommittedError) or self._database.is_conflict(error)

    def _after_looking(self, error: Exception, wait: DatabaseWait) -> None:
        """Decide after an error before anything has run: return to try again, or raise one."""
        database = self._database
        if database.is_missing(error):
            database.make_table(self._patience)
        elif database.is_gone(error):
            unknown = "; whether it was committed is not known: the next attempt finds out"
            wait.for_answer(error, self._what, unknown * self.is_unknown)
        elif database.is_conflict(error):
            self._wait_for_other(wait)
        else:
            with database.engine.connect() as connection:
                done.is_missing(connection)  # raises an error if it is another table
            raise StoreUnavailable(f"{self._what} cannot use {database.name}: {database.reason(error)}") from error

    def _wait_for_other(self, wait: DatabaseWait) -> None:
        """Pause while another transaction is open. When the time is over, say who has to be ended."""
        if wait.pause():
            return
        name, holder = self._database.name, self._database.holder(self._key)
        if self._database.is_sqlite:
            raise StoreUnavailable(f"{self._what} waits for {name}, which another process has locked: {holder}")
        raise StoreUnavailable(f"{self._what} waits for an earlier try, which is still open in {name}: {holder}")

    def _ended_by_itself_error(self) -> StepUncertain:
        key = self._key
        return StepUncertain(
            f"the function of {self._what} has committed by itself, and how much of its work is done is unknown: find "
            f"out, then delete the row of {done.NAME} in {self._database.name} with identity {key.identity} and item "
            f"{key.item}, or mark it as completed by `zrb-store mark`"
        )
