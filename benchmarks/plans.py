"""SQLite's query plans."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from zrb_store import open_store
from zrb_store.db.core import ready

if TYPE_CHECKING:
    from zrb_store.db.core import Runnable


def plan_of(statement: Runnable) -> str:
    """Return SQLite's description of how it runs a statement."""
    with tempfile.TemporaryDirectory() as folder, open_store(Path(folder) / "store.db") as store:
        sql = ready(statement, "sqlite").sql
        with store.database.snapshot() as transaction:
            rows = transaction.driver.execute(f"EXPLAIN QUERY PLAN {sql}", [1] * len(re.findall(r"\?", sql))).fetchall()
    return "; ".join(row[3] for row in rows)
