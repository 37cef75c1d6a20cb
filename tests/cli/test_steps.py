"""What `show`, `get` and `trace` show of steps, and how their attempts are named."""

from __future__ import annotations

import re

import pytest

from tests.support.attempts import start
from tests.support.commands import Commands
from tests.support.sessions import parse, parse_lines, show
from tests.support.stepping import attempt_of, fail, rows
from zrb_store import Store
from zrb_store.attempt import Step
from zrb_store.queries import steps
from zrb_store.runtime import lease
from zrb_store.testing import expire_lease

# -- show


def test_show_as_json_has_the_steps_of_each_task(command: Commands, night: Store) -> None:
    with night.session("night").run() as run:
        run.task("report", int)
        document = parse("show", command.ok("show", "night", "--format", "json"))
    convert, report = document["tasks"]
    assert "steps" not in report
    assert [(step["id"], step["name"], step["status"], step["once"], step["result"]) for step in convert["steps"]] == [
        ("convert/1", "page 1", "completed", False, {"$": "tuple", "v": ["a.csv", 2.5]}),
        ("convert/2", "charge", "completed", True, 7),
        ("convert/3", "mail", "failed", False, None),
        ("convert/4", "notify", "completed", False, None),
    ]
    failed = convert["steps"][2]["attempts"]
    assert [(each["number"], each["run"], each["status"]) for each in failed] == [(1, 1, "failed"), (2, 1, "failed")]
    assert failed[0]["error"] == {"type": "Broken", "message": "no column 'price'\nin row 3"}


@pytest.mark.on_sqlite
def test_show_draws_steps_under_their_task(command: Commands, night: Store) -> None:
    text = command.ok("show", "night")
    assert rows(text) == [
        "convert#1 failed 1 Broken: too many rows",
        'convert/1 completed 1 page 1 = ("a.csv", 2.5)',
        "convert/2 completed 1 charge (once) = 7",
        "convert/3 failed 1 mail (2 attempts): Broken: no column 'price' in row 3",
        "convert/4 completed 1 notify",
    ]
    assert "  convert/1 " in text
    assert (
        "Steps:    a resume keeps the results of 3 steps of convert, except with --from convert"
    ) in text.splitlines()


@pytest.mark.on_sqlite
def test_many_steps_are_folded(command: Commands, many_steps: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for option in ("--steps", "--full"):
        shown = rows(command.ok("show", "night", option))
        assert [row.split()[0] for row in shown] == ["convert#1", *(f"convert/{number}" for number in range(1, 58))]
        assert shown[4] == "convert/4 completed 1 page 3 (2 attempts) = {}"
    assert "convert/57" in command.ok("show", "night", "--watch", "--steps")
    assert len(parse("show", command.ok("show", "night", "--format", "json"))["tasks"][0]["steps"]) == 57
    monkeypatch.setattr("zrb_store.queries.show.steps_of_task", None)
    assert rows(command.ok("show", "night"))[1:] == ["convert - - - - 57 steps, 3 failed attempts"], "no result is read"


def test_steps_that_were_given_back_say_so(command: Commands, night: Store) -> None:
    with night.session("night").run() as run:
        run.task("convert", int)
        standing = run.completed("convert")
        assert standing is not None
        run.give_back(standing, "asked for")
        text = command.ok("show", "night")
        document = parse("show", command.ok("show", "night", "--format", "json"))
    assert "convert/1 given back 1 page 1" in rows(text)
    assert {(step["status"], step["result"]) for step in document["tasks"][0]["steps"]} == {
        ("given back", None),
        ("failed", None),
    }
    assert "0 steps of convert completed; 3 completed and were given back." in command.ok("log", "night")
    of_step = command.ok("log", "night", "convert/1")
    assert ("Given back 2" in of_step, "Its result" in of_step) == (True, False)
    result = command("get", "night", "convert/1", "--result")
    assert "(night/convert/1#1) has completed, and was given back" in result.err


@pytest.mark.on_sqlite
def test_a_result_that_could_not_be_stored(command: Commands, store: Store) -> None:
    with attempt_of(store, fails=True) as attempt, pytest.warns(RuntimeWarning):
        attempt.step("make", object)
    assert rows(command.ok("show", "night"))[1].startswith("convert/1 completed 1 make (not restorable) = <object")
    found = parse("step_result", command.ok("get", "night", "convert/1", "--result", "--format", "json"))
    assert not found["restorable"]


def test_a_lost_step_is_pending(command: Commands, store: Store) -> None:
    store.session("night").xcom["in"].push("a")
    run = start(store, "night")
    attempt = run.begin("convert")
    begun = steps.begin(store.database, attempt.id, "convert", 1, steps.NewStep("page", "[[],{}]"))
    assert begun is not None
    Step(attempt, begun.id, "convert/1", begun.number, "page").xcom["in"].pop()
    assert "convert/1 running" in rows(command.ok("show", "night"))[1]
    lease.stop_renewing(run)
    expire_lease(store.session("night"))
    text = command.ok("show", "night")
    assert "convert/1 lost" in rows(text)[1]
    assert "Pending:  values that convert/1#1 took" in text
    assert "convert/1#1 (page) lost in convert#1, run 1" in command.ok("log", "night")
    assert "took" not in command.ok("log", "night", "convert/1")


# -- ids of steps


def test_values_name_the_steps_that_pushed_and_took_them(command: Commands, night: Store) -> None:
    document = parse("show", command.ok("show", "night", "--format", "json"))
    assert document["queues"]["done"]["values"][0]["pushed_by"] == "convert/1#1"
    with attempt_of(night, fails=True) as attempt:

        def take_and_fail() -> None:
            attempt.xcom["done"].pop()
            night.session("inbox").xcom["files"].pop()
            assert "held by convert/5#1 for" in command.ok("show", "night", "done")
            assert re.search(r"held by night/convert/5#1 for .* \(alive\)", command.ok("show", "inbox"))
            assert "held by night/convert/5#1 (alive)" in command.ok("list")
            fail()

        attempt.step("take", take_and_fail)
    done = parse("show", command.ok("show", "night", "--format", "json"))["queues"]["done"]["values"][0]
    assert [each["taken_by"] for each in done["returns"]] == ["convert/5#1"]
    files = parse("show", command.ok("show", "inbox", "--format", "json"))["queues"]["files"]["values"]
    assert (files[0]["taken_by"], files[1]["returns"][0]["taken_by"]) == ("night/convert/1#1", "night/convert/5#1")
    assert "given back by night/convert/5#1" in command.ok("show", "inbox")


def test_trace_names_id_and_name_of_a_step(command: Commands, night: Store) -> None:
    with attempt_of(night, fails=True) as attempt:

        def take_and_fail() -> None:
            attempt.xcom["done"].pop()
            fail()

        attempt.step("take", take_and_fail)
    events = parse_lines("event", command.ok("trace", "night/done#1", "--format", "jsonl"))
    assert [(each["event"], each["by"], each["step"]) for each in events] == [
        ("pushed", "convert/1#1", "page 1"),
        ("taken", "convert/5#1", "take"),
        ("given back", "convert/5#1", "take"),
    ]
    assert "convert/5#1 (take)" in command.ok("trace", "night/done#1")


def test_steps_are_no_tasks(command: Commands, night: Store) -> None:
    assert command.ok("list").splitlines()[1].split()[8:10] == ["0/1", "-"]
    night.session("night").run().start()
    with attempt_of(night, "morning") as attempt:
        attempt.step("page 1", int)
    assert command("last", "convert/1").code == 3
    assert [task["task"] for task in show(night.database, "morning")["tasks"]] == ["convert"]


def test_get_prints_the_result_of_a_step(command: Commands, night: Store) -> None:
    assert command.ok("get", "night", "convert/2", "--result") == "7\n"
    assert command.ok("get", "night", "convert/1", "--result", "--path", "$[0]") == "a.csv\n"
    found = parse("step_result", command.ok("get", "night", "convert/1", "--result", "--format", "json"))
    assert (found["id"], found["step"], found["value"]) == (
        "night/convert/1#1",
        "page 1",
        {"$": "tuple", "v": ["a.csv", 2.5]},
    )
    assert "Result of  night/convert/1#1\nStep       page 1\n" in command.ok(
        "get", "night", "convert/1", "--result", "--format", "table"
    )
    for task, advice in [
        ("convert/3", "step mail (night/convert/3#2) has not completed: it is failed"),
        ("convert/9", "has no task 'convert/9'"),
        ("convert", "task 'convert' of session night has not completed"),
    ]:
        result = command("get", "night", task, "--result")
        assert (result.code, result.out) == (3, "")
        assert advice in result.err


def test_a_task_of_the_name_goes_first(command: Commands, night: Store) -> None:
    with attempt_of(night, task="convert/1", fails=True):
        pass
    assert "convert/1#2 failed in run 2" in command.ok("log", "night", "convert/1")
    assert "page 1" not in command.ok("log", "night", "convert/1")
    assert command("get", "night", "convert/1", "--result").code == 3
    with night.session("night").run() as run:
        run.task("convert/1", str)
        assert command.ok("get", "night", "convert/1", "--result") == "\n"
        tasks = parse("show", command.ok("show", "night", "--format", "json"))["tasks"]
    assert [(task["task"], len(task["attempts"]), len(task.get("steps", ()))) for task in tasks] == [
        ("convert", 1, 4),
        ("convert/1", 2, 0),
    ]
