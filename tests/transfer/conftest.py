"""Fixtures for the tests of exports, imports and copies."""

from __future__ import annotations

import pytest

from tests.support.history import fill_with_history
from tests.transfer.exports import exported
from zrb_store import open_store


@pytest.fixture(scope="module")
def sample_export(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An export that contains every kind of record."""
    with open_store(tmp_path_factory.mktemp("content") / "store.db") as store:
        fill_with_history(store)
        return exported(store)
