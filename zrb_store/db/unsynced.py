"""Writing what need not be on the disk before it is acknowledged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zrb_store.db.engine import Database
from zrb_store.db.transaction import Params, Row

if TYPE_CHECKING:
    from sqlalchemy.sql import Executable


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

    def execute(self, statement: Executable, params: Params = {}, /) -> list[Row]:  # noqa: B006 - never changed
        """Run one statement that writes in its own transaction, as `Database.execute` does."""
        database = self._database
        if database.read_only or database.dialect.unsynced is None:
            return database.execute(statement, params)
        return database.operate(database.write_between, *database.dialect.unsynced, statement, params)
