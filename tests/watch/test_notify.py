"""ZRB_STORE_NOTIFY: a command is started once when a run fails, a value dies, or the store cannot be used."""

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

from tests.support.rows import query
from tests.support.sessions import Broken
from tests.watch.alerts import Told, events
from zrb_store import Store, masking, settings
from zrb_store.db.location import store_url
from zrb_store.run import RunSpec
from zrb_store.watch import notify

pytestmark = pytest.mark.long_on_postgresql


def fail(store: Store, name: str = "night", **settings: Any) -> None:
    with contextlib.suppress(Broken), store.session(name).prepare(RunSpec(**settings)) as run, run.attempt("load"):
        raise Broken("no column 'price'")


class TestRuns:
    @pytest.mark.promise(number=13)
    def test_what_the_command_is_told(self, store: Store, told: Told, tmp_path: Path) -> None:
        folder = tmp_path / "my etl"
        folder.mkdir()
        fail(store, task="main", path=["etl", "main"], project=str(folder))
        [one] = told.all()
        assert one.pop("MESSAGE") == (
            f"failed at {one_time(store)}Z: session night (main): load: Broken: no column 'price'; "
            f"`cd '{folder}' && zrb xcom resume night`"
        )
        assert store_url(one.pop("URL")) == store.database.url
        assert one == {
            "EVENT": "failed",
            "SESSION": "night",
            "TASK": "main",
            "ERROR": "load: Broken: no column 'price'",
            "REMEDY": f"cd '{folder}' && zrb xcom resume night",
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

    def test_each_run_that_fails_tells_once(self, store: Store, told: Told) -> None:
        fail(store)
        fail(store)
        assert events(told.all()) == [("failed", "night")] * 2
        assert query(store, "SELECT count(*) FROM zrb_run WHERE notified_at = ended_at") == [(2,)]

    @pytest.mark.promise(number=13)
    @pytest.mark.parametrize("parent", ["main", "main/load#1"])
    def test_a_child_session_does_not(self, store: Store, told: Told, parent: str) -> None:
        fail(store, "main.1", parent=parent)
        fail(store, "main.1")  # resumed by hand
        assert told.all() == []

    def test_without_the_setting_nothing_is_written(self, store: Store) -> None:
        fail(store)
        assert query(store, "SELECT notified_at FROM zrb_run") == [(None,)]

    def test_secrets_in_what_is_told_are_masked(self, store: Store, told: Told) -> None:
        with contextlib.suppress(ValueError), store.session("night").run():
            raise ValueError("cannot reach postgresql://me:hunter2@db/x")
        [one] = told.all()
        assert "hunter2" not in str(one)
        assert "me:***@db" in one["ERROR"]

    @pytest.mark.slow
    def test_any_error_can_be_told(self, store: Store, told: Told) -> None:
        with contextlib.suppress(ValueError), store.session("night").run():
            raise ValueError("a\0b \ud800 " + "x" * 300_000)
        [one] = told.all()
        assert one["ERROR"].startswith("ValueError: a\\0b \\ud800 xxx")


def one_time(store: Store) -> str:
    from zrb_store.records import iso

    return (iso(store.session("night").record().ended_at) or "")[:19].replace("T", " ")


@pytest.mark.on_sqlite
class TestItsCommand:
    @pytest.mark.promise(number=13)
    def test_it_starts_no_command_itself(self, store: Store, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
        program = (
            "from zrb_store import open_store\n"
            "with open_store() as store:\n"
            "    with store.session('in the hook'.replace(' ', '-')).run() as run:\n"
            "        raise ValueError\n"
        )
        (told.folder / "program.py").write_text(program)
        again = f"{told.command}; '{sys.executable}' '{told.folder}/program.py' 2> '{told.folder}/err'"
        monkeypatch.setenv("ZRB_STORE_NOTIFY", again)
        monkeypatch.setattr(notify, "PATIENCE", 120.0)
        fail(store)
        assert events(told.all()) == [("failed", "night")]
        assert store.session("in-the-hook").status == "failed", "it ran, on the same store"

    @pytest.mark.parametrize("event", ["failed", ""])
    def test_what_runs_inside_takes_no_name_from_it(self, monkeypatch: pytest.MonkeyPatch, event: str) -> None:
        monkeypatch.setenv("ZRB_STORE_SESSION", "night")
        monkeypatch.setenv("ZRB_STORE_NOTIFY", "x")
        monkeypatch.setenv("ZRB_STORE_EVENT", event)
        assert settings.session_name() == (None if event else "night")
        assert settings.notify_command() == (None if event else "x")

    @pytest.mark.promise(number=13)
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
        monkeypatch.setenv("ZRB_STORE_NOTIFY", command)
        fail(store)
        notify.wait_for_all()
        [message] = caplog.messages
        assert _matches(rf"the command of ZRB_STORE_NOTIFY {warning}", message)

    def test_no_line_of_a_secret_is_in_the_warning(
        self, store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        masking.remember("al1ce\nhunter2")
        monkeypatch.setenv("ZRB_STORE_NOTIFY", r"printf 'al1ce\nhunter2'; exit 1")
        fail(store)
        notify.wait_for_all()
        assert caplog.messages == ["the command of ZRB_STORE_NOTIFY failed with exit code 1: ***"]

    def test_it_is_started_where_no_thread_can_be(
        self, told: Told, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """As at the end of the interpreter. Whoever tells of a failure does not fail because of that."""

        def refuse(thread: threading.Thread) -> None:
            raise RuntimeError("can't create new thread at interpreter shutdown")

        with monkeypatch.context() as refusing:
            refusing.setattr(threading.Thread, "start", refuse)
            notify.start_command("it", told.command, {**os.environ, "ZRB_STORE_EVENT": "failed"})
        assert events(told.until(1)) == [("failed", None)]
        assert caplog.messages == []

    @pytest.mark.slow
    def test_it_is_not_waited_for_any_longer(
        self, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        go, done = tmp_path / "go", tmp_path / "done"
        command = f"until [ -e '{go}' ]; do sleep 0.02; done; mv '{go}' '{done}'"
        monkeypatch.setenv("ZRB_STORE_NOTIFY", command)
        monkeypatch.setattr(notify, "PATIENCE", 0.2)
        fail(store)
        notify.wait_for_all()
        _until(lambda: bool(caplog.messages))
        assert caplog.messages == [
            "the command of ZRB_STORE_NOTIFY still runs after 0 s; zrb-store stops waiting for it"
        ]
        go.touch()
        _until(done.exists)

    @pytest.mark.slow
    @pytest.mark.promise(number=13)
    def test_a_program_waits_for_it_at_its_end_and_no_longer(self, location: str, tmp_path: Path) -> None:
        """Its output is a pipe that is read to its end, which the command must not keep open."""
        program = (
            "import sys\n"
            "from zrb_store import open_store\n"
            "from zrb_store.watch import notify\n"
            "notify.PATIENCE = float(sys.argv[1])\n"
            "with open_store() as store, store.session('night').run() as run:\n"
            "    raise ValueError\n"
        )
        go, done = tmp_path / "go", tmp_path / "done"

        def run(command: str, patience: float) -> str:
            environment = {
                **os.environ,
                "ZRB_STORE_URL": store_url(location).render_as_string(hide_password=False),
                "ZRB_STORE_NOTIFY": command,
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
        from zrb_store.db.location import url_for_commands

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
        assert not {"ATTEMPT", "NOTIFY"} & set(one)


def _matches(pattern: str, text: str) -> bool:
    import re

    return re.fullmatch(pattern, text) is not None


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 600
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
