"""Keep a function from ending the transaction that it runs in."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import NoReturn

from zrb_store.db.core import sa
from zrb_store.errors import InvalidArgument


@contextlib.contextmanager
def kept_open(connection: sa.Connection, what: str) -> Iterator[None]:
    """Refuse a commit or a rollback during a block, before it happens. `what` names the transaction in messages.

    A COMMIT that the function sends as text is not seen, except that SQLite tells afterwards that it has happened.
    """
    refusal: InvalidArgument | None = None

    def refuse(_: sa.Connection) -> NoReturn:
        nonlocal refusal
        refusal = InvalidArgument(
            f"{what} ends with its function, which must not commit, roll back or close its connection: raise an "
            "exception to undo it, and use `connection.begin_nested()` for a part that may fail"
        )
        raise refusal

    for name in ("commit", "rollback"):
        sa.event.listen(connection, name, refuse)
    try:
        yield
    finally:
        for name in ("commit", "rollback"):
            sa.event.remove(connection, name, refuse)
    if refusal is not None:  # the function has caught it
        raise refusal
    if connection.closed or not connection.in_transaction() or has_ended(connection):
        raise InvalidArgument(f"the function of {what} has ended its transaction by itself")


def has_ended(connection: sa.Connection) -> bool:
    """Whether SQLite has no transaction open."""
    return connection.dialect.name == "sqlite" and not getattr(
        connection.connection.driver_connection, "in_transaction", True
    )
