"""`check`: dead values, overdue tasks, late waits, and how much it looks at."""

from __future__ import annotations

import contextlib
import json
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.support.commands import Commands
from tests.support.completed import Reader, check_rows, check_steps, with_completed
from tests.support.history import check_statements, fill_with_much
from tests.support.rows import allow_damage
from tests.support.sessions import Broken, parse
from tests.support.waits import set_deadlines, start
from tests.watch.alerts import Told, end, reported
from zrb_store import Store
from zrb_store.watch.check import alerts
from zrb_store.watch.queries import running_unreported

pytestmark = pytest.mark.long_on_postgresql


class TestDeadValues:
    def test_one_line_for_each_queue(self, command: Commands, store: Store) -> None:
        for name, count in (("my files", 1), ("other", 2)):
            queue = store.session("inbox").xcom[name]
            queue.max_deliveries = 1
            queue.extend(range(count))
            for _ in range(count):
                with (
                    contextlib.suppress(Broken),
                    store.session("w").run(again=True) as run,
                    run.attempt(f"convert {run.number}"),
                ):
                    queue.pop()
                    raise Broken
        with store.session("w").run(again=True):
            pass
        lines = parse("check", command("check", "--format", "json").out)
        assert [(line["event"], line["queue"], line["values"]) for line in lines] == [
            ("dead", "other", 2),
            ("dead", "my files", 1),
        ]
        assert lines[1]["remedy"] == "zrb-store requeue inbox 'my files' --all-dead"
        out = command("check").out
        assert "2 values of queue inbox/other: Broken; `zrb-store requeue inbox other --all-dead`" in out
        assert "1 value of queue inbox/my files" in out
        command("requeue", "inbox", "my files", "--all-dead")
        command("requeue", "inbox", "other", "--all-dead")
        assert reported(command) == []


def complete(store: Store, name: str, hours_ago: float = 0, task: str = "load", project: str = "/srv/etl") -> None:
    with store.session(name).run(project=project) as run, run.attempt(task) as attempt:
        attempt.complete("done")
    micros = int(hours_ago * 3_600_000_000)
    store.database.execute(
        sa.text(f"UPDATE zrb_attempt SET ended_at = ended_at - {micros} WHERE task = '{task}' RETURNING 1")
    )


class TestOverdue:
    def test_a_result_that_is_too_old(self, command: Commands, store: Store) -> None:
        complete(store, "etl-23", 30)
        assert command.ok("check", "--task", "load", "--max-age", "31h") == ""
        result = command("check", "--task", "load", "--max-age", "26h")
        assert result.code == 1
        assert result.out == (
            "overdue: task load: the newest result is 30 h old (session etl-23), over 26 h; "
            "`zrb-store list --task load`\n"
        )

    @pytest.mark.on_sqlite
    def test_no_result_at_all(self, command: Commands, store: Store) -> None:
        result = command("check", "--task", "load", "--max-age", "26h")
        assert result.code == 1
        assert result.out.startswith("overdue: task load: no completed session has a result of it; ")

    def test_each_of_several_tasks_has_its_max_age(self, command: Commands, store: Store) -> None:
        complete(store, "one", 30)
        complete(store, "two", 30, "report")

        def late(*args: str) -> list[str]:
            lines = parse("check", command("check", "--format", "json", *args).out)
            return [line["task"] for line in lines]

        both = ("--task", "load", "--task", "report")
        assert late(*both, "--max-age", "31h", "--max-age", "29h") == ["report"]
        assert late(*both, "--max-age", "29h", "--max-age", "31h") == ["load"]
        assert late(*both, "--max-age", "29h") == ["load", "report"]

    @pytest.mark.parametrize(
        "args",
        [
            ("--task", "load"),
            ("--max-age", "1h"),
            ("--task", "a", "--task", "b", "--task", "c", "--max-age", "1h", "--max-age", "2h"),
        ],
    )
    @pytest.mark.on_sqlite
    def test_each_task_needs_its_age(self, command: Commands, args: tuple[str, ...]) -> None:
        result = command("check", *args)
        assert result.code == 2
        assert "in pairs" in result.err


def test_check_looks_in_one_project(
    command: Commands, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    end(store, "here", project=str(tmp_path))
    end(store, "elsewhere", project="/srv/elsewhere")
    end(store, "other", project="/old/elsewhere")
    (tmp_path / "zrb_init.py").touch()
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    for here in ((), ("..",), (tmp_path.name,), (str(tmp_path),)):
        assert reported(command, "--project", *here) == [("failed", "here")]
    assert reported(command, "--project", "/srv/elsewhere") == [("failed", "elsewhere")]
    assert reported(command, "--project", "elsewhere") == [("failed", "other"), ("failed", "elsewhere")]
    assert len(reported(command)) == 3


@pytest.mark.long_on_postgresql(False)
def test_the_dead_values_of_one_project(command: Commands, store: Store) -> None:
    for name in ("one", "two"):
        end(store, name, "completed", project=f"/srv/{name}")
        queue = store.session(name).xcom["q"]
        queue.max_deliveries = 1
        queue.push(1)
        with store.session(f"worker-{name}").run() as run, contextlib.suppress(Broken), run.attempt("convert"):
            queue.pop()
            raise Broken
    assert reported(command, "--project", "two") == [("dead", "two")]


@pytest.mark.parametrize("named", ["etl", "/srv/etl"])
def test_the_newest_result_in_one_project(command: Commands, store: Store, named: str) -> None:
    """A result of another project does not count; one of a session without a project does."""
    task = ("--task", "load", "--max-age", "26h", "--project", named)
    end(store, "begun", "completed", project="/srv/etl")
    complete(store, "elsewhere", project="/srv/elsewhere")
    assert reported(command, *task) == [("overdue", None)]
    complete(store, "here", project="/srv/etl")
    assert reported(command, *task) == []


@pytest.mark.on_sqlite
def test_a_project_that_has_no_sessions_may_be_misspelt(command: Commands, store: Store) -> None:
    complete(store, "fine", project="/srv/etl")
    fine, typo, path = (command("check", "--project", named) for named in ("etl", "elt", "/srv/elt"))
    assert (fine.code, fine.out, fine.err) == (0, "", "")
    assert (typo.code, typo.out, typo.err) == (0, "", "zrb-store: no session belongs to project elt\n")
    assert path.err == "zrb-store: no session belongs to project /srv/elt\n"


def test_a_limit_says_that_there_are_more(command: Commands, store: Store) -> None:
    for number in range(4):
        end(store, f"s{number}", task=f"t{number}")
    lines = command("check", "--limit", "2").out.splitlines()
    assert len(lines) == 3
    assert "--limit 20, or --limit 0" in lines[-1]
    assert len(command("check", "--limit", "4").out.splitlines()) == 4
    assert len(reported(command, "--limit", "0")) == 4


@pytest.mark.on_sqlite
def test_a_damaged_session_is_named(command: Commands, store: Store) -> None:
    end(store, "one")
    allow_damage(store)
    store.database.execute(sa.text("UPDATE zrb_session SET path = 'x' RETURNING 1"))
    result = command("check")
    assert (result.code, result.out) == (1, "")
    assert "damaged, and left out: zrb_session name=one (path)" in result.err


def test_tasks_are_looked_up_once_however_often_they_failed(store: Store) -> None:
    """A task that fails every minute for weeks must not make `check` slow."""

    def sent() -> int:
        return store.database.operate(lambda connection: int(connection.sent))

    def statements() -> int:
        before = sent()
        count = len(alerts(store.database, {}))
        after = sent()
        assert count == len(store.sessions(status="failed"))
        return after - before

    end(store, "first")
    few = statements()
    for number in range(40):
        end(store, f"s{number}")
    assert statements() <= few + 2, "PostgreSQL sends the rows in more portions"


@pytest.mark.slow
@pytest.mark.on_sqlite
@pytest.mark.parametrize("how", ["", "ANALYZE"])
def test_check_takes_few_statements_each_by_an_index(store: Store, how: str) -> None:
    fill_with_much(store)
    if how:
        store.database.execute(sa.text(how))
    check_statements(store, 11, lambda store: alerts(store.database, {}))


READERS: dict[str, Reader] = {
    "untold": running_unreported,
    "check": lambda database: alerts(database, {}),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("location", ["sqlite"], indirect=True)
def test_reading_takes_no_more_steps_with_more_completed_sessions(filled: Store, reader: str) -> None:
    check_steps(with_completed(filled), READERS[reader])


@pytest.mark.long_on_postgresql(False)
@pytest.mark.unpooled  # each server process keeps its counts to itself until it reports them
@pytest.mark.parametrize("location", ["postgresql"], indirect=True)
def test_postgresql_reads_no_completed_session(filled: Store) -> None:
    check_rows(with_completed(filled), READERS)


@pytest.mark.long_on_postgresql(False)
@pytest.mark.promise(number=18)
def test_a_wait_is_told_and_counted_and_reported_when_it_is_late(store: Store, command: Commands, told: Told) -> None:
    start(store, task="refund", path=["shop", "refund"], project="/srv/shop")
    [one] = told.all()
    question, answer = "for approve, 2 d left: Refund 120?", """zrb-store push shop approve '"yes"'"""
    assert (one["EVENT"], one["ERROR"], one["REMEDY"]) == ("waiting", question, answer)
    assert command("check").code == 0
    [stats] = json.loads(command.ok("stats", "--format", "json"))
    assert (stats["runs"], stats["waits"], stats["completed_share"]) == (1, 1, None)
    assert stats["waited_seconds"] >= 0
    assert "zrb_store_waited_seconds" in command.ok("stats", "--format", "prometheus")
    set_deadlines(store, timedelta(hours=3))
    late = command("check")
    assert late.code == 1
    assert "session shop (refund): for approve, 3 h late: Refund 120?; `zrb xcom resume shop --here`" in late.out
