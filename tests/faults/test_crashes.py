"""Killed at every commit point and at random moments: nothing acknowledged is lost, and nothing is half done.

`make crash` kills a thousand times instead of once at each point and five times more, and a task with steps a thousand
times instead of five.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from tests.chosen import ALL
from tests.faults.crash_steps import kill_steps_on_one_database
from tests.faults.crash_waits import race_on_one_database
from tests.support.consumers import deliver
from tests.support.holders import hold_a_value
from tests.support.processes import DEADLINE, Child
from tests.support.rows import all_rows, faults, until_it_lives
from tests.support.runners import hold_a_run
from tests.support.sessions import etl, inbox
from tests.support.workers import MANUAL_CHANGES, change_by_hand, consume_once
from zrb_store import Store, wings
from zrb_store.operations.values import set_paused, set_retry_after
from zrb_store.testing import POINTS

pytestmark = pytest.mark.slow

PLACES = ("before", "inside", "after")
CHANGES_OF_CONSUMERS = ("consume", "command")


@pytest.mark.promise(number=2)
@pytest.mark.needs(*wings.NAMES)
@pytest.mark.promise(number=8)
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_workflow_that_is_killed_anywhere_loses_nothing(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    from tests.faults.crash import kill_on_one_database

    where = str(tmp_path) if kind == "sqlite" else request.getfixturevalue("postgres_url")
    with Child(kill_on_one_database, kind, where, 0, 1) as child:
        figures, points = child.receive()
        print(f"{kind}: {figures}")
        assert "half done or lost: 0" in figures
        assert child.join() == 0
    # Every point belongs to the workflow or to the tests below.
    others = (*MANUAL_CHANGES, *CHANGES_OF_CONSUMERS, "ack", "own_tables", "wait")
    assert points | {f"{change}:{place}" for change in others for place in PLACES} == set(POINTS)


@pytest.mark.promise(number=18)
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_no_answer_is_lost_while_a_session_parks(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    where = str(tmp_path) if kind == "sqlite" else request.getfixturevalue("postgres_url")
    with Child(race_on_one_database, kind, where, 12 if ALL else 8, 1, 1) as child:
        assert "none was lost or used twice" in child.receive()
        assert child.join() == 0


@pytest.mark.promise(number=11)
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_zrb_task_that_is_killed_anywhere_does_nothing_twice(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    url = request.getfixturevalue("postgres_url") if kind == "postgresql" else None
    with Child(kill_steps_on_one_database, tmp_path / "steps", url, 5, 1) as child:
        figures = child.receive()
        print(f"{kind}: {figures}")
        assert "completed steps that ran again: 0" in figures
        assert child.join() == 0


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.mark.promise(number=8)
@pytest.mark.parametrize("change", MANUAL_CHANGES)
def test_what_people_do_by_hand_is_done_whole_or_not_at_all(
    store: Store, location: str, change: str, stack: ExitStack
) -> None:
    inbox(store, "a.csv", "b.csv", "c.csv")
    etl(store, "etl", broken=True)
    if change == "reclaim":
        with Child(hold_a_value, location, "worker") as child:
            child.receive()
            child.kill()
    if change == "stop":
        worker = stack.enter_context(Child(hold_a_run, location, "worker"))
        worker.receive()
    if change in ("drop", "replace", "requeue"):
        poison = store.session("inbox").xcom["poison"]
        poison.max_deliveries = 1
        poison.extend(["deadly", "too"])
        deliver(store, poison.pop, times=2)
    before = all_rows(store)
    for place in PLACES:  # who is killed before the commit keeps nobody from the change
        with Child(change_by_hand, location, change, f"crash_at={change}:{place}") as child:
            assert child.join() == -signal.SIGKILL
        assert (place, all_rows(store) == before) == (place, place != "after")
        assert faults(store) == []


@pytest.mark.promise(number=8)
def test_what_people_do_by_hand_may_die_at_any_statement(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    inbox(store, "a.csv", "b.csv", "c.csv")
    etl(store, "etl", broken=True)
    poison = store.session("inbox").xcom["poison"]
    poison.max_deliveries = 1
    poison.extend(["deadly", "too"])
    deliver(store, poison.pop, times=2)
    for change in ("replace", "drop", "requeue", "queue"):
        until_it_lives(store, monkeypatch, partial(MANUAL_CHANGES[change], store))
    until_it_lives(store, monkeypatch, lambda: set_paused(store.database, "inbox", "files", True))
    until_it_lives(store, monkeypatch, lambda: set_retry_after(store.database, "inbox", "files", [10]))
    assert faults(store) == []


@pytest.mark.parametrize("change", CHANGES_OF_CONSUMERS)
def test_a_consumer_that_is_killed_before_its_command_begins_loses_nothing(
    store: Store, location: str, tmp_path: Path, change: str
) -> None:
    inbox(store, "a.csv")
    work = tmp_path / "work"
    for place in PLACES:
        with Child(consume_once, location, ["touch", str(work)], f"crash_at={change}:{place}") as child:
            assert child.join() == -signal.SIGKILL
    assert store.session("inbox").xcom["files"].pop(wait=DEADLINE) == "a.csv"
    assert not work.exists()
    assert faults(store) == []
