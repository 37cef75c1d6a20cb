"""What wakes a process that waits for a value, and what it asks then."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.postgres import DEADLINE
from zrb_store import Store
from zrb_store.db.dialect.bell import Bell
from zrb_store.queries import lookout

ON_POSTGRESQL = pytest.mark.parametrize("location", ["postgresql"], indirect=True)


def test_a_bell(tmp_path: Path) -> None:
    path = tmp_path / "file"
    try:
        bell = Bell(path)
    except OSError:
        pytest.skip("this system has no inotify")
    assert not bell.arm(), "there is no file"
    path.write_text("1")
    assert bell.arm()
    assert not bell.rings(0.01)
    with path.open("r+") as file:
        file.write("2")
    assert bell.rings(DEADLINE)
    assert bell.arm()
    assert not bell.rings(0)
    path.unlink()
    assert bell.rings(DEADLINE)
    assert not bell.arm()
    path.write_text("3")
    assert bell.arm()
    path.write_text("4")
    assert bell.rings(DEADLINE)


@ON_POSTGRESQL
def test_it_asks_without_prepared_statements_too(store: Store) -> None:
    has_value, has_other = (lookout.probe(store.database, "inbox", name) for name in ("ä", "other"))
    assert not has_value()
    store.session("inbox").xcom["ä"].push(1)
    assert has_value()
    store.database.operate(lambda connection: setattr(connection.driver, "prepare_threshold", None))
    assert has_value()
    assert not has_other()
