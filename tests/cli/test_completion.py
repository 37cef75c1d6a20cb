"""TAB: what may follow in a command line, and that asking is safe at any time. The shells are in
test_completion_shells.py."""

from __future__ import annotations

import contextlib
import os
import shlex
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import click
import pytest

from tests.cli.shells import ODD
from tests.support.commands import Commands, without_notices
from tests.support.sessions import Broken, etl
from zrb_store import Store, cli, open_store, step
from zrb_store.cli import completion
from zrb_store.cli.command import app
from zrb_store.cli.command_table import COMMANDS
from zrb_store.cli.completion import candidates, sessions, sessions_to_change

# What a person has to know: TAB shows nothing.
FREE = {
    "LENGTH",
    "LENGTH|TIME",
    "N",
    "PATH",
    "VALUE",
    "SECONDS",
    "JSON",
    "NAME",
    "NAME=VALUE",
    "OLD=NEW",
    "PATTERN",
    "HOST",
    "PORT",
    "TEXT",
    "TIME",
    "TIMES",
}
FREE |= {
    "[--SECRET VALUE]...",
    "[--INPUT VALUE]...",
    "tokens=N,usd=N",
    "name",
    "new",
    "value",
    "queue",
}  # `queue` of `wait`: a script asks


@pytest.fixture
def complete(location: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[str]]:
    """What the last word of a line may become. A line that ends with a space has an empty last word."""
    monkeypatch.setenv("ZRB_STORE_URL", location)

    def complete(line: str) -> list[str]:
        *words, typed = shlex.split(line) + [""] * line.endswith(" ")
        return [item.value for item in candidates(words, typed)]

    return complete


@pytest.fixture
def shop(store: Store) -> Store:
    """Two sessions of three tasks, of which one failed, an inbox, a box of queues with odd names, a task with steps."""
    store.session("inbox").xcom["files"].extend(["a.csv", "b.csv"])
    for name in ODD:
        store.session("box").xcom[name].push(1)
    with store.session("paged").run() as run, run.attempt("fetch all") as attempt:
        step("page 1", lambda: 1)
        step("page 2", lambda: 2)
        attempt.complete(3)
    etl(store, "etl-24", broken=True)
    etl(store, "etl-25", broken=False)
    return store


# A line whose last word is not complete, and what this may become.
MAY_FOLLOW: dict[str, list[str]] = {
    "sh": ["show"],
    "db ": ["own-tables", "status", "upgrade"],
    "db up": ["upgrade"],
    "list --st": ["--status"],
    "list --status f": ["failed"],
    "list --status=f": ["--status=failed"],
    "list --format=": [f"--format={one}" for one in ("table", "json", "jsonl", "value")],
    "list --task ": ["report"],
    "list --since ": [],
    "show ": ["@last", "@last-failed", "etl-25", "etl-24", "paged", "box", "inbox"],
    "show @last-": ["@last-failed"],
    "show e": ["etl-25", "etl-24"],
    "show --live etl-2": ["etl-25", "etl-24"],
    "show nothing": [],
    "show etl-24 ": ["extract", "loaded", "rows"],
    "show @last l": ["load", "loaded"],
    "show @last-failed l": ["loaded"],
    "show etl-2 ": [],  # two sessions begin so
    "show inb ": ["files"],
    "show etl-24 --at b": ["before:"],
    "show etl-24 --at before:l": ["before:load#2", "before:load#1"],
    "show etl-24 --at before:load#1": ["before:load#1"],
    "get etl-25 re": ["report"],
    "get etl-24 --result no": ["notify"],
    "get inbox files --seq ": ["2", "1"],
    "get inbox files --seq=": ["--seq=2", "--seq=1"],
    "log paged ": ["fetch all"],
    "log paged 'fetch all/'": ["fetch all/1", "fetch all/2"],
    "trace in": ["inbox/"],
    "trace inbox/": ["inbox/files#2", "inbox/files#1"],
    "trace inbox/files#1": ["inbox/files#1"],
    "trace @last/rep": ["@last/report#1"],
    "replay etl-2": ["etl-25/", "etl-24/"],
    "replay @last/rep": ["@last/report#1"],
    "--ver": ["--version"],
    "last r": ["report"],
    "diff etl-24 etl-25": ["etl-25"],
    "push b": ["box"],
    "push box '#'": ["#hash"],
    "push inbox files ": [],
    "pop @": [],
    "resume etl-24 --from ": ["extract", "load", "report", "notify"],
    "mark paged 'fetch all' --step ": ["page 1", "page 2"],
    "mark paged 'fetch all' ": ["completed", "failed"],
    "fork paged --from 'fetch all' --step 'page 2'": ["page 2"],
    "rm etl-24 e": ["etl-25"],
    "export -- b": ["box"],
    "prune --status open --st": ["--status"],
    "show --live --l": [],
    "doctor ": [],
    "doctor --f": ["--format"],
    "completion ": ["bash", "zsh", "fish"],
}


@pytest.mark.slow
@pytest.mark.needs("shell", "watch", "page", "transfer", "replay")
def test_each_line_is_completed_with_what_may_follow(shop: Store, complete: Callable[[str], list[str]]) -> None:
    assert {line: complete(line) for line in MAY_FOLLOW} == MAY_FOLLOW


def test_names_are_given_as_they_are(shop: Store, complete: Callable[[str], list[str]]) -> None:
    assert sorted(complete("show box ")) == sorted(ODD)


@pytest.mark.slow
def test_only_dead_values_are_requeued_and_live_and_delayed_ones_dropped_too(
    shop: Store, complete: Callable[[str], list[str]]
) -> None:
    queue = shop.session("mail").xcom["out"]
    queue.extend(["a", "b"])
    queue.push("c", delay=timedelta(hours=1))
    queue.max_deliveries = 1
    with contextlib.suppress(Broken), shop.session("worker").run() as run, run.attempt("t"):
        assert queue.pop() == "a"
        raise Broken
    assert complete("requeue mail/") == ["mail/out#1"]
    assert complete("requeue mail/out#1 mail/") == []
    assert complete("drop mail/") == complete("replace mail/") == ["mail/out#1", "mail/out#3", "mail/out#2"]
    assert complete("requeue --all-dead ma") == ["mail"]
    assert complete("requeue --all-dead mail ") == ["out"]
    assert complete("requeue --all-dead mail out ") == []


def test_the_newest_numbers_are_offered(store: Store, complete: Callable[[str], list[str]]) -> None:
    queue = store.session("s").xcom["q"]
    queue.extend(range(120))
    assert complete("get s q --seq ") == [str(seq) for seq in range(120, 20, -1)]
    assert complete("trace s/q#12") == ["s/q#120"]
    assert complete("trace s/q#x") == []


def test_of_many_names_the_common_beginning_is_right(store: Store, complete: Callable[[str], list[str]]) -> None:
    names = ["job-aa", "job-z", *(f"job-b{number:02}" for number in range(70))]
    for name in names:
        store.session(name).xcom["q"].push(1)
    for line in ("rm ", "rm job-"):
        found = complete(line)
        assert len(found) < 60
        assert {"job-aa", "job-z"} <= set(found), "they have only job- in common"
    assert complete("rm ")[0] == names[-1], "the newest comes first"


def test_this_is_offered_inside_a_task(
    shop: Store, complete: Callable[[str], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZRB_STORE_ATTEMPT", "etl-24/load#1@1")
    assert complete("push @") == ["@this"]
    assert complete("show @") == ["@last", "@last-failed", "@this"]
    assert complete("show @this lo") == ["loaded"]


@pytest.mark.needs("transfer")
def test_copy_completes_the_sessions_of_the_store_it_reads(
    shop: Store, complete: Callable[[str], list[str]], location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZRB_STORE_URL", "/nowhere/x.db")
    assert complete(f"copy '{location}' other.db e") == ["etl-25", "etl-24"]


def parameters(name: str) -> list[click.Parameter]:
    found = app.get_command(click.Context(app), name)
    assert found is not None
    return found.params


def callback_of(parameter: click.Parameter) -> object:
    return vars(parameter)["_custom_shell_complete"]


def is_parsed(parameter: click.Parameter) -> bool:
    """Whether the help text calls the value of an option by the name of the function that parses it."""
    return isinstance(parameter, click.Option) and isinstance(parameter.type, click.types.FuncParamType)


def test_everything_that_a_word_may_be_is_completed_or_known_to_be_free() -> None:
    names = {
        parameter.metavar or (parameter.type.name.upper() if is_parsed(parameter) else parameter.name)
        for name in COMMANDS
        for parameter in parameters(name)
        if callback_of(parameter) is None and not getattr(parameter, "is_flag", False)
        if not isinstance(parameter.type, click.Choice | click.Path | click.File)
    }
    assert names - FREE == set()


REST = {"push": ["q", "1"], "pop": ["q"], "queue": ["q"], "mark": ["t", "completed"]}
REST |= {"run": ["--", "true"], "fork": ["--from", "t"], "get": ["q"], "diff": ["@last"]}


@pytest.mark.on_sqlite
@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in ("consume", "copy", "resume")])
def test_abbreviations_are_offered_to_commands_that_take_them(command: Commands, store: Store, name: str) -> None:
    callbacks = [callback_of(each) for each in parameters(name) if isinstance(each, click.Argument)]
    if callbacks[:1] in ([sessions], [sessions_to_change]):
        is_refused = "give its full name" in command(name, "@last", *REST.get(name, [])).err
        assert is_refused == (callbacks[0] is sessions_to_change)


# A deadline that only a hang meets.
MAIN = "from zrb_store.cli import completion, main; completion.DEADLINE = 600; main()"


@pytest.mark.slow
@pytest.mark.on_sqlite
@pytest.mark.needs("shell")
def test_consume_takes_no_abbreviation(location: str) -> None:
    command = [sys.executable, "-c", MAIN, "consume", "@last", "q", "--", "true"]
    environment = {**os.environ, "ZRB_STORE_URL": location}
    assert b"give its full name" in subprocess.run(command, env=environment, capture_output=True, check=False).stderr


HASTY = "from zrb_store.cli import main; main()"


def ask(*words: str, url: str | Path, code: str = MAIN) -> str:
    """Ask as a shell does, and return the answer. Nothing else is printed, and the exit code is 0."""
    process = subprocess.run(
        [sys.executable, "-c", code, "__complete", "fish", "1", "zrb-store", *words],
        env={**os.environ, "ZRB_STORE_URL": str(url)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert (process.returncode, without_notices(process.stderr)) == (0, "")
    return process.stdout


@pytest.mark.slow
@pytest.mark.systems
def test_an_answer_needs_no_slow_import(store: Store, location: str) -> None:
    store.session("s").xcom["q"].push(1)
    code = (
        "import sys; from zrb_store.cli import completion, run; completion.DEADLINE = 600; run(sys.argv[1:]); "
        "print('imported', *sorted({'alembic', 'sqlalchemy', 'zrb'} & {*sys.modules}))"
    )
    slow = "imported\n" if "://" not in location else "imported sqlalchemy\n"
    assert ask("show", "s", url=location, code=code) == f"words\ns\n{slow}"


@pytest.mark.slow
@pytest.mark.systems
def test_a_question_neither_creates_nor_changes_a_store(tmp_path: Path) -> None:
    missing = tmp_path / "no" / "store.db"
    assert ask("show", "", url=missing) == "words\n"
    assert list(tmp_path.iterdir()) == []
    empty = tmp_path / "empty.db"
    empty.touch()
    assert ask("show", "", url=empty) == "words\n"
    assert [(path.name, path.stat().st_size) for path in tmp_path.iterdir()] == [("empty.db", 0)]


@pytest.mark.parametrize("line", ["show ''", "trace s/", "log s ''", "last ''", "nonsense ''", "show --at", ""])
def test_a_store_that_cannot_be_read_is_no_error(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "store.db").write_bytes(b"SQLite format 3\0" + b"x" * 5000)
    monkeypatch.setattr(completion, "DEADLINE", 600)
    answers = []
    for name in ("store.db", "missing.db"):
        monkeypatch.setenv("ZRB_STORE_URL", str(tmp_path / name))
        assert cli.run(["__complete", "fish", "1", "zrb-store", *shlex.split(line)]) == 0
        answers.append(capfd.readouterr())
    assert answers[0].out in ("", "words\n", answers[1].out)
    assert [answer.err for answer in answers] == ["", ""]


@pytest.mark.slow
def test_a_locked_store_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with open_store(path) as store:
        store.session("s").xcom["q"].push(1)
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode=DELETE")
        database.execute("BEGIN EXCLUSIVE")
        assert ask("show", "", url=path, code=HASTY) in ("", "words\n")


@pytest.mark.slow
def test_a_server_that_does_not_answer_is_no_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert ask("show", "", url=f"postgresql+psycopg://u:secret-word@127.0.0.1:{port}/x", code=HASTY) in (
            "",
            "words\n",
        )
    assert ask("show", "", url=f"postgresql+psycopg://u:secret-word@127.0.0.1:{port}/x", code=HASTY) in ("", "words\n")


@pytest.mark.slow
def test_nobody_waits_for_an_answer_for_ever(tmp_path: Path) -> None:
    code = (
        "import time; from zrb_store import store; store.open_store = lambda *_, **__: time.sleep(3600); "
        "from zrb_store.cli import main; main()"
    )
    assert ask("show", "", url=tmp_path / "store.db", code=code) == ""


@pytest.mark.parametrize("args", [[], ["bash"], ["bash", "1"], ["tcsh", "1", "x"], ["fish", "x", "zrb-store", ""]])
def test_a_malformed_question_is_no_error(args: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["__complete", *args]) == 0
    assert capfd.readouterr() == ("", "")
