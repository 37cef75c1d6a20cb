"""The command `show`: its text, its JSON, one queue."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from tests.support.commands import Commands
from tests.support.sessions import HEADER, Broken, etl, parse, parse_lines
from zrb_store import Store

pytestmark = pytest.mark.long_on_postgresql


def test_show_has_exactly_the_documented_shape(command: Commands, filled: Store) -> None:
    document = parse("show", command.ok("show", "etl-24", "--format", "json"))
    acknowledged = ["acknowledged_at", "acknowledged_by", "acknowledged_reason"]
    assert list(document) == [*HEADER, *acknowledged, "waits", "runs", "tasks", "queues"]
    assert document["inputs"] == {"day": "2026-11-24"}
    assert [(one["task"], one["status"], one["result"]) for one in document["tasks"]] == [
        ("extract", "completed", "etl-24/extract#1"),
        ("load", "failed", None),
        ("report", "not started", None),
        ("notify", "skipped", None),
    ]
    load = document["tasks"][1]["attempts"]
    assert [(one["number"], one["run"], one["status"]) for one in load] == [(1, 1, "failed"), (2, 1, "failed")]
    assert load[0]["error"] == {"type": "Broken", "message": "no column 'price'\nin row 3"}
    first, second = document["queues"]["rows"]["values"]
    assert (first["state"], first["pushed_by"], first["taken_by"]) == ("taken", "extract#1", "load#2")
    assert [(back["taken_by"], back["reason"]) for back in first["returns"]] == [("load#1", "failed")]
    assert first["returns"][0]["taken_at"] < first["returns"][0]["returned_at"] < first["taken_at"]
    assert (second["state"], second["value"], second["returns"]) == ("live", {"id": 2}, [])
    assert [one["state"] for one in document["queues"]["loaded"]["values"]] == ["retracted", "live"]
    assert document["queues"]["loaded"]["live"] == [{"$": "tuple", "v": [1, 2]}]


def test_attempts_of_other_sessions_are_named_with_their_session(command: Commands, filled: Store) -> None:
    document = parse("show", command.ok("show", "inbox", "--format", "json"))
    assert (document["runs"], document["tasks"], document["task"], document["inputs"]) == ([], [], None, {})
    first, second, third = document["queues"]["files"]["values"]
    assert [each["taken_by"] for each in first["returns"]] == ["etl-24/load#1", "etl-24/load#2", "etl-25/load#1"]
    assert first["taken_by"] == "etl-25/load#2"
    for value in (second, third):
        assert (value["state"], value["pushed_by"], value["taken_at"]) == ("live", None, None)
    assert document["queues"]["files"]["live"] == ["b.csv", "c.csv"]


@pytest.mark.smoke
def test_show_in_a_pipe_is_plain_text_with_each_part(command: Commands, filled: Store) -> None:
    text = command.ok("show", "etl-24")
    assert "\x1b" not in text
    for line in (
        "Status   failed",
        "Task     etl report",
        "Inputs   day=2026-11-24",
        "Queue rows: 1 live of 2",
        "Log:      zrb-store log etl-24",
        "Resume:   zrb xcom resume etl-24 --here",  # its folder is gone
    ):
        assert line in text.splitlines()
    assert "Broken: no column 'price' in row 3" in text
    assert "given back by load#1" in text
    assert "Pending:  values that load#2 took and pushed are given back by a resume" in text
    assert "taken by load#2" in text
    assert "Resume" not in command.ok("show", "etl-25")


def test_show_of_a_resumed_session_has_a_table_of_runs(command: Commands, filled: Store) -> None:
    etl(filled, "etl-24", broken=True)
    text = command.ok("show", "etl-24")
    assert "Runs" in text.splitlines()
    document = parse("show", command.ok("show", "etl-24", "--format", "json"))
    assert [one["number"] for one in document["runs"]] == [1, 2]
    assert [one["run"] for one in document["tasks"][1]["attempts"]] == [1, 1, 2, 2]


@pytest.mark.slow
@pytest.mark.long_on_postgresql(False)
def test_show_sums_up_the_first_of_many_runs_and_attempts(command: Commands, store: Store) -> None:
    consumer, queue = store.session("worker"), store.session("inbox").xcom["files"]
    for number in range(20):
        queue.push(number)
        with consumer.run(again=True) as run:
            for delivery in run.consume(queue):
                with delivery as value:
                    assert value != 3
        queue.clear()
    assert "earlier" not in command.ok("show", "worker")
    with consumer.run(again=True) as run:
        queue.push(20)
        for delivery in run.consume(queue):
            with delivery:
                text = command.ok("show", "worker")
    words = [line.split() for line in text.splitlines()]
    runs, tasks = words[words.index(["Runs"]) + 2 :][:11], words[words.index(["Tasks"]) + 2 :]
    assert " ".join(runs[0]) == "- - - - 11 earlier runs: 10 completed, 1 failed"
    assert [line[0] for line in runs[1:]] == [str(number) for number in range(12, 22)]
    assert " ".join(tasks[0]) == "inbox/files - - - - 11 earlier attempts: 10 completed, 1 failed"
    assert [line[0] for line in tasks[1:11]] == [f"inbox/files#{number}" for number in range(12, 22)]
    text = command.ok("show", "worker", "--full")
    assert "earlier" not in text
    assert "inbox/files#1 " in text
    document = parse("show", command.ok("show", "worker", "--format", "json"))
    assert (len(document["runs"]), len(document["tasks"][0]["attempts"])) == (21, 21)


@pytest.mark.long_on_postgresql(False)
def test_show_one_queue_and_only_what_is_live(command: Commands, filled: Store) -> None:
    text = command.ok("show", "etl-24", "rows")
    assert text.startswith("Queue rows: 1 live of 2\n")
    assert "Tasks" not in text
    document = parse("show", command.ok("show", "etl-24", "rows", "--live", "--format", "json"))
    assert list(document["queues"]) == ["rows"]
    assert [one["seq"] for one in document["queues"]["rows"]["values"]] == [2]
    assert command.ok("show", "inbox", "--format", "value") == "b.csv\nc.csv\n"
    values = parse_lines("value", command.ok("show", "etl-24", "--format", "jsonl"))
    assert [one["id"] for one in values][:2] == ["etl-24/rows#1", "etl-24/rows#2"]
    result = command("show", "etl-24", "row")
    assert (result.code, result.out) == (3, "")
    assert "did you mean rows?" in result.err


def test_a_task_whose_result_was_given_back_says_so(command: Commands, filled: Store) -> None:
    with filled.session("again").run() as run:
        run.task("one", lambda: 1)
        standing = run.completed("one")
        assert standing is not None
        run.give_back(standing, "asked for")
        document = parse("show", command.ok("show", "again", "--format", "json"))
    assert document["tasks"][0]["status"] == "given back"
    assert document["tasks"][0]["result"] is None
    assert document["tasks"][0]["attempts"][0]["status"] == "completed"


@pytest.mark.on_sqlite
def test_values_are_cut_to_the_width_and_full_shows_them_whole(
    command: Commands, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.session("s").xcom["q"].push({"text": "x" * 5000})
    monkeypatch.setenv("COLUMNS", "60")
    text = command.ok("show", "s")
    assert max(map(len, text.splitlines())) <= 60
    assert "4.9 KiB" in text
    assert "dict" in text
    assert "x" * 5000 not in text
    assert "x" * 5000 in command.ok("show", "s", "--full")


@pytest.mark.on_sqlite
def test_nothing_stored_reaches_a_terminal_as_a_control_character(command: Commands, store: Store) -> None:
    evil = "\x1b[2Jboo\x07\r\u202e"
    store.session("s").xcom[f"queue {evil}"].push(evil)
    with store.session("t").run(task=evil, project=evil) as run:
        with pytest.raises(Broken), run.attempt(evil):
            raise Broken(evil)
        store.database.execute(sa.text("UPDATE zrb_run SET host = :evil"), {"evil": evil})
        store.database.execute(sa.text("UPDATE zrb_session SET parent = :evil"), {"evil": evil})
        shown = [command(*args) for args in (["list"], ["show", "s"], ["show", "t"], ["log", "t"])]
        assert {result.code for result in shown} == {0}
        text = "".join(result.out + result.err for result in shown)
    assert all(char.isprintable() or char == "\n" for char in text)
    assert "boo" in text
