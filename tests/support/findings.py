"""What `doctor` finds in a store."""

from __future__ import annotations

from contextlib import closing, nullcontext, suppress

import pytest
import sqlalchemy as sa

from tests.support.rows import allow_damage
from zrb_store import Store
from zrb_store.db.engine import Database
from zrb_store.db.location import store_url
from zrb_store.db.transaction import Transaction
from zrb_store.inspect.doctor import Finding, examine, examine_rows


def doctor_findings(location: str) -> list[Finding]:
    """Return what doctor finds wrong with the store, but neither this machine's SQLite nor dead values."""
    with closing(Database(store_url(location), read_only=True)) as database:
        return [finding for finding in examine(database) if finding.check not in ("sqlite-release", "dead-values")]


class _UndoneError(Exception):
    """The end of a transaction that is rolled back."""


def findings_after(store: Store, fault: str) -> dict[str, Finding]:
    """Return what is wrong with the rows in a transaction that makes a fault, and undo it."""
    allow_damage(store)
    found: list[Finding] = []

    def find(transaction: Transaction) -> None:
        transaction.execute(sa.text(fault))
        with pytest.MonkeyPatch.context() as patches:
            patches.setattr(store.database, "snapshot", lambda: nullcontext(transaction))
            patches.setattr(store.database, "execute", transaction.execute)
            found.extend(examine_rows(store.database))
        raise _UndoneError

    with suppress(_UndoneError):
        store.database.transact(find)
    return {finding.check: finding for finding in found}
