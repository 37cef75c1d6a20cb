"""The store and the user's database in each of the arrangements that people have, and the real zrb."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.own_tables.shops import ARRANGEMENTS, Shop
from tests.zrb.conftest import fork_servers, release, zrb

__all__ = ["fork_servers", "release", "zrb"]


@pytest.fixture(params=ARRANGEMENTS)
def arrangement(request: pytest.FixtureRequest) -> str:
    """Where the store is, and then the user's database if that is another one."""
    found: str = request.param
    return found


@pytest.fixture
def location(arrangement: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The path or URL of an empty store, as for all other tests."""
    if arrangement.startswith("sqlite"):
        shutil.copy(request.getfixturevalue("sqlite_template"), tmp_path / "store.db")
        yield str(tmp_path / "store.db")
        return
    schemas = request.getfixturevalue("postgres_schemas")
    schema = schemas.take()
    yield f"{request.getfixturevalue('postgres_url')}&options=-csearch_path%3D{schema}"
    schemas.give_back(schema)


@pytest.fixture
def shop(arrangement: str, request: pytest.FixtureRequest, location: str, tmp_path: Path) -> Iterator[Shop]:
    """A user's database: another one of the store's kind, a server beside a file, or the store's own."""
    where = location
    if arrangement.endswith("+sqlite"):
        where = str(tmp_path / "shop.db")
    elif arrangement.endswith("+postgresql"):
        where = request.getfixturevalue("new_postgres")
    made = Shop(where, is_store=where == location)
    yield made
    with made.engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE orders")
    made.engine.dispose()
