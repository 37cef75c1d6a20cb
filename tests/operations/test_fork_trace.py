"""`trace` follows the copies that `fork` made, in both directions."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from tests.support.commands import Commands
from tests.support.scenarios import fork_twice
from tests.support.sessions import events
from zrb_store import Store
from zrb_store.operations.sessions import remove_sessions


@pytest.fixture
def forked(store: Store) -> Store:
    """A store with `etl`, its fork `etl-fork`, and a fork of that one, `again`."""
    fork_twice(store)
    return store


def test_copies_are_followed_both_ways(command: Commands, forked: Store) -> None:
    assert events(command, "etl/in#2") == [
        ("pushed", None, None),
        ("taken", "load#1", None),
        ("copied to", None, "etl-fork/in#2"),
    ]
    assert events(command, "etl-fork/in#2") == [
        ("pushed", None, None),
        ("copied from", None, "etl/in#2"),
        ("taken", "load#1", None),
        ("copied to", None, "again/in#2"),
    ]
    assert events(command, "again/in#2") == [
        ("pushed", None, None),
        ("taken", "load#1", None),
        ("copied from", None, "etl-fork/in#2"),
    ]
    assert [line.split()[-1] for line in command.ok("trace", "etl-fork/in#2").splitlines() if "copied" in line] == [
        "etl/in#2",
        "again/in#2",
    ]


def test_what_was_pushed_after_the_fork_is_no_copy(command: Commands, forked: Store) -> None:
    forked.session("etl").xcom["in"].push("other")
    assert events(command, "etl/in#4") == [("pushed", None, None)]
    assert events(command, "etl-fork/in#4") == [("pushed", None, None), ("copied to", None, "again/in#4")]
    assert events(command, "again/in#4")[-1] == ("copied from", None, "etl-fork/in#4")


def test_results_are_followed_to_their_source(command: Commands, forked: Store) -> None:
    assert events(command, "etl-fork/extract#1")[:2] == [
        ("pushed", "extract#1", None),
        ("copied from", None, "etl/extract#1"),
    ]


def test_a_source_that_was_removed_is_named(command: Commands, forked: Store) -> None:
    remove_sessions(forked.database, "etl-fork")
    assert events(command, "again/in#2")[-1] == ("copied from", None, "etl-fork/in#2")
    assert "etl-fork/in#2, removed since" in command.ok("trace", "again/in#2")
    assert events(command, "etl/in#2")[-1] == ("taken", "load#1", None)
    forked.session("etl-fork").xcom["in"].extend([1, 2, 3])
    assert "etl-fork/in#2, removed since" in command.ok("trace", "again/in#2"), "the new session is not the source"
    assert events(command, "etl-fork/in#2") == [("pushed", None, None)]


def test_a_value_that_was_pruned_from_the_source(command: Commands, forked: Store) -> None:
    forked.database.execute(sa.text("DELETE FROM zrb_value WHERE seq = 1 AND state = 'taken'"))
    forked.session("etl").xcom["in"].pop()
    assert "removed since" not in command.ok("trace", "etl-fork/in#3")
    forked.database.execute(
        sa.text(
            "DELETE FROM zrb_value WHERE seq = 3 AND queue_id IN (SELECT q.id FROM zrb_queue q "
            "JOIN zrb_session s ON s.id = q.session_id WHERE s.name = 'etl')"
        )
    )
    assert "etl/in#3, removed since" in command.ok("trace", "etl-fork/in#3")
