"""Reports as files, for tests that open them."""

from __future__ import annotations

from pathlib import Path

from zrb_store import Store
from zrb_store.inspect.damage import Damage
from zrb_store.page.report import report


def write_report(store: Store, session: str, folder: Path) -> Path:
    """Write the report of a session, and return its path."""
    path = folder / f"{session}.html"
    path.write_bytes(report(store.database, session, "zrb-store", None, Damage()))
    return path
