"""Programs that write to the user's tables are killed a few times; `make crash` kills them more often."""

from __future__ import annotations

import traceback
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from tests.own_tables.crash import kill_loaders
from tests.support.places import Files, Places, Schemas
from tests.support.processes import Child
from zrb_store import open_store

pytestmark = [pytest.mark.slow, pytest.mark.promise(number=22)]


def create(location: str) -> None:
    """Make an empty store."""
    open_store(location).close()


def kill_a_few(pipe: Connection, folder: Path, url: str | None, alone: bool) -> None:
    """Kill in a process without threads, since only such a process may safely fork."""
    try:
        (folder / "stores").mkdir(parents=True)
        name = f"own_tables_{'alone' if alone else 'beside'}_{folder.stat().st_ino}"
        places: Places = Schemas(url, name, create) if url else Files(folder / "stores", create)
        pipe.send(kill_loaders(places, folder / "shops", 6, 1, alone=alone))
    except BaseException:
        pipe.send(traceback.format_exc())
        raise


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_killed_programs_load_each_order_once(
    kind: str, alone: bool, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    url = request.getfixturevalue("postgres_url") if kind == "postgresql" else None
    with Child(kill_a_few, tmp_path / "kills", url, alone) as child:
        assert "each order is there once" in child.receive()
        assert child.join() == 0
