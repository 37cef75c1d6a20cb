"""`zrb-store consume` for one value: what the command gets, what becomes of it, and what is said about it."""

from __future__ import annotations

import json
import os
import re
import shutil

import pytest

from tests.shell.consumers import Shell, fill
from tests.support.commands import Commands
from tests.support.rows import all_rows, query, states
from zrb_store import Store

pytestmark = [pytest.mark.long_on_postgresql, pytest.mark.usefixtures("sound")]


def test_a_command_that_succeeds(store: Store, shell: Shell) -> None:
    fill(store, "a.csv", "b.csv")
    ended = shell.sh('cat; echo " $1"; echo oops >&2')
    assert (ended.code, ended.out) == (0, "a.csv a.csv\n")
    assert ended.err.splitlines()[0] == "oops"
    said = ended.err.splitlines()[1]
    assert said.startswith("inbox/files#1: completed in ")
    assert states(store, "inbox", "files") == [("a.csv", "taken"), ("b.csv", "live")]
    (session,) = store.sessions(status="completed")
    assert session.name == f"consume.{os.uname().nodename}.1"


@pytest.mark.promise(number=10)
def test_a_command_that_fails(store: Store, shell: Shell, command: Commands) -> None:
    fill(store, "a.csv")
    ended = shell.sh('echo "about $1"; echo no room >&2; exit 7')
    assert (ended.code, ended.out) == (1, "about a.csv\n")
    assert ended.err.splitlines() == ["no room", "inbox/files#1: sh exited with 7: no room (given back, delivery 1)"]
    assert states(store, "inbox", "files") == [("a.csv", "live")]
    (session,) = store.sessions(status="failed")
    assert "CommandFailed: sh exited with 7: no room" in command.ok("show", session.name)
    assert "about a.csv\nno room\nCommandFailed: sh exited with 7: no room\n" in command.ok("log", session.name)
    assert json.loads(command.ok("log", session.name, "--format", "jsonl"))["error"] == {
        "type": "CommandFailed",
        "message": "sh exited with 7: no room",
        "traceback": "about a.csv\nno room\nCommandFailed: sh exited with 7: no room",
    }


@pytest.mark.on_sqlite
@pytest.mark.parametrize(
    ("value", "text"),
    [("a b\n", "a b\n"), ("", ""), ("12", "12"), (12, "12"), ({"a": [1, None]}, '{"a":[1,null]}'), (None, "null")],
)
def test_text_as_it_is_and_anything_else_as_json(store: Store, shell: Shell, value: object, text: str) -> None:
    fill(store, value)
    ended = shell.sh('printf "<%s><%s>" "$1" "$2"; cat', "-q")
    assert ended == (0, f"<{text}><>{text}", "")


@pytest.mark.on_sqlite
def test_an_empty_queue_is_said_and_leaves_no_session(store: Store, shell: Shell) -> None:
    assert "'inbox' after 0.1 s" in shell.sh("touch started", "--wait", "0.1").err
    store.session("inbox").xcom["file"].push(1)
    assert "'files'; did you mean file?" in shell.sh("touch started").err
    store.session("inbox").xcom["files"].extend([1])
    store.session("inbox").xcom["files"].pop()
    before = all_rows(store)
    for options in ((), ("--wait", "0.1"), ("--all",), ("--as", "me"), ("--all", "--wait", "0.1", "-j", "3")):
        ended = shell.sh("touch started", *options)
        assert (ended.code, ended.out, ended.err.count("\n")) == (3, "", 1)
        assert "'files' of session inbox" in ended.err
        assert ("after 0.1 s" in ended.err) == ("--wait" in options)
    assert shell.sh("touch started", "-q") == (3, "", "")
    assert all_rows(store) == before
    assert not (shell.folder / "started").exists()


@pytest.mark.on_sqlite
def test_quiet_prints_what_the_command_prints_alone(store: Store, shell: Shell) -> None:
    fill(store, "a", "b")
    assert shell.sh("echo $1; exit 3", "-q") == (1, "a\n", "")
    assert shell.sh("echo $1", "-q") == (0, "a\n", "")


def test_what_waits_gets_a_new_value(store: Store, shell: Shell, command: Commands) -> None:
    consumer = shell.start_sh('echo "got $1"', "--wait", "300", "--as", "me")
    command.ok("push", "inbox", "files", "--text", "new")
    ended = consumer.wait()
    assert (ended.code, ended.out) == (0, "got new\n")


@pytest.mark.promise(number=10)
@pytest.mark.slow
def test_what_the_command_pushes_and_pops_belongs_to_the_delivery(store: Store, shell: Shell) -> None:
    store.session("other").xcom["q"].push("theirs")
    fill(store, "a", "b")
    script = """
        zrb-store push @this done "$1-done" --text
        zrb-store push elsewhere done "$1-done" --text
        zrb-store pop other q
        test "$1" = b || exit 5
    """
    ended = shell.sh(script, "--as", "me")
    assert (ended.code, ended.out) == (1, "theirs\n")
    assert states(store, "other") == [("theirs", "live")]
    assert states(store, "me", "done") == states(store, "elsewhere", "done") == [("a-done", "retracted")]
    store.session("inbox").xcom["files"].popleft()
    assert shell.sh(script, "--as", "me").code == 0
    assert states(store, "other") == [("theirs", "taken")]
    done = [("a-done", "retracted"), ("b-done", "live")]
    assert states(store, "me", "done") == states(store, "elsewhere", "done") == done


def test_a_command_that_pushes_after_its_end_is_refused(store: Store, shell: Shell) -> None:
    fill(store, "a")
    script = "(exec >/dev/null 2>&1; sleep 0.2; zrb-store push x y 1; echo $? >late) & exit 0"
    assert shell.sh(script).code == 0
    assert shell.until_file("late") == "75"


def test_a_command_that_takes_too_long(store: Store, shell: Shell) -> None:
    fill(store, "a")
    ended = shell.sh("echo working; sleep 1000", "--timeout", "0.3")
    assert ended.code == 1
    # A slow machine does not get as far as the first line.
    assert re.fullmatch(r"inbox/files#1: sh timed out after 0\.3 s(: working)? \(given back, delivery 1\)\n", ended.err)
    assert query(store, "SELECT error_type FROM zrb_attempt") == [("CommandTimedOut",)]


@pytest.mark.promise(number=10)
@pytest.mark.on_sqlite
def test_one_name_night_after_night(store: Store, shell: Shell) -> None:
    fill(store, "a", "b", "c")
    assert [shell.sh(f"exit {code}", "--as", "night").code for code in (0, 1, 0, 0)] == [0, 1, 0, 0]
    outcomes = query(store, "SELECT status FROM zrb_run ORDER BY number")
    assert outcomes == [("completed",), ("failed",), ("completed",), ("completed",)]
    store.session("inbox").xcom["more"].push("x")
    ended = shell.sh("exit 0", "--as", "night", queue="more")
    assert ended.code == 65
    assert len(ended.err.splitlines()) == 1
    assert "night" in ended.err
    assert states(store, "inbox", "more") == [("x", "live")]


@pytest.mark.on_sqlite
def test_two_under_one_name(store: Store, shell: Shell) -> None:
    fill(store, "a", "b")
    first = shell.start_sh("echo x >started; while [ ! -e go ]; do sleep 0.05; done", "--as", "me")
    shell.until_file("started")
    for queue in ("files", "empty"):
        ended = shell.sh("exit 0", "--as", "me", queue=queue)
        assert ended.code == 75
        assert len(ended.err.splitlines()) == 1
        assert f"session me is being run by pid {first.pid}" in ended.err
    (shell.folder / "go").touch()
    assert first.wait().code == 0
    assert shell.sh("exit 0", "--as", "me").code == 0


@pytest.mark.on_sqlite
def test_consumers_at_once_get_numbered_names(store: Store, shell: Shell) -> None:
    fill(store, *range(6))
    script = "echo x >started-$1; while [ ! -e go-$1 ]; do sleep 0.05; done"
    running = []
    for value in range(3):
        running.append(shell.start_sh(script))
        shell.until_file(f"started-{value}")

    def numbers(*statuses: str) -> list[str]:
        return sorted(one.name.rpartition(".")[2] for one in store.sessions() if one.status in statuses)

    assert numbers("running") == ["1", "2", "3"]
    (shell.folder / "go-1").touch()
    assert running[1].wait().code == 0
    assert shell.sh("exit 0").code == 0
    assert (numbers("running"), numbers("completed")) == (["1", "3"], ["2"])
    running[0].kill()
    shell.until(lambda: shell.sh("exit 0", "--wait", "1").code == 0, "no value")
    assert numbers("running") == ["3"]
    assert numbers("running", "completed") == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("inbox", "files"), "Missing argument '-- COMMAND...'"),
        (("inbox", "files", "--"), "Missing argument '-- COMMAND...'"),
        (("inbox",), "Missing argument 'QUEUE'"),
        (("inbox", "files", "--", "no-such-command"), "'no-such-command' does not exist or may not be executed"),
        (("inbox", "files", "--", "./data"), "'./data' does not exist or may not be executed"),
        (("inbox", "files", "--", "."), "'.' does not exist or may not be executed"),
        (("inbox", "files", "--", "{}"), "a value cannot be the command"),
        (("inbox", "files", "-j", "0", "--all", "--", "true"), "0 is not a number from 1 to 1,000"),
        (("inbox", "files", "-j", "two", "--all", "--", "true"), "'two' is not a whole number"),
        (("inbox", "files", "-j", "2", "--", "true"), "-j is for --all or --forever"),
        (("inbox", "files", "--all", "--forever", "--", "true"), "give one of them"),
        (("inbox", "files", "--forever", "--wait", "1", "--", "true"), "leave out --wait"),
        (("inbox", "files", "--wait", "-1", "--", "true"), "is not a number of seconds"),
        (("inbox", "files", "--wait", "nan", "--", "true"), "is not a number of seconds"),
        (("inbox", "files", "--timeout", "soon", "--", "true"), "is not a number of seconds"),
        (("inbox", "files", "--as", "-me", "--", "true"), "cannot name a session"),
        (("inbox", "files", "--as", "@this", "--", "true"), "cannot name a session"),
        (("@last", "files", "--", "true"), "give its full name"),
        (("in/box", "files", "--", "true"), "cannot name a session"),
        (("inbox", "\0", "--", "true"), "NUL"),
    ],
)
@pytest.mark.parametrize("location", ["sqlite"], indirect=True)  # what is refused before a store is asked
def test_a_mistake_is_one_line_and_takes_nothing(store: Store, shell: Shell, args: tuple[str, ...], says: str) -> None:
    fill(store, "a")
    (shell.folder / "data").write_text("no program")
    before = all_rows(store)
    ended = shell(*args)
    assert (ended.code, ended.out) == (2, "")
    assert says in ended.err
    assert len(ended.err.splitlines()) == 1
    assert all_rows(store) == before


@pytest.mark.on_sqlite
def test_a_value_that_cannot_be_an_argument(store: Store, shell: Shell) -> None:
    fill(store, "a\0b", "x" * 5_000_000, "good")
    ended = shell("inbox", "files", "--all", "--", "echo", "{}")
    assert (ended.code, ended.out) == (1, "good\n")
    assert ended.err.splitlines()[0] == (
        "inbox/files#1: the value contains NUL, as no argument can: read it from stdin instead of {} "
        "(given back, delivery 1)"
    )
    assert "inbox/files#2: the value is too long for an argument" in ended.err
    assert shell("inbox", "files", "--all", "-q", "--", "wc", "-c").out.split() == ["3", "5000000"]


def test_a_huge_value_that_is_not_read(store: Store, shell: Shell) -> None:
    fill(store, "x" * (16 * 1024 * 1024 - 2))
    assert shell("inbox", "files", "--", "true").code == 0
    assert states(store, "inbox", "files")[0][1] == "taken"


@pytest.mark.on_sqlite
def test_a_command_that_disappears(store: Store, shell: Shell) -> None:
    shutil.copy("/bin/sh", shell.folder / "mine")
    fill(store, "a", "b")
    ended = shell("inbox", "files", "--all", "--", "./mine", "-c", "rm mine")
    assert ended.code == 1
    assert [state for _, state in states(store, "inbox", "files")] == ["taken", "live"]
    assert query(store, "SELECT failed_deliveries FROM zrb_value") == [(0,), (0,)], "that was no fault of the value"
    assert query(store, "SELECT status FROM zrb_run") == [("failed",)]


def test_a_value_that_cannot_be_decoded_is_given_as_it_is_stored(store: Store, shell: Shell) -> None:
    fill(store, {1: b"x", "s": {2}})
    ended = shell("inbox", "files", "-q", "--", "cat")
    assert ended.code == 0
    assert ended.out


@pytest.mark.on_sqlite
def test_secrets_of_a_command_are_not_stored(store: Store, shell: Shell, command: Commands) -> None:
    fill(store, "a")
    script = "echo postgresql://me:hunter22@db/x; echo no postgresql://me:hunter22@db/x >&2; exit 1"
    ended = shell("inbox", "files", "--", "sh", "-c", script, "--password=hunter22", "--token", "hunter22")
    assert ended.out == "postgresql://me:hunter22@db/x\n"  # what the command writes is its own affair
    printed, ours = ended.err.splitlines()
    assert printed == "no postgresql://me:hunter22@db/x"
    assert "exited with 1: no postgresql://me:***@db/x" in ours
    for name in ("show", "log"):
        assert "hunter22" not in command.ok(name, store.sessions(status="failed")[0].name)
    assert "hunter22" not in repr(all_rows(store))


def test_the_queue_of_the_consumers_own_session(store: Store, shell: Shell) -> None:
    fill(store, "a", "b")
    assert shell.sh("exit 1", "--as", "inbox").code == 1
    assert [state for _, state in states(store, "inbox", "files")] == ["live", "live"]
    assert shell.sh("exit 0", "--as", "inbox").code == 0
    assert [state for _, state in states(store, "inbox", "files")] == ["taken", "live"]


@pytest.mark.on_sqlite
def test_the_session_may_be_this(store: Store, shell: Shell) -> None:
    with store.session("flow").run() as run, run.attempt("load") as attempt:
        store.session("flow").xcom["files"].push("mine")
        ended = shell("@this", "files", "-q", "--", "cat", ZRB_STORE_ATTEMPT=attempt.token)
        assert ended == (0, "mine", "")
