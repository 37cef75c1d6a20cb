"""ZRB_STORE_NOTIFY tells once of runs and values that died, and of a store that cannot be used."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.support.attempts import failing, start
from tests.support.commands import Commands
from tests.support.holders import age_lease, age_suspicion, hold_a_value
from tests.support.processes import Child
from tests.support.rows import all_rows
from tests.support.runners import hold_a_run
from tests.support.terminals import MAIN
from tests.watch.alerts import Told, events
from zrb_store import InvalidArgument, LeaseLost, Store, StoreUnavailable, open_store
from zrb_store.operations.values import requeue
from zrb_store.run import RunSpec
from zrb_store.watch import notify
from zrb_store.watch.notify import notify_stale


@pytest.fixture(autouse=True)
def _tell_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "_QUIET_FOR", 0.0)


class TestDeadRuns:
    def killed(self, location: str, session: str = "night") -> None:
        """Start a run in a process that has not the setting, and kill it."""
        with Child(hold_a_run, location, session) as child:
            child.receive()
            child.kill()

    def test_the_next_run_tells_of_it_once(self, store: Store, location: str, told: Told) -> None:
        self.killed(location)
        for number in range(2):
            with store.session(f"other-{number}").run():
                pass
        [one] = told.all()
        assert (one["EVENT"], one["SESSION"], one["TASK"]) == ("stale", "night", "main")
        assert one["ERROR"].startswith("pid ")

    def test_check_tells_of_it_once_and_goes_on_reporting_it(
        self, store: Store, location: str, command: Commands, told: Told
    ) -> None:
        self.killed(location)
        for _ in range(2):
            result = command("check")
            assert (result.code, result.err) == (1, "")
            assert "session night" in result.out
        assert events(told.all()) == [("stale", "night")]

    @pytest.mark.promise(number=13)
    def test_of_two_at_once_one_tells(self, store: Store, location: str, told: Told) -> None:
        for number in range(5):
            self.killed(location, f"night-{number}")
        with contextlib.ExitStack() as stack:
            stores = [stack.enter_context(open_store(location)) for _ in range(4)]
            threads = [threading.Thread(target=notify_stale, args=(one.database,)) for one in stores]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert events(told.all()) == [("stale", f"night-{number}") for number in range(5)]

    def test_who_takes_it_over_tells(self, store: Store, location: str, told: Told) -> None:
        self.killed(location)
        with store.session("night").run(task="main"):
            pass
        assert events(told.all()) == [("stale", "night")]

    def test_who_reclaims_it_tells(self, store: Store, location: str, inbox: Any, told: Told) -> None:
        with Child(hold_a_value, location, "worker") as child:
            child.receive()
            child.kill()
        assert inbox.pop() == "a"
        assert events(told.all()) == [("stale", "worker")]
        with store.session("other").run():
            pass
        assert len(told.all()) == 1

    def test_not_of_a_child_session(self, store: Store, location: str, told: Told) -> None:
        self.killed(location)
        store.database.execute(sa.text("UPDATE zrb_session SET parent = 'main' RETURNING 1"))
        with store.session("other").run():
            pass
        with store.session("night").run(task="main"):
            pass
        assert told.all() == []

    def test_not_of_one_that_lives(self, store: Store, location: str, command: Commands, told: Told) -> None:
        with Child(hold_a_run, location, "night") as child:
            child.receive()
            before = all_rows(store)
            assert command("check").code == 0
            assert all_rows(store) == before
            with store.session("other").run():
                pass
            assert told.all() == []
            child.send("end")

    @pytest.mark.promise(number=13)
    def test_an_expired_lease_is_told_only_if_it_was_not_renewed_for_a_while(self, store: Store, told: Told) -> None:
        """An outage of the server must not look like everybody's death."""
        run = store.session("night").run().start()
        age_lease(store, "night")
        notify_stale(store.database)
        assert told.all() == []
        age_suspicion(store, 30)
        notify_stale(store.database)
        [one] = told.all()
        assert "its lease had expired" in one["ERROR"]
        run.lost = True

    def test_a_claim_fails_if_the_lease_was_renewed_meanwhile(self, store: Store, told: Told) -> None:
        from zrb_store.queries import runs
        from zrb_store.watch.queries import claim

        run = store.session("night").run().start()
        seen = runs.last(store.database, run.session_id)
        assert seen is not None
        age_lease(store, "night")
        assert not claim(store.database, seen)
        run.end("completed")

    def test_nobody_is_told_without_the_setting(self, store: Store, location: str, command: Commands) -> None:
        self.killed(location)
        before = all_rows(store)
        assert command("check").code == 1
        assert all_rows(store) == before, "check only reads"

    def test_a_check_that_may_not_write_says_so(
        self, store: Store, location: str, command: Commands, told: Told, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.killed(location)
        refusal = StoreUnavailable("you may not write")

        def refuse(*args: object) -> None:
            raise refusal

        monkeypatch.setattr("zrb_store.watch.notify.notify_stale", refuse)
        result = command("check")
        assert (result.code, "session night" in result.out) == (1, True)
        assert result.err == "zrb-store: stale sessions are not reported: you may not write\n"


class TestDeadValues:
    @pytest.fixture
    def poison(self, store: Store, told: Told) -> Any:
        with open_store(store.database.url.render_as_string(hide_password=False)) as telling:
            queue = telling.session("inbox").xcom["my files"]
            queue.max_deliveries = 1
            queue.extend(["a", "b", "c"])
            yield queue

    def test_the_death_of_a_value_in_a_failed_attempt_is_told(self, poison: Any, told: Told) -> None:
        with open_store(poison._queues.database.url.render_as_string(hide_password=False)) as store:
            run = start(store, "worker")
            failing(run, "convert", store.session("inbox").xcom["my files"].pop)
            [one] = told.all()
            run.end("completed")
        assert (one["EVENT"], one["SESSION"], one["VALUE"]) == ("dead", "inbox", "inbox/my files#1")
        assert one["REMEDY"] == "zrb-store requeue 'inbox/my files#1'"
        assert one["ERROR"].startswith("convert: ")
        assert one["MESSAGE"].startswith("dead: value inbox/my files#1, after 1 delivery: convert: ")

    def test_several_in_one_transaction_are_told_together(self, poison: Any, told: Told) -> None:
        with open_store(poison._queues.database.url.render_as_string(hide_password=False)) as store:
            run = start(store, "worker")
            failing(run, "convert", lambda: [store.session("inbox").xcom["my files"].pop() for _ in range(3)])
            [one] = told.all()
            run.end("completed")
        assert one["VALUE"].splitlines() == [f"inbox/my files#{seq}" for seq in (1, 2, 3)]
        assert "value inbox/my files#1 and 2 more" in one["MESSAGE"]
        assert one["REMEDY"].count("#") == 3

    def test_one_that_was_requeued_meanwhile_is_not_told(
        self, store: Store, poison: Any, told: Told, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        queue_id = store.session("inbox").xcom.queue_id("my files")
        with monkeypatch.context() as patched:
            patched.delenv("ZRB_STORE_NOTIFY")
            failing(start(store, "worker"), "convert", store.session("inbox").xcom["my files"].pop)
        notify.notify_dead_values(store.database, [(queue_id, 1), (queue_id, 2)])
        [one] = told.all()
        assert one["VALUE"] == "inbox/my files#1"
        requeue(store.database, ["inbox/my files#1"])
        notify.notify_dead_values(store.database, [(queue_id, 1), (queue_id, 2)])
        assert told.all() == [one]

    @pytest.mark.promise(number=13)
    def test_who_reclaims_tells_of_the_value_and_of_the_run(
        self, store: Store, location: str, inbox: Any, told: Told
    ) -> None:
        inbox.max_deliveries = 1
        with Child(hold_a_value, location, "worker") as child:
            child.receive()
            child.kill()
        with open_store(location) as telling:
            assert telling.session("inbox").xcom["files"].pop() == "b"
        assert events(told.all()) == [("dead", "inbox"), ("stale", "worker")]

    def test_a_value_that_comes_back_alive_is_not_told(self, poison: Any, told: Told) -> None:
        poison.max_deliveries = 2
        with open_store(poison._queues.database.url.render_as_string(hide_password=False)) as store:
            run = start(store, "worker")
            failing(run, "convert", store.session("inbox").xcom["my files"].pop)
            run.end("completed")
        assert told.all() == []


class TestUnavailable:
    def test_a_store_that_cannot_be_opened(self, told: Told, tmp_path: Path) -> None:
        path = tmp_path / "file" / "store.db"
        path.parent.write_text("not a folder")
        with pytest.raises(StoreUnavailable):
            open_store(path)
        [one] = told.all()
        assert (one["EVENT"], one["REMEDY"], one["SHOWN_URL"]) == (
            "unavailable",
            "zrb-store db status",
            f"sqlite:///{path}",
        )
        assert "cannot be created" in one["ERROR"]

    def test_once_in_ten_minutes(self, told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "file").write_text("not a folder")
        monkeypatch.setattr(notify, "_QUIET_FOR", 600.0)
        monkeypatch.setattr(notify, "_notified_unavailable", [])
        for _ in range(3):
            with pytest.raises(StoreUnavailable):
                open_store(tmp_path / "file" / "store.db")
        assert len(told.all()) == 1

    def test_not_of_a_mistake_in_a_setting_nor_by_a_reader_nor_inside_an_attempt(
        self, told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "file").write_text("not a folder")
        with pytest.raises(InvalidArgument):
            open_store("postgres:x@y")
        with pytest.raises(Exception, match="store"):
            open_store(tmp_path / "missing.db", read_only=True)
        monkeypatch.setenv("ZRB_STORE_ATTEMPT", "night/load#1@1")
        with pytest.raises(StoreUnavailable):
            open_store(tmp_path / "file" / "store.db")
        assert told.all() == []

    def test_check_tells_that_there_is_none(
        self, told: Told, command: Commands, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("ZRB_STORE_URL", str(tmp_path / "missing.db"))
        assert command("check").code == 69
        assert command("list").code == 69
        assert events(told.all()) == [("unavailable", None)]

    @pytest.mark.slow
    def test_check_says_that_the_command_failed_too(self, tmp_path: Path) -> None:
        """The command ends after `check` has written its error, and each has a line that begins with the program."""
        environment = {"ZRB_STORE_URL": str(tmp_path / "missing.db"), "ZRB_STORE_NOTIFY": "sleep 0.2; exit 3"}
        done = subprocess.run([*MAIN, "check"], env={**os.environ, **environment}, capture_output=True, text=True)
        lines = done.stderr.splitlines()
        assert (done.returncode, len(lines)) == (69, 2)
        assert any("ZRB_STORE_NOTIFY" in line and line.endswith("exit code 3") for line in lines)
        assert all(line.startswith("zrb-store: ") for line in lines)

    @pytest.mark.promise(number=13)
    @pytest.mark.parametrize("when", ["start", "end"])
    def test_a_store_that_is_lost_during_a_run(
        self, store: Store, told: Told, monkeypatch: pytest.MonkeyPatch, when: str
    ) -> None:
        transact = store.database.transact

        def lost(work: Callable[..., Any], name: str = "", **others: Any) -> Any:
            if name == when:
                raise StoreUnavailable("the server is gone")
            return transact(work, name, **others)

        monkeypatch.setattr(store.database, "transact", lost)
        run = store.session("night").prepare(RunSpec(task="load", path=["load"], project="/srv/etl"))
        with pytest.raises(StoreUnavailable), run:
            pass
        [one] = told.all()
        assert (one["EVENT"], one["SESSION"], one["TASK"]) == ("unavailable", "night", "load")
        assert one["REMEDY"] == "cd /srv/etl && zrb xcom resume night"

    def test_a_run_that_was_taken_over_tells_nothing(self, store: Store, told: Told) -> None:
        run = store.session("night").run().start()
        store.database.execute(sa.text("UPDATE zrb_session SET fence = 2 RETURNING 1"))
        with pytest.raises(LeaseLost):
            run.end("failed")
        assert told.all() == []
