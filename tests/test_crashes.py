"""Killed at every commit point and at random: nothing acknowledged is lost, nothing is half done.

`make crash` kills a thousand times instead of fifty.
"""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.crash import kill_for
from tests.processes import Child
from tests.rows import all_rows, faults
from tests.sessions import etl, inbox
from tests.workers import UPKEEP, keep_up
from zrb_store import Store
from zrb_store.testing import POINTS

PLACES = ("before", "inside", "after")


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_workflow_that_is_killed_anywhere_loses_nothing(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    where = str(tmp_path) if kind == "sqlite" else request.getfixturevalue("postgres_server").url
    with Child(kill_for, kind, where, 50, 1) as child:
        figures, points = child.receive()
        print(f"{kind}: {figures}")
        assert "half done or lost: 0" in figures
        assert child.join() == 0
    # Every point is one of a workflow, or one of the test below.
    assert points | {f"{change}:{place}" for change in UPKEEP for place in PLACES} == set(POINTS)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("change", UPKEEP)
def test_what_people_do_by_hand_is_done_whole_or_not_at_all(
    store: Store, location: str, change: str, place: str
) -> None:
    inbox(store, "a.csv", "b.csv", "c.csv")
    etl(store, "etl", broken=True)
    before = all_rows(store)
    with Child(keep_up, location, change, f"crash_at={change}:{place}") as child:
        assert child.join() == -signal.SIGKILL
    assert (all_rows(store) == before) == (place != "after")
    assert faults(store) == []
    if place != "after":
        with Child(keep_up, location, change, "") as child:
            assert child.join() == 0
        assert all_rows(store) != before
        assert faults(store) == []
