"""ZRB_STORE_ON_FAILURE: a command is started once when a run fails, a value dies, or the store cannot be used."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.attempts import failing, start
from tests.commands import Commands
from tests.processes import Child
from tests.rows import all_rows, query
from tests.runners import hold_a_run
from tests.sessions import Broken
from tests.test_reclaim import age_lease, age_suspicion, hold_a_value
from tests.told import Told
from zrb_store import InvalidArgument, LeaseLost, Store, StoreUnavailable, open_store, settings
from zrb_store.db.urls import store_url
from zrb_store.operations import background_command, on_failure
from zrb_store.operations.stale import tell_stale


@pytest.fixture(autouse=True)
def _tell_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_failure, "_QUIET_FOR", 0.0)


def fail(store: Store, name: str = "night", **settings: Any) -> None:
    with contextlib.suppress(Broken), store.session(name).run(**settings) as run, run.attempt("load"):
        raise Broken("no column 'price'")


def events(told: list[dict[str, str]]) -> list[tuple[str, str | None]]:
    return sorted((one["EVENT"], one.get("SESSION")) for one in told)


class TestRuns:
    def test_what_the_command_is_told(self, store: Store, told: Told) -> None:
        fail(store, task="main", path=["etl", "main"], project="/srv/my etl")
        [one] = told.all()
        assert one.pop("MESSAGE") == (
            f"failed at {one_time(store)}Z: session night (main): load: Broken: no column 'price'; "
            "`cd '/srv/my etl' && zrb xcom resume night`"
        )
        assert store_url(one.pop("URL")) == store.database.url
        assert one == {
            "EVENT": "failed",
            "SESSION": "night",
            "TASK": "main",
            "ERROR": "load: Broken: no column 'price'",
            "REMEDY": "cd '/srv/my etl' && zrb xcom resume night",
            "SHOWN_URL": store.url,
        }

    @pytest.mark.parametrize(
        ("raised", "event", "error"),
        [
            (ValueError("outside"), "failed", "ValueError: outside"),
            (SystemExit(3), "failed", "SystemExit: 3"),
            (KeyboardInterrupt(), "interrupted", "KeyboardInterrupt"),
        ],
    )
    def test_what_ends_a_run_outside_of_its_attempts(
        self, store: Store, told: Told, raised: BaseException, event: str, error: str
    ) -> None:
        with contextlib.suppress(type(raised)), store.session("night").run():
            raise raised
        [one] = told.all()
        assert (one["EVENT"], one["ERROR"]) == (event, error)

    def test_a_run_that_completes_tells_nothing(self, store: Store, told: Told) -> None:
        with store.session("night").run() as run, contextlib.suppress(Broken), run.attempt("load"):
            raise Broken
        with contextlib.suppress(Broken), store.session("day").run() as run, run.attempt("load") as attempt:
            attempt.complete(1)
        assert events(told.all()) == [("failed", "night")], "an attempt failed and none after it completed"

    def test_each_run_tells(self, store: Store, told: Told) -> None:
        fail(store)
        fail(store)
        assert events(told.all()) == [("failed", "night")] * 2
        assert query(store, "SELECT count(*) FROM zrb_run WHERE told_at = ended_at") == [(2,)]

    @pytest.mark.parametrize("parent", ["main", "main/load#1"])
    def test_a_child_session_does_not(self, store: Store, told: Told, parent: str) -> None:
        fail(store, "main.1", parent=parent)
        fail(store, "main.1")  # resumed by hand
        assert told.all() == []

    def test_without_the_setting_nothing_is_written(self, store: Store) -> None:
        fail(store)
        assert query(store, "SELECT told_at FROM zrb_run") == [(None,)]

    def test_secrets_are_masked(self, store: Store, told: Told) -> None:
        with contextlib.suppress(ValueError), store.session("night").run():
            raise ValueError("cannot reach postgresql://me:hunter2@db/x")
        [one] = told.all()
        assert "hunter2" not in str(one)
        assert "me:***@db" in one["ERROR"]

    def test_any_error_can_be_told(self, store: Store, told: Told) -> None:
        with contextlib.suppress(ValueError), store.session("night").run():
            raise ValueError("a\0b \ud800 " + "x" * 300_000)
        [one] = told.all()
        assert one["ERROR"].startswith("ValueError: a\\0b \\ud800 xxx")


def one_time(store: Store) -> str:
    from zrb_store.records import iso

    return (iso(store.session("night").record().finished_at) or "")[:19].replace("T", " ")


class TestItsCommand:
    def test_it_starts_no_command_itself(self, store: Store, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
        program = (
            "from zrb_store import open_store\n"
            "with open_store() as store:\n"
            "    with store.session('in the hook'.replace(' ', '-')).run() as run:\n"
            "        raise ValueError\n"
        )
        (told.folder / "program.py").write_text(program)
        again = f"{told.command}; '{sys.executable}' '{told.folder}/program.py' 2> '{told.folder}/err'"
        monkeypatch.setenv("ZRB_STORE_ON_FAILURE", again)
        monkeypatch.setattr(background_command, "PATIENCE", 120.0)
        fail(store)
        assert events(told.all()) == [("failed", "night")]
        assert store.session("in-the-hook").status == "failed", "it ran, on the same store"

    @pytest.mark.parametrize("event", ["failed", ""])
    def test_what_runs_inside_takes_no_name_from_it(self, monkeypatch: pytest.MonkeyPatch, event: str) -> None:
        monkeypatch.setenv("ZRB_STORE_SESSION", "night")
        monkeypatch.setenv("ZRB_STORE_ON_FAILURE", "x")
        monkeypatch.setenv("ZRB_STORE_EVENT", event)
        assert settings.session_name() == (None if event else "night")
        assert settings.on_failure() == (None if event else "x")

    @pytest.mark.parametrize(
        ("command", "warning"),
        [
            ("nosuchcommand", "failed with exit code 127: .*nosuchcommand.*not found"),
            ("echo one; echo two >&2; exit 3", "failed with exit code 3: two"),
            ("exit 4", "failed with exit code 4"),
            ("kill -9 $$", "was ended by signal 9"),
            ("printf 'password in %s' postgresql://me:hunter2@db/x; exit 1", r"failed .*me:\*\*\*@db/x"),
        ],
    )
    def test_its_own_failure_is_one_warning(
        self,
        store: Store,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
        command: str,
        warning: str,
    ) -> None:
        monkeypatch.setenv("ZRB_STORE_ON_FAILURE", command)
        fail(store)
        background_command.wait_for_all()
        [message] = caplog.messages
        assert _matches(rf"the command of ZRB_STORE_ON_FAILURE {warning}", message)

    def test_it_is_not_waited_for_any_longer(
        self, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        go, done = tmp_path / "go", tmp_path / "done"
        command = f"until [ -e '{go}' ]; do sleep 0.02; done; mv '{go}' '{done}'"
        monkeypatch.setenv("ZRB_STORE_ON_FAILURE", command)
        monkeypatch.setattr(background_command, "PATIENCE", 0.2)
        fail(store)
        background_command.wait_for_all()
        _until(lambda: bool(caplog.messages))
        assert caplog.messages == [
            "the command of ZRB_STORE_ON_FAILURE still runs after 0 s, and is not waited for any longer"
        ]
        go.touch()
        _until(done.exists)

    def test_a_program_waits_for_it_at_its_end_and_no_longer(self, location: str, tmp_path: Path) -> None:
        """Its output is a pipe that is read to its end, which the command must not keep open."""
        program = (
            "import sys\n"
            "from zrb_store import open_store\n"
            "from zrb_store.operations import background_command\n"
            "background_command.PATIENCE = float(sys.argv[1])\n"
            "with open_store() as store, store.session('night').run() as run:\n"
            "    raise ValueError\n"
        )
        go, done = tmp_path / "go", tmp_path / "done"

        def run(command: str, patience: float) -> str:
            environment = {
                **os.environ,
                "ZRB_STORE_URL": store_url(location).render_as_string(hide_password=False),
                "ZRB_STORE_ON_FAILURE": command,
            }
            ended = subprocess.run(
                [sys.executable, "-c", program, str(patience)], env=environment, capture_output=True, text=True
            )
            assert ended.returncode == 1
            return ended.stderr

        assert "ZRB_STORE" not in run(f"sleep 0.5; touch '{done}'", 120)
        assert done.exists(), "it was waited for"
        done.unlink()
        hang = f"until [ -e '{go}' ]; do sleep 0.02; done; touch '{done}'"
        assert "still runs after 0 s" in run(hang, 0.3)
        assert not done.exists()
        go.touch()
        _until(done.exists)  # the end of the program did not end it

    def test_it_gets_no_password_that_the_environment_has_not(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from zrb_store.db.urls import url_for_commands

        text = "postgresql+psycopg://me:hunter2@db/jobs?sslpassword=geheim&sslmode=require"
        monkeypatch.delenv("ZRB_STORE_URL", raising=False)
        assert url_for_commands(store_url(text)) == "postgresql+psycopg://me@db/jobs?sslmode=require"
        monkeypatch.setenv("ZRB_STORE_URL", text)
        assert store_url(url_for_commands(store_url(text))) == store_url(text), "so that zrb-store finds the store"
        monkeypatch.setenv("ZRB_STORE_URL", "nonsense:// @")
        assert "hunter2" not in url_for_commands(store_url(text))

    def test_it_belongs_to_no_attempt(self, store: Store, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ZRB_STORE_ATTEMPT", "night/load#1@1")
        fail(store)
        [one] = told.all()
        assert not {"ATTEMPT", "ON_FAILURE"} & set(one)


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

    def test_of_two_at_once_one_tells(self, store: Store, location: str, told: Told) -> None:
        for number in range(5):
            self.killed(location, f"night-{number}")
        with contextlib.ExitStack() as stack:
            stores = [stack.enter_context(open_store(location)) for _ in range(4)]
            threads = [threading.Thread(target=tell_stale, args=(one.database,)) for one in stores]
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

    def test_of_an_expired_lease_only_if_it_was_not_renewed_for_a_while(self, store: Store, told: Told) -> None:
        """An outage of the server must not look like everybody's death."""
        run = store.session("night").run().start()
        age_lease(store, "night")
        tell_stale(store.database)
        assert told.all() == []
        age_suspicion(store, 30)
        tell_stale(store.database)
        [one] = told.all()
        assert "its lease had expired" in one["ERROR"]
        run.lost = True

    def test_a_claim_fails_if_the_lease_was_renewed_meanwhile(self, store: Store, told: Told) -> None:
        from zrb_store.queries import runs
        from zrb_store.queries.on_failure import claim

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

        monkeypatch.setattr("zrb_store.operations.stale.tell_stale", refuse)
        result = command("check")
        assert (result.code, "session night" in result.out) == (1, True)
        assert result.err == "zrb-store: nobody is told of stale sessions: you may not write\n"


class TestDeadValues:
    @pytest.fixture
    def poison(self, store: Store, told: Told) -> Any:
        with open_store(store.database.url.render_as_string(hide_password=False)) as telling:
            queue = telling.session("inbox").xcom["my files"]
            queue.max_deliveries = 1
            queue.extend(["a", "b", "c"])
            yield queue

    def test_a_failed_attempt(self, poison: Any, told: Told) -> None:
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
        monkeypatch.setattr(on_failure, "_QUIET_FOR", 600.0)
        monkeypatch.setattr(on_failure, "_unavailable", on_failure._Unavailable())
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

    @pytest.mark.parametrize("when", ["start", "end"])
    def test_a_store_that_is_lost_during_a_run(
        self, store: Store, told: Told, monkeypatch: pytest.MonkeyPatch, when: str
    ) -> None:
        transact = store.database.transact

        def lost(work: Callable[..., Any], name: str = "") -> Any:
            if name == when:
                raise StoreUnavailable("the server is gone")
            return transact(work, name)

        monkeypatch.setattr(store.database, "transact", lost)
        run = store.session("night").run(task="load", path=["load"], project="/srv/etl")
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


def _matches(pattern: str, text: str) -> bool:
    import re

    return re.fullmatch(pattern, text) is not None


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
