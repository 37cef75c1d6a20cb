"""Programs that write to the user's tables are disturbed a few times; `make crash` disturbs them more often."""

from __future__ import annotations

import traceback
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from tests.own_tables.crash import fail_over, kill_loaders, make_store
from tests.own_tables.shops import ARRANGEMENTS
from tests.support.places import Files, Places, Schemas
from tests.support.processes import Child

pytestmark = [pytest.mark.slow, pytest.mark.promise(number=22)]


def disturb_a_few(pipe: Connection, folder: Path, arrangement: str, url: str | None) -> None:
    """Disturb in a process without threads, since only such a process may safely fork."""

    def places(kind: str, name: str) -> Places:
        if kind == "postgresql":
            assert url is not None
            return Schemas(url, f"own_tables_{name}_{folder.stat().st_ino}", make_store)
        (folder / name).mkdir()
        return Files(folder / name, make_store)

    try:
        folder.mkdir()
        kind, _, other = arrangement.partition("+")
        pipe.send(kill_loaders(places(kind, "store"), places(other, "shop") if other else None, 5, 1))
    except BaseException:
        pipe.send(traceback.format_exc())
        raise


@pytest.mark.parametrize("arrangement", [each for each in ARRANGEMENTS if each != "postgresql+postgresql"])
def test_disturbed_programs_load_each_order_once(
    arrangement: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    url = request.getfixturevalue("postgres_url") if "postgresql" in arrangement else None
    with Child(disturb_a_few, tmp_path / "places", arrangement, url) as child:
        assert "each order is there once" in child.receive()
        assert child.join() == 0


def test_a_failover_of_the_user_s_database(tmp_path: Path, postgres_url: str) -> None:
    assert "each order is there once" in fail_over(tmp_path, 1, 1)
