"""SQLite's query plans."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

from zrb_store import open_store
from zrb_store.db.transaction import compiled


def plan_of(statement: Any) -> str:
    """Return SQLite's description of how it runs a statement."""
    with tempfile.TemporaryDirectory() as folder, open_store(Path(folder) / "store.db") as store:
        sql = compiled(store.database.engine.dialect, statement).sql
        with store.database.snapshot() as transaction:
            rows = transaction.driver.execute(f"EXPLAIN QUERY PLAN {sql}", [1] * len(re.findall(r"\?", sql))).fetchall()
    return "; ".join(row[3] for row in rows)
