"""Keep a function from ending the transaction that it runs in."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import NoReturn
from weakref import WeakKeyDictionary, WeakSet

from zrb_store.db.core import sa
from zrb_store.errors import InvalidArgument


class TransactionGuard:
    """Refuses to end a transaction."""

    def __init__(self, what: str) -> None:
        self._what = what  # names the transaction in messages
        self.refusal: InvalidArgument | None = None  # the last one

    def refuse(self) -> NoReturn:
        self.refusal = InvalidArgument(
            f"{self._what} ends with its function, which must not commit, roll back or close its connection: raise an "
            "exception to undo it, and use `connection.begin_nested()` for a part that may fail"
        )
        raise self.refusal


_guards: WeakKeyDictionary[sa.Connection, TransactionGuard] = WeakKeyDictionary()
_hooked: WeakSet[sa.Engine] = WeakSet()


def hook(engine: sa.Engine) -> None:
    """Let the connections that an engine makes from now on be guarded: to listen to each alone takes longer."""
    if engine not in _hooked:
        for name in ("commit", "rollback"):
            sa.event.listen(engine, name, _before_end)
        _hooked.add(engine)


def _before_end(connection: sa.Connection) -> None:
    guard = _guards.get(connection)
    if guard is not None:
        guard.refuse()


@contextlib.contextmanager
def kept_open(connection: sa.Connection, what: str) -> Iterator[None]:
    """Refuse a commit or a rollback during a block, before it happens. `what` names the transaction in messages.

    A COMMIT that the function sends as text is not seen, except that SQLite tells afterwards that it has happened.
    """
    guard = _guards[connection] = TransactionGuard(what)
    try:
        yield
    finally:
        del _guards[connection]
    if guard.refusal is not None:  # the function has caught it
        raise guard.refusal
    if connection.closed or not connection.in_transaction() or has_ended(connection):
        raise InvalidArgument(f"the function of {what} has ended its transaction by itself")


def has_ended(connection: sa.Connection) -> bool:
    """Whether SQLite has no transaction open."""
    return connection.dialect.name == "sqlite" and not getattr(
        connection.connection.driver_connection, "in_transaction", True
    )
