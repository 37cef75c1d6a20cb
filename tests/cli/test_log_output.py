"""`log` shows what attempts printed, and follows a session while it runs."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.commands import Commands
from tests.support.postgres import wait_until
from tests.support.sessions import parse, parse_lines
from zrb_store import Attempt, Store

pytestmark = pytest.mark.long_on_postgresql


@pytest.fixture
def talkative(store: Store) -> Store:
    """A session with a task that completed, one that failed, and one that printed nothing."""
    with contextlib.suppress(ValueError), store.session("s").run() as run:
        with run.attempt("quiet"):
            pass
        with run.attempt("fine") as attempt:
            attempt.log("all is well")
        with run.attempt("bad") as attempt:
            for number in range(1, 31):
                attempt.log(f"line {number}", stream="stdout" if number % 2 else "stderr")
            attempt.log("escape \x07 and \u202e", stream="print")
            raise ValueError("no")
    return store


@pytest.mark.on_sqlite
@pytest.mark.promise(number=12)
def test_log_shows_the_last_lines_under_what_failed(command: Commands, talkative: Store) -> None:
    text = command.ok("log", "s")
    lines = text.splitlines()
    (title,) = (place for place, line in enumerate(lines) if line.startswith("bad#1 failed in run 1"))
    assert lines[title + 1] == "[11 earlier lines: --all shows all that is kept]"
    shown = lines[title + 2 : title + 22]
    assert [line.split(None, 1)[1] for line in shown[:3]] == ["stderr  line 12", "stdout  line 13", "stderr  line 14"]
    assert shown[-1].endswith(" print   escape \\x07 and \\u202e")
    assert lines[title + 22].startswith("Traceback")
    assert "all is well" not in text
    assert "1 completed attempt printed something:  zrb-store log s --all\n" in text


class CmdTaskError(Exception):
    """What zrb raises if a command fails."""


@pytest.mark.on_sqlite
def test_why_a_command_failed_is_said_however_much_it_printed(command: Commands, store: Store) -> None:
    with contextlib.suppress(CmdTaskError), store.session("s").run() as run, run.attempt("psql") as attempt:
        attempt.log("the table is missing", stream="stderr")
        for number in range(30):
            attempt.log(f"line {number}", stream="stdout")
        raise CmdTaskError("the table is missing (exit 2)")
    for args in (["s"], ["s", "psql"]):
        text = command.ok("log", *args)
        assert re.search(r"^psql#1 failed in run 1, \S+ \S+Z, took .*s: the table is missing \(exit 2\)$", text, re.M)
        assert "stderr" not in text


def test_log_of_a_task_shows_what_it_printed_though_it_completed(command: Commands, talkative: Store) -> None:
    text = command.ok("log", "s", "fine")
    assert "fine#1 completed in run 1" in text
    assert text.splitlines()[-2].endswith("Z log     all is well") or "Z log     all is well\n" in text


def test_log_with_all_the_output(command: Commands, talkative: Store) -> None:
    text = command.ok("log", "s", "--all")
    for number in range(1, 31):
        assert f" line {number}\n" in text
    assert "all is well" in text
    assert "earlier" not in text
    bare = command.ok("log", "s", "--all", "--format", "value").splitlines()
    assert bare == ["all is well", *(f"line {number}" for number in range(1, 31)), "escape \x07 and \u202e"]


@pytest.mark.on_sqlite
def test_what_is_no_longer_kept_is_said(command: Commands, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZRB_STORE_OUTPUT_LIMIT", "100")
    with store.session("s").run() as run, run.attempt("load") as attempt:
        for number in range(1000):
            attempt.log(f"line {number:04}")
    text = command.ok("log", "s", "load")
    assert "[only the end of 9.8 KiB of output is kept]\n" in text
    assert " line 0999\n" in text


@pytest.mark.on_sqlite
def test_log_as_json_has_the_lines(command: Commands, talkative: Store) -> None:
    attempts = {each["attempt"]: each for each in parse("log", command.ok("log", "s", "--format", "json"))["attempts"]}
    assert attempts["quiet#1"]["output"] is None
    assert attempts["fine#1"]["output"]["bytes"] == len("all is well\n")
    assert [line["text"] for line in attempts["bad#1"]["output"]["lines"]][:2] == ["line 1", "line 2"]
    assert parse_lines("attempt", command.ok("log", "s", "--format", "jsonl")) == list(attempts.values())
    shown = parse("show", command.ok("show", "s", "--format", "json"))
    outputs = {task["task"]: task["attempts"][0]["output"] for task in shown["tasks"]}
    size = sum(len(f"line {number}\n") for number in range(1, 31)) + len("escape \x07 and \u202e\n".encode())
    assert outputs["bad"] == {"bytes": size, "truncated": False}


def test_a_damaged_piece_is_noted_and_left_out(command: Commands, talkative: Store) -> None:
    import sqlalchemy as sa

    talkative.database.execute(sa.text("UPDATE zrb_output SET data = '[[1]]' WHERE size > 100"))
    result = command("log", "s", "--format", "json")
    attempts = {each["attempt"]: each for each in parse("log", result.out)["attempts"]}
    assert attempts["bad#1"]["output"]["lines"] == []
    assert "the output of s/bad#1 (data)" in result.err


# -- following


@contextlib.contextmanager
def following(store: Store, *args: str) -> Iterator[subprocess.Popen[str]]:
    """Run `zrb-store log ARGS --follow` in a process of its own."""
    environment = {**os.environ, "ZRB_STORE_URL": store.database.url.render_as_string(hide_password=False)}
    command = [
        sys.executable,
        "-c",
        "import sys; from zrb_store import cli; sys.exit(cli.run(sys.argv[1:]))",
        "log",
        *args,
        "--follow",
    ]
    process = subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def log_and_store(attempt: Attempt, line: str) -> None:
    attempt.log(line)
    assert attempt.output is not None
    attempt.output.store()


@pytest.mark.slow
@pytest.mark.promise(number=12)
def test_log_follows_a_session_until_it_ends(store: Store) -> None:
    run = store.session("s").run().start()
    attempt = run.begin("load")
    log_and_store(attempt, "before")
    with following(store, "s") as process:
        assert process.stdout is not None
        assert process.stdout.readline().endswith(" log     before\n")
        log_and_store(attempt, "meanwhile")
        assert process.stdout.readline().startswith("load#1 ")
        attempt.log("last")
        attempt.complete()
        second = run.begin("report")
        second.log("of another task")
        second.complete()
        run.end("completed")
        out, err = process.communicate(timeout=600)
    # A server that does not answer at once is announced.
    told = [line for line in err.splitlines() if not line.startswith("zrb-store: the store ")]
    assert (process.returncode, told) == (0, [])
    first, other, end = out.splitlines()
    assert first.startswith("load#1 ")
    assert first.endswith(" last")
    assert other.startswith("report#1 ")
    assert end == "The session is completed."


@pytest.mark.on_sqlite
def test_following_one_task_as_json_lines(store: Store) -> None:
    run = store.session("s").run().start()
    with following(store, "s", "report", "--format", "jsonl") as process:
        for task in ("load", "report"):
            attempt = run.begin(task)
            attempt.log(f"said by {task}")
            attempt.complete()
        run.end("completed")
        out, err = process.communicate(timeout=600)
    assert (process.returncode, err) == (0, "")
    (line,) = parse_lines("line", out)
    assert (line["attempt"], line["stream"], line["text"]) == ("report#1", "log", "said by report")


@pytest.mark.slow
@pytest.mark.on_sqlite
def test_ctrl_c_ends_following_quietly(store: Store) -> None:
    run = store.session("s").run().start()
    attempt = run.begin("load")
    log_and_store(attempt, "before")
    with following(store, "s") as process:
        assert process.stdout is not None
        assert process.stdout.readline().endswith(" before\n")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=600)
    assert (process.returncode, out, err) == (0, "", "")
    run.end("completed")


@pytest.mark.on_sqlite
def test_following_what_has_ended_prints_its_last_lines(command: Commands, talkative: Store) -> None:
    lines = command.ok("log", "s", "--follow").splitlines()
    assert len(lines) == 21
    assert lines[-1] == "The session is failed."
    assert len(command.ok("log", "s", "--follow", "--all").splitlines()) == 33
    assert command.ok("log", "s", "fine", "--follow", "--format", "value") == "all is well\n"


@pytest.mark.on_sqlite
def test_what_cannot_be_followed(command: Commands, talkative: Store) -> None:
    assert "use --format jsonl" in command("log", "s", "--follow", "--format", "json").err
    unknown = command("log", "s", "fin", "--follow")
    assert unknown.code == 3
    assert "session s has no attempt of task 'fin'" in unknown.err
    assert command("log", "nothing", "--follow").code == 3


@pytest.mark.on_sqlite
def test_the_lines_are_those_of_the_newest_run(command: Commands, store: Store) -> None:
    for text in ("first", "second"):
        with contextlib.suppress(ValueError), store.session("s").run() as run, run.attempt("load") as attempt:
            attempt.log(text)
            raise ValueError
    found = [json.loads(line)["text"] for line in command.ok("log", "s", "--follow", "--format", "jsonl").splitlines()]
    assert found == ["second"]


@pytest.mark.on_sqlite
def test_show_says_where_the_output_is(command: Commands, store: Store) -> None:
    with store.session("s").run() as run, run.attempt("load") as attempt:
        attempt.log("said")
    assert "Log:      zrb-store log s\n" in command.ok("show", "s")


@pytest.mark.slow
def test_a_running_attempt_is_shown_with_what_it_printed(command: Commands, store: Store) -> None:
    run = store.session("s").run().start()
    attempt = run.begin("load")
    attempt.log("at work")
    wait_until(lambda: " log     at work\n" in command.ok("log", "s"), lambda: "it is not shown")
    assert "load#1 running in run 1" in command.ok("log", "s")
    attempt.complete()
    run.end("completed")
