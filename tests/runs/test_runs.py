"""Runs: who may start one, what earlier runs left for it, and the status of the session afterwards."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import threading
from typing import Any

import pytest

from tests.support.attempts import Broken, failing, start
from tests.support.commands import Commands
from tests.support.postgres import wait_until
from tests.support.processes import Child
from tests.support.rows import all_rows, query
from tests.support.runners import hold_a_run
from tests.support.sessions import parse
from zrb_store import (
    InputsDiffer,
    InvalidArgument,
    Run,
    SessionBusy,
    SessionCompleted,
    SessionNotFound,
    Store,
    StoreUnavailable,
)
from zrb_store.run import RunSpec
from zrb_store.testing import expire_lease, short_lease

pytestmark = pytest.mark.usefixtures("sound")


class TestWhoMayRun:
    @pytest.mark.slow
    @pytest.mark.systems
    @pytest.mark.promise(number=5)
    def test_not_while_another_process_does(self, store: Store, location: str) -> None:
        with Child(hold_a_run, location, "flow") as child:
            assert child.receive() == "running"
            before = all_rows(store, but=("zrb_run",))
            with pytest.raises(SessionBusy) as caught:
                store.session("flow").run().start()
            assert f"is being run by pid {child.pid} on {socket.gethostname()} for " in str(caught.value)
            assert all_rows(store, but=("zrb_run",)) == before
            child.send("end")
            assert child.join() == 0
        with pytest.raises(SessionCompleted, match="session flow has completed: `zrb-store show flow` shows it"):
            store.session("flow").run().start()

    @pytest.mark.slow
    @pytest.mark.promise(number=5)
    @pytest.mark.smoke
    def test_at_once_when_that_process_was_killed(self, store: Store, location: str) -> None:
        with Child(hold_a_run, location, "flow") as child:
            child.receive()
            assert store.session("flow").status == "running"
            child.kill()
        assert store.session("flow").status == "stale"
        with store.session("flow").run() as run:
            assert run.number == 2
        assert query(store, "SELECT number, status FROM zrb_run ORDER BY id") == [(1, "lost"), (2, "completed")]

    def test_not_twice_in_one_process(self, store: Store) -> None:
        with store.session("flow").run(), pytest.raises(SessionBusy, match=f"pid {os.getpid()}"):
            store.session("flow").run().start()

    @pytest.mark.parametrize(
        ("other", "says"),
        [
            (
                {"project": "/b"},
                "session flow belongs to project /a, not to /b: that folder is gone; use another session name",
            ),
            ({"task": "clean"}, "session flow belongs to task load, not to clean: use another session name"),
            ({"inputs": {"day": 2, "n": [1]}}, "was started with other inputs: day: 1 became 2; use another"),
            ({"inputs": {"day": 1, "n": [2]}}, r"other inputs: n\[0\]: 1 became 2;"),
            ({"inputs": {"day": 1}}, "other inputs: n is gone;"),
            ({"inputs": {"day": 1, "n": [1], "x": None}}, "other inputs: x is new;"),
        ],
    )
    def test_not_for_something_else(self, store: Store, other: dict[str, Any], says: str) -> None:
        same: dict[str, Any] = {"project": "/a", "task": "load", "inputs": {"day": 1, "n": [1]}}
        with pytest.raises(Broken), store.session("flow").prepare(RunSpec(**same)):
            raise Broken
        before = all_rows(store)
        with pytest.raises(InputsDiffer, match=says):
            store.session("flow").prepare(RunSpec(**{**same, **other})).start()
        assert all_rows(store) == before
        with store.session("flow").prepare(RunSpec(**same)) as run:
            assert run.number == 2

    @pytest.mark.on_sqlite
    def test_an_input_that_cannot_be_stored_does_not_hide_the_others(self, store: Store) -> None:
        with pytest.raises(Broken), store.session("flow").run(inputs={"lock": threading.Lock(), "day": 1}):
            raise Broken
        stored = json.loads(store.session("flow").record().inputs or "")
        assert (stored["day"], stored["lock"]["$"], stored["lock"]["repr"]) == (1, "opaque", "")
        for day, says in ((2, "day: 1 became 2"), (1.0, r"day: 1 became 1\.0"), (True, "day: 1 became True")):
            with pytest.raises(InputsDiffer, match=f"other inputs: {says}; use"):
                store.session("flow").run(inputs={"lock": threading.Lock(), "day": day}).start()
        # Nobody can say whether it is the same: it is taken for another one.
        with pytest.raises(InputsDiffer, match="lock cannot be stored, and so cannot be compared; use"):
            store.session("flow").run(inputs={"lock": threading.Lock(), "day": 1}).start()

    @pytest.mark.on_sqlite
    def test_inputs_in_another_order_are_the_same(self, store: Store) -> None:
        with pytest.raises(Broken), store.session("flow").run(inputs={"a": 1, "b": {"c": 1, "d": 2}}):
            raise Broken
        with store.session("flow").run(inputs={"b": {"d": 2, "c": 1}, "a": 1}):
            pass


class TestStatus:
    def test_of_a_session_that_there_is_not(self, store: Store) -> None:
        with pytest.raises(SessionNotFound, match="there is no session flow"):
            store.session("flow").record()
        assert store.sessions() == []

    def test_open_running_and_stale(self, store: Store) -> None:
        session = store.session("flow")
        session.xcom["q"].push(1)
        assert session.status == "open"
        run = session.run().start()
        assert session.status == "running"
        expire_lease(session)
        assert session.status == "stale"
        run.end("failed")
        assert session.status == "failed"

    @pytest.mark.parametrize(
        ("error", "status"),
        [
            (None, "completed"),
            (Broken(), "failed"),
            (KeyboardInterrupt(), "interrupted"),
            (SystemExit(0), "failed"),
            (SystemExit(None), "failed"),
            (SystemExit(3), "failed"),
            (SystemExit("message"), "failed"),
        ],
    )
    def test_by_the_end_of_an_attempt(self, store: Store, error: BaseException | None, status: str) -> None:
        expected = contextlib.nullcontext() if error is None else pytest.raises(type(error))
        with expected, store.session("flow").run() as run, run.attempt("task"):
            if error is not None:
                raise error
        assert store.session("flow").status == status
        assert query(store, "SELECT status FROM zrb_attempt") == [(status,)]

    @pytest.mark.promise(number=0)
    @pytest.mark.parametrize(
        ("error", "status"),
        [
            (Broken(), "failed"),
            (KeyboardInterrupt(), "interrupted"),
            (SystemExit(0), "completed"),
            (SystemExit(None), "completed"),
            (SystemExit(3), "failed"),
        ],
    )
    def test_by_the_end_of_the_run_outside_of_attempts(self, store: Store, error: BaseException, status: str) -> None:
        with pytest.raises(type(error)), store.session("flow").run():
            raise error
        assert store.session("flow").status == status

    @pytest.mark.slow
    @pytest.mark.parametrize("broken", ["final_status", "end"])
    def test_a_run_whose_end_cannot_be_stored_gives_up_its_lease(
        self, store: Store, monkeypatch: pytest.MonkeyPatch, broken: str
    ) -> None:
        def unreachable(*_: object, **__: object) -> None:
            raise StoreUnavailable("gone for a moment")

        monkeypatch.setattr(Run, broken, unreachable)
        with short_lease(1):
            with pytest.raises(StoreUnavailable), store.session("flow").run():
                pass
            wait_until(lambda: store.session("flow").status == "stale", lambda: "its lease is renewed for ever")

    def test_a_run_that_was_ended_by_hand_stays_so(self, store: Store) -> None:
        with store.session("flow").run() as run:
            run.end("interrupted")
        assert store.session("flow").status == "interrupted"

    @pytest.mark.promise(number=0)
    def test_failed_if_a_task_failed_without_a_later_success(self, store: Store) -> None:
        with store.session("flow").run() as run:
            failing(run, "load", lambda: None)
        assert store.session("flow").status == "failed"
        with store.session("flow").run() as run:
            failing(run, "load", lambda: None)
            with run.attempt("load"):
                pass
        assert store.session("flow").status == "completed"

    @pytest.mark.promise(number=0)
    def test_a_failing_check_does_not_fail_the_session(self, store: Store) -> None:
        with store.session("flow").run() as run:
            run.begin("is it up?", kind="check").fail(Broken())
        assert store.session("flow").status == "completed"

    def test_what_cannot_be_asked_for_is_refused(self, store: Store) -> None:
        with pytest.raises(InvalidArgument, match="'fialed' is not a status: use open, running, stale"):
            store.sessions(status="fialed")
        with pytest.raises(InvalidArgument, match="less than 0"):
            store.sessions(limit=-1)

    def test_sessions_can_be_asked_for_by_what_readers_see(self, store: Store) -> None:
        runs = {name: store.session(name).run(task=name).start() for name in ("one", "two", "three", "four")}
        store.session("five").xcom["q"].push(1)
        expire_lease(store.session("one"))
        runs["two"].end("failed")
        runs["three"].end("completed")
        expected = {"stale": "one", "failed": "two", "completed": "three", "running": "four", "open": "five"}
        assert {record.status: record.name for record in store.sessions()} == expected
        for status, name in expected.items():
            assert [(record.name, record.status) for record in store.sessions(status)] == [(name, status)]
        assert [record.name for record in store.sessions(task="two")] == ["two"]


def test_what_is_known_of_a_run(store: Store) -> None:
    with store.session("flow").prepare(RunSpec(origin="cli", command=["zrb", "load"], zrb_version="3.28.0")):
        pass
    columns = "origin, host, pid, command, folder, zrb_version, status"
    [row] = query(store, f"SELECT {columns} FROM zrb_run")
    assert tuple(row) == (
        "cli",
        socket.gethostname(),
        os.getpid(),
        '["zrb", "load"]',
        os.getcwd(),  # noqa: PTH109
        "3.28.0",
        "completed",
    )
    assert query(store, "SELECT python_version FROM zrb_run") == [(sys.version.split()[0],)]


def test_the_tasks_of_a_session_keep_their_order(store: Store) -> None:
    run = start(store, "flow")
    tasks = {"b": "not started", "a": "skipped", "c": "not started"}
    run.note_tasks(tasks)
    assert list(store.session("flow").record().tasks.items()) == list(tasks.items())


class TestAnErrorOutsideOfAttempts:
    """It is kept with the run, and shown wherever a failure is told."""

    @pytest.mark.slow
    @pytest.mark.needs("page", "watch")
    def test_it_is_shown_like_that_of_an_attempt(self, store: Store, command: Commands) -> None:
        from tests.page.pages import description
        from zrb_store.page.report import report

        session = store.session("flow")
        with contextlib.suppress(ValueError), session.run(task="nightly") as run:
            run.task("first", int)
            raise ValueError("no column 'price' in postgres://me:hunter2@db")
        error = {"type": "ValueError", "message": "no column 'price' in postgres://me:***@db"}
        line = "ValueError: no column 'price' in postgres://me:***@db"

        assert f"Error:    {line}\n" in command.ok("show", "flow")
        assert parse("show", command.ok("show", "flow", "--format", "json"))["runs"][0]["error"] == error
        shown = command.ok("log", "flow")
        assert "Run 1 failed outside of its attempts" in shown
        assert "No attempt failed" not in shown
        assert "in test_it_is_shown_like_that_of_an_attempt\n" in command.ok("log", "flow", "--format", "value")
        [logged] = parse("log", command.ok("log", "flow", "--format", "json"))["runs"]
        assert logged["error"].pop("traceback").endswith(f"{line}\n")
        assert logged["error"] == error
        assert f"session flow (nightly): {line};" in command("check").out
        assert f"failed, {line}" in command.ok("stats")
        [stats] = parse("stats", command.ok("stats", "--format", "json"))
        assert stats["last_failure"]["error"] == {"task": None, "others": 0, **error}
        described = description(store.database, "flow")
        assert described["runs"][0]["error"] == {**error, "traceback": query(store, TRACEBACK)[0][0]}
        page = report(store.database, "flow", "zrb-store", None).decode()
        assert "Error of run 1" in page
        assert "hunter2" not in page + query(store, TRACEBACK)[0][0]

        with session.run(task="nightly"):
            pass
        assert "error" not in command.ok("show", "flow").lower()
        assert parse("show", command.ok("show", "flow", "--format", "json"))["runs"][0]["error"] == error
        at = parse("show", command.ok("show", "flow", "--at", "before:first#1", "--format", "json"))
        assert at["runs"][0]["error"] is None

    def test_the_error_of_an_attempt_is_not_kept_twice(self, store: Store) -> None:
        with contextlib.suppress(Broken), store.session("flow").run() as run, run.attempt("load"):
            raise Broken("no")
        with contextlib.suppress(SystemExit), store.session("flow").run() as run:
            with contextlib.suppress(Broken), run.attempt("load"):
                raise Broken("no")
            sys.exit(2)
        with contextlib.suppress(RuntimeError), store.session("flow").run() as run:
            with contextlib.suppress(Broken), run.attempt("load"):
                raise Broken("no")
            raise RuntimeError("no more")
        assert query(store, "SELECT error_type FROM zrb_run ORDER BY id") == [(None,), (None,), ("RuntimeError",)]


TRACEBACK = "SELECT error_traceback FROM zrb_run ORDER BY id"
