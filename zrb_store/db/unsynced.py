"""Writing what need not be on the disk before it is acknowledged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zrb_store.db.core import Params
from zrb_store.db.engine import Database
from zrb_store.db.transaction import Lost, Row, Transaction

if TYPE_CHECKING:
    from zrb_store.db.core import Runnable


class Unsynced:
    """An executor for statements on which nothing depends before something else is committed and synced, and they too.

    If the power fails before, it is as if such a statement had never run.

    Attributes:
        dialect_name: `sqlite` or `postgresql`.
    """

    def __init__(self, database: Database) -> None:
        """Write to this database."""
        self._database = database
        self.dialect_name = database.dialect_name

    def execute(self, statement: Runnable, params: Params = {}, lost: Lost | None = None, /) -> list[Row]:  # noqa: B006
        """Run one statement that writes in its own transaction, as `Database.execute` does."""
        database = self._database
        if database.read_only or database.dialect.unsynced is None:
            return database.execute(statement, params, lost)
        return database.operate(self._write, *database.dialect.unsynced, statement, params)

    def _write(
        self,
        transaction: Transaction,
        before: str,
        after: str,
        statement: Runnable,
        params: Params,
    ) -> list[Row]:
        transaction.is_set = True  # if a Ctrl-C prevents what comes after
        transaction.driver.execute(before)
        try:
            return self._database.write(transaction, statement, params)
        finally:
            transaction.driver.execute(after)
            transaction.is_set = False
