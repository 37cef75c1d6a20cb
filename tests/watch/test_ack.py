"""`ack`: what somebody knows already is not reported again, but shown."""

from __future__ import annotations

import os
import signal
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from tests.support.commands import Commands
from tests.support.holders import age_lease, hold_a_value
from tests.support.processes import Child
from tests.support.rows import all_rows, faults, until_it_lives
from tests.support.sessions import parse
from tests.support.waits import start
from tests.watch.alerts import end, reported
from zrb_store import Store, open_store
from zrb_store.operations.sessions import remove_sessions
from zrb_store.process import identity
from zrb_store.testing import obey_environment
from zrb_store.watch.ack import acknowledge

pytestmark = pytest.mark.long_on_postgresql


class TestAcknowledged:
    def test_it_is_quiet_about_what_has_ended_and_not_about_what_comes(self, command: Commands, store: Store) -> None:
        end(store, "etl")
        assert command.ok("ack", "etl", "--reason", "the API was down") == ""
        assert reported(command) == []
        end(store, "etl")
        assert reported(command) == [("failed", "etl")]

    def test_an_acknowledged_dead_run_stays_quiet(self, command: Commands, store: Store, location: str) -> None:
        """It stays quiet when its values are reclaimed, and is reported again if it was not dead after all."""
        store.session("inbox").xcom["files"].extend(["a", "b"])
        with Child(hold_a_value, location, "worker") as child:
            child.receive()
            assert command("ack", "worker").code == 1  # it runs
            child.kill()
        assert reported(command) == [("stale", "worker")]
        command.ok("ack", "worker")
        assert reported(command) == []
        assert store.session("inbox").xcom["files"].pop() == "a"
        assert store.session("worker").status == "stale"
        assert reported(command) == []

    def test_a_run_that_only_seemed_dead(self, command: Commands, store: Store) -> None:
        run = store.session("flow").run(task="load").start()
        age_lease(store, "flow")
        command.ok("ack", "flow")
        run.end("failed")
        assert reported(command) == [("failed", "flow")]

    @pytest.mark.long_on_postgresql(False)
    def test_it_is_shown_and_kept(self, command: Commands, store: Store, tmp_path: Path) -> None:
        end(store, "etl")
        command.ok("ack", "etl", "--reason", "the API was down")
        shown = parse("show", command.ok("show", "etl", "--json"))
        assert (shown["acknowledged_by"], shown["acknowledged_reason"]) == (identity().user, "the API was down")
        assert "the API was down" in command.ok("show", "etl")
        assert "failed, acknowledged" in command.ok("list")
        exported = command.ok("export", "etl")
        remove_sessions(store.database, "etl")
        command("import", "-", stdin=exported)
        again = parse("show", command.ok("show", "etl", "--json"))
        for name in ("acknowledged_at", "acknowledged_by", "acknowledged_reason"):
            assert again[name] == shown[name]
        assert reported(command) == []

    @pytest.mark.long_on_postgresql(False)
    def test_ack_takes_all_sessions_or_none(self, command: Commands, store: Store) -> None:
        end(store, "etl")
        store.session("inbox").xcom["q"].push(1)
        before = all_rows(store)
        assert "no session 'etk'" in command("ack", "etl", "etk").err
        assert "no run of session inbox has ended yet" in command("ack", "etl", "inbox").err
        assert all_rows(store) == before


class TestRefused:
    def test_what_has_not_failed(self, command: Commands, store: Store) -> None:
        start(store)
        end(store, "done", "completed")
        nothing = "there is nothing to acknowledge"
        assert f"session shop waits, and not past a deadline: {nothing}" in command("ack", "shop").err
        assert f"session done has completed: {nothing}" in command("ack", "done").err


def acknowledge_and_die(pipe: Connection, location: str, place: str) -> None:
    """Acknowledge how a session ended, in a process that dies there."""
    os.environ["ZRB_STORE_TESTING"] = f"crash_at=ack:{place}"
    obey_environment()
    with open_store(location) as store:
        acknowledge(store.database, "etl", reason="known")


@pytest.mark.slow
@pytest.mark.promise(number=8)
def test_it_is_done_whole_or_not_at_all(store: Store, location: str) -> None:
    end(store, "etl")
    before = all_rows(store)
    for place in ("before", "inside", "after"):
        with Child(acknowledge_and_die, location, place) as child:
            assert child.join() == -signal.SIGKILL
        assert (place, all_rows(store) == before) == (place, place != "after")
        assert faults(store) == []


@pytest.mark.promise(number=8)
def test_it_may_die_at_any_statement(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    end(store, "etl")
    until_it_lives(store, monkeypatch, lambda: acknowledge(store.database, "etl", reason="known"))
    assert faults(store) == []
