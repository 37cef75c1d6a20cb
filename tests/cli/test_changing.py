"""The commands push, pop and mark, which change a store by hand and record who did it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.attempts import Broken, failing
from tests.support.commands import Commands
from tests.support.sessions import changes
from zrb_store import Store, codec
from zrb_store.queries import attempts
from zrb_store.render.format import shell_text

pytestmark = pytest.mark.long_on_postgresql


# -- push and pop


@pytest.mark.parametrize(
    ("given", "printed"),
    [
        ('"a text"', "a text"),
        ("-5", "-5"),
        ("-1.5e3", "-1500.0"),
        ("null", "null"),
        ('{"a": [1, true, "é"]}', '{"a":[1,true,"é"]}'),
        ('{"$": "tuple", "v": [1]}', None),
        ("1" + "0" * 4000, None),
    ],
)
def test_a_value_goes_through_a_queue(command: Commands, store: Store, given: str, printed: str | None) -> None:
    command.ok("push", "inbox", "q", given)
    assert store.session("inbox").xcom["q"].peek() == json.loads(given)
    taken = command.ok("pop", "inbox", "q")
    assert printed is None or taken == f"{printed}\n"
    assert command("pop", "inbox", "q").code == 3


@pytest.mark.on_sqlite
@pytest.mark.parametrize(
    ("given", "value"),
    [
        ("9" * 5000, 10**5000 - 1),
        ("-" + "9" * 5000, 1 - 10**5000),
        ('{"a": [' + "1" + "0" * 100_000 + ", 1.5]}", {"a": [10**100_000, 1.5]}),
        ("-" + "3" * 640, -(10**640 // 3)),
        ("7" * 639, 7 * (10**639 // 9)),
    ],
    ids=["nines", "negative", "among others", "640 digits", "639 digits"],
)
def test_an_int_may_have_any_size(command: Commands, store: Store, given: str, value: Any) -> None:
    command.ok("push", "inbox", "q", "-", stdin=given)
    assert bool(store.session("inbox").xcom["q"].peek() == value)
    with contextlib.suppress(Broken), store.session("etl").run() as run, run.attempt("load"):
        raise Broken
    if len(given) < 10_000:
        command.ok("mark", "etl", "load", "completed", "--result", given)
        assert bool(store.session("etl").xcom["load"].peek() == value)


@pytest.mark.parametrize(
    "given", ['{"$":1}', '[{"a":{"$":"tuple","v":[{"$":{"b":null}}]}}]', '{"$":[' + "7" * 700 + "]}"]
)
def test_what_went_in_as_json_comes_out_as_that_json(command: Commands, store: Store, given: str) -> None:
    command.ok("push", "inbox", "q", given)
    assert store.session("inbox").xcom["q"].peek() == json.loads(given)
    assert command.ok("get", "inbox", "q") == command.ok("show", "inbox", "q", "--format", "value") == f"{given}\n"
    assert shell_text(codec.to_json(codec.encode(json.loads(given)).data)) == given, "for a command of `consume`"
    assert json.loads(command.ok("pop", "inbox", "q", "--format", "json")) == json.loads(given)
    store.session("inbox").xcom["q"].push({1: {"$": (1,)}})
    assert command.ok("get", "inbox", "q") == '{"$":"dict","v":[[1,{"$":{"$":"tuple","v":[1]}}]]}\n', "no JSON"


@pytest.mark.on_sqlite
@pytest.mark.parametrize("digits", [2000, 3_000_000])
def test_an_int_over_the_limit_is_refused(command: Commands, monkeypatch: pytest.MonkeyPatch, digits: int) -> None:
    monkeypatch.setenv("ZRB_STORE_MAX_VALUE", "1000")
    result = command("push", "inbox", "q", "-", stdin="9" * digits)
    assert result.code == 1
    assert f"VALUE has a number of {digits:,} digits; the limit is 1,000 bytes, see ZRB_STORE_MAX_VALUE" in result.err


@pytest.mark.on_sqlite
@pytest.mark.parametrize("value", ["1e400", '{"a": [1, -1e400]}', "1" * 400 + ".0"])
def test_a_number_that_no_float_can_hold_is_refused(command: Commands, store: Store, value: str) -> None:
    result = command("push", "inbox", "q", value)
    assert (result.code, result.out) == (2, "")
    assert "but floats end at 1.8e308; write it as text" in result.err
    assert len(result.err) < 200
    assert store.sessions() == [], "nothing may be created"


@pytest.mark.on_sqlite
def test_push_reads_text_and_standard_input(command: Commands, store: Store) -> None:
    command.ok("push", "inbox", "q", "not json", "--text")
    command.ok("push", "inbox", "q", "-", "--text", stdin="one\ntwo\n")
    command.ok("push", "inbox", "q", "-", "--text", stdin="")
    command.ok("push", "inbox", "q", "-", stdin='["json"]\n')
    assert list(store.session("inbox").xcom["q"]) == ["not json", "one\ntwo", "", ["json"]]
    assert command.ok("pop", "inbox", "q", "--format", "json") == '"not json"\n'


@pytest.mark.on_sqlite
@pytest.mark.parametrize("value", ["", "word", "NaN", '{"a":', "[" * 100_000])
def test_what_is_not_json_is_refused(command: Commands, store: Store, value: str) -> None:
    result = command("push", "inbox", "q", value)
    assert result.code == 2
    assert "VALUE is not JSON (" in result.err
    assert result.err.split(" (see ")[0].endswith("; --text stores it as it is")
    assert command("push", "inbox", "q", "-", "--text", stdin=b"\xff").code == 2
    assert store.sessions() == [], "nothing may be created"


@pytest.mark.on_sqlite
def test_wrong_names_are_refused(command: Commands, store: Store) -> None:
    store.session("inbox").xcom["q"].push(0)
    assert command("push", "not a name", "q", "1").code == 2
    assert command("push", "@last", "q", "1").code == 2
    assert command("push", "@this", "q", "1").code == 2
    assert command("pop", "inbox", "q", "--wait", "-1").code == 2
    assert command("push", "inbox", "q").code == 2
    refused = command("push", "inbox", "\udcff", "1")
    assert (refused.code, "'\\udcff' cannot name a queue" in refused.err) == (2, True)
    refused = command("pop", "inbox", "\udcff")
    assert (refused.code, "not UTF-8" in refused.err) == (2, True)
    refused = command("push", "inbox", "q" * 2001, "1")
    assert (refused.code, "more than 2,000 bytes" in refused.err) == (2, True)
    for words in (["push", "inbox", "", "1"], ["queue", "inbox", "", "--max-deliveries", "1"]):
        refused = command(*words)
        assert (refused.code, "the name of the queue is empty" in refused.err) == (2, True)
    assert list(store.session("inbox").xcom) == ["q"], "no queue may be created"


@pytest.mark.on_sqlite
def test_a_value_over_the_limit_is_refused(command: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZRB_STORE_MAX_VALUE", "100")
    assert command("push", "inbox", "q", "x" * 101, "--text").code == 1


def test_each_push_and_pop_is_recorded(command: Commands, store: Store) -> None:
    command.ok("push", "inbox", "q", "1")
    command.ok("pop", "inbox", "q")
    command("pop", "inbox", "q")
    assert changes(store) == [("push", "inbox", "q#1"), ("pop", "inbox", "q#1")]


def test_pop_makes_no_session_and_no_queue(command: Commands, store: Store) -> None:
    assert command("pop", "nowhere", "q").code == 3
    store.session("inbox").xcom["q"].push(1)
    assert command("pop", "inbox", "other").code == 3
    assert [session.name for session in store.sessions()] == ["inbox"]
    assert list(store.session("inbox").xcom) == ["q"]


def test_pop_waits_for_a_value(command: Commands, store: Store) -> None:
    pusher = threading.Timer(0.2, lambda: store.session("inbox").xcom["q"].push("late"))
    pusher.start()
    assert command.ok("pop", "inbox", "q", "--wait", "60") == "late\n"
    pusher.join()


def test_pop_waits_no_longer_than_asked(command: Commands) -> None:
    began = time.monotonic()
    result = command("pop", "inbox", "q", "--wait", "0.3")
    assert (result.code, "there is no session 'inbox' after 0.3 s; `zrb-store list`" in result.err) == (3, True)
    assert time.monotonic() - began >= 0.3


@pytest.mark.parametrize("wait", [[], ["--wait", "0.1"]])
def test_pop_says_what_there_is_not_and_what_is_like_it(command: Commands, store: Store, wait: list[str]) -> None:
    store.session("inbox").xcom["files"].push(1)
    after = " after 0.1 s" if wait else ""

    def said(*args: str) -> str:
        result = command("pop", *args, *wait)
        assert (result.code, result.out) == (3, "")
        return result.err.strip()

    assert said("inbxo", "files") == f"zrb-store: there is no session 'inbxo'{after}; did you mean inbox?"
    assert said("zzz", "files") == f"zrb-store: there is no session 'zzz'{after}; `zrb-store list` shows all sessions"
    assert said("inbox", "flies") == f"zrb-store: session inbox has no queue 'flies'{after}; did you mean files?"
    assert said("inbox", "zzz") == f"zrb-store: session inbox has no queue 'zzz'{after}"
    command.ok("pop", "inbox", "files")
    assert said("inbox", "files") == f"zrb-store: queue 'files' of session inbox is empty{after}"


@pytest.mark.promise(number=4)
@pytest.mark.slow
def test_each_value_goes_to_one_of_many_waiting(location: str) -> None:
    environment = {**os.environ, "ZRB_STORE_URL": location, "PYTHONPATH": str(Path(__file__).parents[2])}
    code = "from zrb_store.cli import main; main()"
    command = [sys.executable, "-c", code]
    takers = [
        subprocess.Popen([*command, "pop", "inbox", "q", "--wait", "60"], stdout=subprocess.PIPE, env=environment)
        for _ in range(3)
    ]
    for number in range(3):
        subprocess.run([*command, "push", "inbox", "q", str(number)], check=True, env=environment)
    assert sorted(taker.communicate()[0] for taker in takers) == [b"0\n", b"1\n", b"2\n"]
    assert {taker.returncode for taker in takers} == {0}


# -- inside a task


def test_inside_a_task_they_belong_to_the_attempt(
    command: Commands, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, inbox = store.session("s"), store.session("inbox").xcom["files"]
    inbox.extend(["a", "b"])
    with session.run() as run:
        attempt = run.begin("load")
        monkeypatch.setenv("ZRB_STORE_ATTEMPT", attempt.token)
        assert command.ok("pop", "inbox", "files") == "a\n"
        command.ok("push", "@this", "loaded", "1")
        assert (list(inbox), list(session.xcom["loaded"])) == (["b"], [1])
        attempt.fail()
        with run.attempt("load"):
            assert (list(inbox), list(session.xcom["loaded"])) == (["a", "b"], []), "given back"
        assert command("pop", "inbox", "files").code == 75
        assert command("push", "inbox", "files", "1").code == 75
        assert list(inbox) == ["a", "b"]
    assert changes(store) == [], "the attempt already records who did it"


@pytest.mark.slow
def test_waiting_ends_with_the_attempt(command: Commands, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with store.session("s").run() as run:
        attempt = run.begin("load")
        monkeypatch.setenv("ZRB_STORE_ATTEMPT", attempt.token)
        ending = threading.Timer(0.2, attempt.complete)
        ending.start()
        assert command("pop", "inbox", "files", "--wait", "60").code == 75
        ending.join()


# -- mark


def fail_at(store: Store, task: str) -> None:
    store.session("etl").xcom["in"].push(1)
    run = store.session("etl").run(task="load").start()
    run.note_tasks({"extract": "not started", "load": "not started"})
    run.begin(task).xcom["in"].pop()
    run.end("failed")


def test_a_step_mended_by_hand_is_not_run_again(command: Commands, store: Store) -> None:
    fail_at(store, "extract")
    assert command.ok("mark", "etl", "extract", "completed", "--result", '{"rows": 12}') == "etl/extract#2\n"
    session = store.session("etl")
    assert list(session.xcom["in"]) == [1], "what the failed attempt took must be given back"
    assert list(session.xcom["extract"]) == [{"rows": 12}]
    made = attempts.by_name(store.database, "etl", "extract", 2)
    assert made is not None
    assert (made.kind, made.status, made.run_id) == ("manual", "completed", None)
    with session.run() as run:
        assert run.task("extract", dict) == {"rows": 12}
        run.task("load", lambda: "loaded")
    assert session.status == "completed"
    assert changes(store) == [("mark", "etl", "extract#2 completed")]


def test_without_a_result_nothing_is_pushed(command: Commands, store: Store) -> None:
    fail_at(store, "extract")
    command.ok("mark", "etl", "extract", "completed")
    assert "extract" not in store.session("etl").xcom
    command.ok("mark", "etl", "load", "completed", "--result", "null")
    assert list(store.session("etl").xcom["load"]) == [None]


def test_a_task_that_never_began_is_marked_only_on_purpose(command: Commands, store: Store) -> None:
    with store.session("etl").run() as run, contextlib.suppress(Broken):
        failing(run, "load", lambda: None)
    store.session("inbox").xcom["q"].push(1)
    for session, known in (("etl", "load"), ("inbox", "none")):
        refused = command("mark", session, "laod", "completed")
        hint = f"session {session} has no task laod; it has: {known}; --new marks one that has not begun yet"
        assert refused == (3, "", f"zrb-store: {hint}\n")
    assert changes(store) == []
    assert command.ok("mark", "etl", "report", "completed", "--new") == "etl/report#1\n"
    assert command.ok("mark", "etl", "load", "completed") == "etl/load#2\n"
    fail_at(store, "extract")
    refused = command("mark", "etl", "lod", "completed", "--new")
    assert (refused.code, "it has: extract, load" in refused.err) == (3, True), "its tasks are listed"


def test_a_main_task_that_was_skipped_can_be_marked(command: Commands, store: Store) -> None:
    with store.session("etl").run(task="load") as run:
        run.note_tasks({"load": "skipped"})
    assert command.ok("mark", "etl", "load", "completed") == "etl/load#1\n"


def test_a_live_session_cannot_be_marked(command: Commands, store: Store) -> None:
    with store.session("etl").run():
        result = command("mark", "etl", "extract", "completed")
        assert (result.code, f"by pid {os.getpid()} on " in result.err) == (75, True)
        assert result.err.endswith("wait for it\n")


def test_what_cannot_be_marked(command: Commands, store: Store) -> None:
    fail_at(store, "extract")
    assert command("mark", "etl", "extract", "failed").code == 2
    assert command("mark", "etl", "extract", "completed", "--result", "word").code == 2
    assert command("mark", "elt", "extract", "completed").code == 3
    unknown = command("mark", "etl", "lod", "completed")
    assert (unknown.code, "it has: extract, load" in unknown.err) == (3, True)
    command.ok("mark", "etl", "extract", "completed")
    assert "has completed in session etl already" in command("mark", "etl", "extract", "completed").err
    with store.session("etl").run():
        pass
    assert "has completed: there is nothing left" in command("mark", "etl", "load", "completed").err
    assert len(changes(store)) == 1


# -- help


@pytest.mark.on_sqlite
@pytest.mark.parametrize("name", ["push", "pop", "fork", "mark"])
def test_help_has_an_example(command: Commands, name: str) -> None:
    assert f"zrb-store {name} " in command.ok(name, "--help").partition("Example")[2]
