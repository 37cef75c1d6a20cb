"""`check` runs a fixed number of statements, however much is stored, and each statement uses an index."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from tests.support.history import check_statements, fill_with_much
from zrb_store import Store
from zrb_store.watch.check import alerts


@pytest.mark.slow
@pytest.mark.on_sqlite
@pytest.mark.parametrize("how", ["", "ANALYZE"])
def test_it_takes_few_statements_each_by_an_index(store: Store, how: str) -> None:
    fill_with_much(store)
    if how:
        store.database.execute(sa.text(how))
    check_statements(store, 11, lambda store: alerts(store.database, {}))
