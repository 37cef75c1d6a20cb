"""`check`: one line for each thing that somebody has to look at, until it is done."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.support.attempts import start
from tests.support.clocks import set_back
from tests.support.commands import Commands, Result
from tests.support.consumers import two_deaths
from tests.support.holders import age_lease, hold_and_die
from tests.support.processes import Child
from tests.support.rows import all_rows
from tests.support.runners import hold_a_run
from tests.support.sessions import Broken, etl, inbox, parse
from tests.watch.alerts import end, reported
from zrb_store import Store
from zrb_store.errors import StoreMissing
from zrb_store.operations.sessions import remove_sessions
from zrb_store.run import RunSpec

pytestmark = pytest.mark.long_on_postgresql


class TestSessions:
    def test_nothing_is_printed_if_all_is_well(self, command: Commands, store: Store) -> None:
        end(store, "fine", "completed")
        store.session("inbox").xcom["q"].push(1)
        assert command.ok("check") == ""
        assert parse("check", command.ok("check", "--format", "json")) == []

    @pytest.mark.on_sqlite
    def test_a_person_at_a_terminal_is_told_that_all_is_well(
        self, command: Commands, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("zrb_store.watch.commands.on_terminal", lambda: True)
        assert command.ok("check") == "all is well\n"

    @pytest.mark.on_sqlite
    def test_a_person_at_a_terminal_sees_deaths_and_errors_in_groups(
        self, command: Commands, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        two_deaths(store)
        for number in range(5):
            with contextlib.suppress(ValueError), store.session(f"c-{number}").run(task="convert") as run:
                run.task("convert", int, f"file-{number}.csv")
        command.ok("ack", "worker")
        monkeypatch.setattr("zrb_store.watch.commands.on_terminal", lambda: True)
        lines = command("check").out.splitlines()
        assert [re.sub(r"\S+ \S+Z", "AT", line).split(maxsplit=1) for line in lines[1:3]] == [
            [
                "c-4",
                "and 4 more  failed  convert  AT  convert: ValueError: invalid literal for int() with base 10: ...",
            ],
            ["inbox/files", "dead    -        AT  2 values, ValueError: cannot decode corrupt-22"],
        ]
        assert lines[4] == "What to do"
        assert lines[-3:] == [
            "zrb-store requeue inbox files --all-dead",
            "zrb-store replace VALUE NEW, or zrb-store drop VALUE, for single dead values",
            "2 commands more: `zrb-store check --format jsonl` has them all",
        ]

    @pytest.mark.long_on_postgresql(False)
    def test_one_line_says_what_when_why_and_what_helps(self, command: Commands, store: Store) -> None:
        inbox(store, "a.csv", "b.csv")
        etl(store, "etl-24", broken=True)
        result = command("check")
        assert (result.code, result.err) == (1, "")
        record = store.session("etl-24").record()
        [line] = parse("check", command("check", "--format", "json").out)
        assert line == {
            "event": "failed",
            "session": "etl-24",
            "project": "/srv/shop",
            "task": "report",
            "queue": None,
            "values": None,
            "at": line["at"],
            "reason": "load: Broken: no column 'price'\nin row 3",
            "remedy": "zrb xcom resume etl-24 --here",  # its folder is gone
        }
        assert record.ended_at is not None
        time = line["at"][:19].replace("T", " ")
        assert result.out == (
            f"failed at {time}Z: session etl-24 (report): load: Broken: no column 'price' in row 3; "
            "`zrb xcom resume etl-24 --here`\n"
        )

    @pytest.mark.on_sqlite
    def test_a_value_that_died_with_its_process_was_lost(self, command: Commands, store: Store) -> None:
        inbox(store, "a")
        store.session("inbox").xcom["files"].max_deliveries = 1
        hold_and_die(store)
        start(store, "worker").end("completed")
        [line] = parse("check", command("check", "--format", "json").out)
        assert (line["event"], line["reason"]) == ("dead", "lost")

    @pytest.mark.on_sqlite
    def test_a_long_error_is_cut(self, command: Commands, store: Store) -> None:
        with contextlib.suppress(Broken), store.session("long").run() as run, run.attempt("load"):
            raise Broken("x" * 5000)
        assert len(command("check").out.partition("; `")[0]) < 400  # without the command, which is that of this process
        [line] = parse("check", command("check", "--format", "json").out)
        assert len(line["reason"]) > 5000, "JSON has all of it"

    @pytest.mark.on_sqlite
    def test_what_helps_is_run_here_if_this_is_the_folder(
        self, command: Commands, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        end(store, "one", project=str(tmp_path), path=["etl", "load"])
        [line] = parse("check", command("check", "--format", "json").out)
        assert line["remedy"] == "zrb xcom resume one"

    @pytest.mark.on_sqlite
    def test_what_helps_names_a_folder_that_exists(
        self, command: Commands, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for folder in ("was there", "moved here"):
            (tmp_path / folder).mkdir()
            monkeypatch.chdir(tmp_path / folder)
            end(store, f"program {folder[:3]}".replace(" ", "-"), task="program", project=None, command=["nightly.py"])
        (tmp_path / "was there").rmdir()
        end(store, "elsewhere", task="other", path=["etl", "load"])
        store.database.execute(
            sa.text(
                "UPDATE zrb_run SET host = 'x' WHERE number = 1 AND session_id IN "
                "(SELECT id FROM zrb_session WHERE name = 'elsewhere') RETURNING 1"
            )
        )
        end(store, "moved", "completed", project=str(tmp_path / "moved here"))
        end(store, "one", project=str(tmp_path / "was there"), path=["etl", "load"])
        monkeypatch.chdir(tmp_path)
        remedies = {line["session"]: line["remedy"] for line in parse("check", command("check", "--json").out)}
        assert remedies == {
            "one": f"cd '{tmp_path}/moved here' && zrb xcom resume one --here",
            "program-was": "zrb-store log program-was",
            "program-mov": f"cd '{tmp_path}/moved here' && python3 nightly.py",
            "elsewhere": "cd /srv/etl && zrb xcom resume elsewhere",
        }

    def test_since_leaves_out_what_happened_earlier(self, command: Commands, store: Store) -> None:
        end(store, "old", task="one")
        end(store, "new", task="two")
        store.database.execute(sa.text("UPDATE zrb_session SET ended_at = 0 WHERE name = 'old' RETURNING 1"))
        assert reported(command, "--since", "1h") == [("failed", "new")]

    @pytest.mark.on_sqlite
    @pytest.mark.parametrize(
        ("settings", "remedy"),
        [
            ({"command": ["nightly.py", "--day", "a b"]}, "cd {here} && python3 nightly.py --day 'a b'"),
            ({"command": ["/bin/zrb-store", "consume"]}, "cd {here} && /bin/zrb-store consume"),
            ({"command": ["web.py"], "zrb_version": "3"}, "cd {here} && ZRB_STORE_SESSION=one python3 web.py"),
            ({"command": []}, "zrb-store log one"),
            ({"command": ["-c"]}, "zrb-store log one"),
        ],
    )
    def test_what_helps_a_program_without_zrb(
        self,
        command: Commands,
        store: Store,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        settings: dict[str, Any],
        remedy: str,
    ) -> None:
        (tmp_path / "there").mkdir()
        monkeypatch.chdir(tmp_path / "there")
        end(store, "one", **settings)
        monkeypatch.chdir(tmp_path)
        [line] = parse("check", command("check", "--format", "json").out)
        assert line["remedy"] == remedy.format(here=tmp_path / "there")

    @pytest.mark.on_sqlite
    def test_an_interruption_names_what_ran(self, command: Commands, store: Store) -> None:
        with contextlib.suppress(KeyboardInterrupt), store.session("one").run() as run, run.attempt("load"):
            raise KeyboardInterrupt
        [line] = parse("check", command("check", "--format", "json").out)
        assert (line["event"], line["reason"]) == ("interrupted", "while load ran")

    def test_a_session_that_is_run_is_no_alert_and_one_whose_process_died_is(
        self, command: Commands, store: Store, location: str
    ) -> None:
        with Child(hold_a_run, location, "night") as child:
            child.receive()
            assert reported(command) == []
            pid = child.pid
            child.kill()
            assert reported(command) == [("stale", "night")]
            [line] = parse("check", command("check", "--format", "json").out)
        assert line["reason"].startswith(f"pid {pid} on ")
        assert line["reason"].endswith(": its process has died")

    def test_a_run_of_another_machine_is_stale_when_its_lease_has_expired(
        self, command: Commands, store: Store
    ) -> None:
        run = store.session("night").run().start()
        age_lease(store, "night")
        result = command("check")
        assert "its lease has expired" in result.out
        assert result.code == 1
        run.lost = True

    @pytest.mark.promise(number=13)
    def test_check_of_a_session_without_news_writes_nothing(self, command: Commands, filled: Store) -> None:
        before = all_rows(filled)
        etl_24 = reported(command)
        assert etl_24 == []
        assert all_rows(filled) == before

    @pytest.mark.on_sqlite
    def test_a_missing_store_is_not_created(
        self, command: Commands, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("ZRB_STORE_URL", str(tmp_path / "missing.db"))
        assert command("check").code == StoreMissing.exit_code
        assert not (tmp_path / "missing.db").exists()


class TestUntilItIsDone:
    @pytest.mark.promise(number=13)
    def test_a_session_that_completes_is_reported_no_more(self, command: Commands, store: Store) -> None:
        end(store, "one")
        assert reported(command) == [("failed", "one")]
        end(store, "one", "completed")
        assert reported(command) == []

    @pytest.mark.promise(number=13)
    def test_a_session_that_is_removed_is_reported_no_more(self, command: Commands, store: Store) -> None:
        end(store, "one", "interrupted")
        assert reported(command) == [("interrupted", "one")]
        remove_sessions(store.database, "one")
        assert reported(command) == []

    @pytest.mark.promise(number=13)
    @pytest.mark.parametrize(
        ("newer", "remains"),
        [
            ({}, False),
            ({"task": "other"}, True),
            ({"project": "/srv/other"}, True),
            ({"project": None}, True),
        ],
    )
    def test_a_newer_one_of_the_same_project_and_task_completes(
        self, command: Commands, store: Store, newer: dict[str, Any], remains: bool
    ) -> None:
        end(store, "monday")
        end(store, "tuesday", "completed", **newer)
        assert reported(command) == ([("failed", "monday")] if remains else [])

    def test_what_happened_last_comes_first(self, command: Commands, store: Store) -> None:
        for name in ("one", "two", "one"):
            end(store, name, task=name)
        assert reported(command) == [("failed", "one"), ("failed", "two")]

    def test_also_where_there_is_no_project(self, command: Commands, store: Store) -> None:
        end(store, "monday", project=None)
        end(store, "tuesday", "completed", project=None)
        assert reported(command) == []

    @pytest.mark.on_sqlite
    def test_not_when_an_older_one_does(self, command: Commands, store: Store) -> None:
        end(store, "monday")
        end(store, "tuesday")
        end(store, "monday", "completed")
        assert reported(command) == [("failed", "tuesday")]

    @pytest.mark.on_sqlite
    def test_not_when_a_newer_one_fails(self, command: Commands, store: Store) -> None:
        end(store, "monday")
        end(store, "tuesday")
        assert reported(command) == [("failed", "tuesday"), ("failed", "monday")]

    def test_without_a_task_nothing_takes_its_place(self, command: Commands, store: Store) -> None:
        for name, status in (("one", "failed"), ("two", "completed")):
            store.session(name).run(project="/srv/etl").start().end(status)
        store.database.execute(sa.text("UPDATE zrb_session SET task = NULL RETURNING 1"))
        assert reported(command) == [("failed", "one")]

    @pytest.mark.parametrize("takes", [True, False])
    def test_workers_of_one_queue_stand_in_for_each_other(self, command: Commands, store: Store, takes: bool) -> None:
        queue = store.session("inbox").xcom["files"]
        worker: dict[str, Any] = {"task": "inbox/files", "project": None, "again": True}
        end(store, "consume.1", "completed", **worker)
        queue.push("a")
        run = store.session("consume.2").prepare(RunSpec(**worker)).start()
        if takes:
            for delivery in run.consume(queue):
                with delivery:
                    raise Broken
        run.end("failed")
        assert reported(command) == [("failed", "consume.2")]
        end(store, "consume.1", "completed", **worker)  # an older session, which has completed later
        assert reported(command) == ([] if takes else [("failed", "consume.2")])

    @pytest.mark.parametrize("end_of_value", ["removed", "processed"])
    def test_a_consumer_is_quiet_once_its_bad_value_is_gone(
        self, command: Commands, store: Store, end_of_value: str
    ) -> None:
        queue = store.session("inbox").xcom["files"]
        queue.extend(["good", "bad"])
        run = store.session("consume.1").run(project=None).start()
        for delivery in run.consume(queue):
            with delivery as value:
                if value == "bad":
                    raise Broken
        run.end("failed")
        assert reported(command) == [("failed", "consume.1")]
        if end_of_value == "removed":
            queue.remove("bad")
        else:
            with store.session("other").run() as other, other.attempt("convert"):
                queue.pop()
                assert reported(command) == [("failed", "consume.1")], "nobody knows yet how this ends"
        assert reported(command) == []

    def test_child_sessions_are_their_parents_matter(self, command: Commands, store: Store) -> None:
        end(store, "main")
        end(store, "main.1", parent="main")
        end(store, "inner", parent="main/load#1")
        assert reported(command) == [("failed", "main")]


def failed(result: Result) -> str:
    assert result.code == 1
    return result.out


def fail(store: Store, name: str) -> None:
    with contextlib.suppress(ValueError), store.session(name).run(task="load") as run, run.attempt("load"):
        raise ValueError("no rows")


def succeed(store: Store, name: str) -> None:
    with store.session(name).run(task="load", again=True) as run, run.attempt("load") as attempt:
        attempt.complete()


@pytest.mark.long_on_postgresql(False)
@pytest.mark.usefixtures("sound")
@pytest.mark.unpooled  # the clock is that of a session of the server, which a pooler shares
@pytest.mark.promise(number=17)
def test_only_a_completion_that_ended_after_a_failure_silences_it(store: Store, command: Commands) -> None:
    """Whatever the clock says."""
    fail(store, "mon")
    succeed(store, "tue")
    assert command.ok("check") == ""
    fail(store, "mon")
    assert "session mon" in failed(command("check"))
    set_back(store, 5)
    succeed(store, "tue-again")
    assert command.ok("check") == ""
    set_back(store, 10)
    fail(store, "mon")
    assert "session mon" in failed(command("check"))
