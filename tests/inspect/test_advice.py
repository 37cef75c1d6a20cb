"""Every command in a message is written as its reader types it: `zrb-store X`, or `zrb xcom X` inside zrb."""

from __future__ import annotations

import ast
import io
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support import next_release
from zrb_store import Store, cli, open_store, settings, step
from zrb_store.cli.command_table import COMMANDS
from zrb_store.db.location import store_url
from zrb_store.inspect.advice import Start
from zrb_store.render.stderr import as_typed, command_as_typed, print_line

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ("zrb-store", "zrb xcom")
_COMMAND = rf"(?:{'|'.join(map(re.escape, COMMANDS))})\b"

# Texts that are no messages, and where their commands are made what the reader types.
OTHERWISE = {
    "zrb_store/transfer/commands.py",  # an example of --help: Command.format_epilog
    "zrb_store/inspect/incomplete.py",  # a bare command: an alert gives it, a message puts it between backticks
    "zrb_store/watch/alert.py",  # a bare command: `check` passes it through command_as_typed
    "zrb_store/watch/notify.py",  # a bare command for the command of ZRB_STORE_NOTIFY
}


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the texts of a module that may be printed, each with its line. What is put into one becomes `{}`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docs = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            pieces = (str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
            yield node.lineno, "".join(pieces)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and not {id(node)} & (docs | parts):
            yield node.lineno, node.value
        # A text that stands alone describes the variable before it.


def of_package() -> Iterator[tuple[str, str]]:
    """Yield each text of the package that names a command, with the place where it is."""
    for path in sorted((ROOT / "zrb_store").rglob("*.py")):
        name = str(path.relative_to(ROOT))
        tree = ast.parse(path.read_text(encoding="utf-8"))
        alone = {node.value.lineno for node in ast.walk(tree) if isinstance(node, ast.Expr) and hasattr(node, "value")}
        for line, text in texts(path):
            if line not in alone and re.search(rf"(?:zrb-store|zrb xcom) {_COMMAND}", text):
                yield f"{name}:{line}", text


class Pieces(io.StringIO):
    """A stream that notes what is written at once, since another thread may write between two pieces."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[str] = []

    def write(self, text: str) -> int:
        self.pieces += [text] if text else []
        return len(text)


def test_a_message_is_written_in_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Pieces()
    monkeypatch.setattr("sys.stderr", stream)
    print_line("use `zrb-store list` at\npostgresql://me:secret@db/x", "zrb xcom")
    print_line("a.csv failed", "zrb-store", name="")
    assert stream.pieces == ["zrb xcom: use `zrb xcom list` at postgresql://me:***@db/x\n", "a.csv failed\n"]


@pytest.mark.slow
def test_below_the_edges_a_command_is_written_so_that_it_can_be_replaced() -> None:
    found = dict(of_package())
    assert len(found) > 15, found
    for place, text in found.items():
        if place.rpartition(":")[0] in OTHERWISE:
            continue
        for before, program, command in re.findall(rf"(.?)(?:ZRB_\w+=\S+ )?(zrb-store|zrb xcom) ({_COMMAND})", text):
            if program == "zrb xcom":
                assert command == "resume", f"{place}: {text!r}: only `resume` is a command of zrb alone"
            assert before == "`", f"{place}: {text!r}: put the command between backticks"


def test_advice_names_the_program_as_it_was_typed() -> None:
    message = "`zrb-store show s` shows it, `zrb-store rm`, or upgrade zrb-store; `zrb xcom resume s`"
    assert as_typed(message, "zrb-store") == message
    assert as_typed(message, "zrb xcom") == (
        "`zrb xcom show s` shows it, `zrb xcom rm`, or upgrade zrb-store; `zrb xcom resume s`"
    )
    assert command_as_typed("zrb-store log s", "my xcom") == "my xcom log s"
    assert command_as_typed("cd /a && zrb-store log s", "my xcom") == "cd /a && zrb-store log s"
    programs = ("zrb-store", "zrb xcom", "my xcom")
    of_zrb, of_command = Start("s", ["etl"]), Start("s", ["--", "true"])
    resumes = [f"{each} resume s" for each in ("zrb xcom", "zrb xcom", "my xcom")]
    assert [of_zrb.again(each).command for each in programs] == resumes
    assert [of_command.again(each).command for each in programs] == [f"{each} resume s" for each in programs]


class Case(NamedTuple):
    """A command that says what to do.

    Attributes:
        args: Its arguments.
        advice: The command that it advises, without the program.
        prepare: Changes the store before.
        resumes: Whether the command is of zrb alone.
    """

    args: tuple[str, ...]
    advice: str
    prepare: Callable[[Path], None] = lambda _: None
    resumes: bool = False


def change(sql: str) -> Callable[[Path], None]:
    def prepare(path: Path) -> None:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA ignore_check_constraints=1")
            assert connection.execute(sql).rowcount
            connection.commit()

    return prepare


def misspell(_: Path) -> None:
    settings._warned.clear()


CASES = {
    "no session at all": Case(("show", "@last-failed"), "list` shows all sessions", change("DELETE FROM zrb_session")),
    "no session like it": Case(("show", "xyzzy"), "list` shows all sessions"),
    "a pinned one": Case(("rm", "night"), "unpin night` lets", change("UPDATE zrb_session SET pinned = 1")),
    "no such attempt": Case(("show", "night", "--at", "before:load#7"), "show night` lists them"),
    "a step for a task": Case(("mark", "night", "load/1", "completed"), "mark night load --step load/1 completed`"),
    "a damaged row": Case(("list",), "doctor` says what to do", change("UPDATE zrb_session SET path = '5'")),
    "a damaged session": Case(
        ("mark", "night", "load", "completed"), "doctor` names", change("UPDATE zrb_session SET path = '5'")
    ),
    "dead values": Case(("doctor",), "requeue inbox files --all-dead`"),
    "a damaged value": Case(("doctor",), "get SESSION QUEUE --seq N`", change("UPDATE zrb_value SET size = 99")),
    "a damaged text": Case(("doctor",), "rm`", change("UPDATE zrb_session SET path = '5'")),
    "a failed session": Case(("show", "night"), "log night"),
    "a session of zrb": Case(
        ("show", "night"), "resume night", change('UPDATE zrb_session SET path = \'["etl", "load"]\''), resumes=True
    ),
    "a value that dies": Case(("consume", "inbox", "more", "--", "false"), "show inbox more --dead` shows more"),
    "no setting": Case(("list",), "db status` lists the settings", misspell),
    "a paused queue": Case(
        ("pop", "inbox", "files"), "queue inbox files --unpause` lets", change("UPDATE zrb_queue SET paused_at = 1")
    ),
    "a step outside": Case(("step", "dump", "--", "true"), "run SESSION -- COMMAND...`"),
    "check": Case(("check",), "requeue inbox files --all-dead"),
    "resume": Case(
        ("resume", "night"),
        "resume night` in the folder",
        change('UPDATE zrb_session SET path = \'["etl", "load"]\''),
        resumes=True,
    ),
    "help": Case(("export", "--help"), "import"),
    "usage": Case(("list", "--limit", "x"), "list --help`"),
}
NEEDS = {"a value that dies": ["shell"], "a step outside": ["shell"], "check": ["watch"], "help": ["transfer"]}


def fail(store: Store) -> None:
    with store.session("night").run(task="load") as run, run.attempt("load"):
        step("page", lambda: 1)
        raise ZeroDivisionError


@pytest.fixture
def store_file(tmp_path: Path, sqlite_template: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store in which something is wrong with everything."""
    path = Path(shutil.copy(sqlite_template, tmp_path / "x.db"))
    with open_store(path) as store:
        with pytest.raises(ZeroDivisionError):
            fail(store)
        inbox = store.session("inbox").xcom
        for name in ("files", "more"):
            inbox[name].max_deliveries = 1
            inbox[name].push("a.csv")
        with store.session("worker").run() as worker:
            for delivery in worker.consume(inbox["files"]):
                with delivery:
                    raise ValueError
    monkeypatch.setenv("ZRB_STORE_URL", store_url(path).render_as_string(hide_password=False))
    monkeypatch.setenv("ZRB_STORE_QQQQQQ", "1")
    return path


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.needs(*NEEDS.get(name, ()))) for name in CASES])
def test_a_message_in_a_program(name: str, program: str, store_file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    case = CASES[name]
    settings._warned.add("ZRB_STORE_QQQQQQ")
    case.prepare(store_file)
    cli.run(case.args, program)
    check_advice(case, program, *capfd.readouterr())


def check_advice(case: Case, program: str, out: str, err: str) -> None:
    """Check that a program gave the advice of a case, and named no command of another program."""
    said = out + err
    advised = "zrb xcom" if case.resumes else program
    assert f"{advised} {case.advice}" in said, said
    for line in err.splitlines():
        assert line.startswith((f"{program}: ", "inbox/")), line
    others = set(PROGRAMS) - {program}
    for other, command in re.findall(rf"({'|'.join(others)}) ({_COMMAND})", said):
        assert (other, command) == ("zrb xcom", "resume"), said


OLD_STORE = {"an old store": Case(("list",), "db upgrade`"), "doctor on an old store": Case(("doctor",), "db upgrade`")}


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("name", OLD_STORE)
def test_a_message_about_an_old_store(
    name: str, program: str, store_file: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings._warned.add("ZRB_STORE_QQQQQQ")
    with next_release.in_this_process(store_file.parent / "newer", monkeypatch):
        cli.run(OLD_STORE[name].args, program)
    check_advice(OLD_STORE[name], program, *capfd.readouterr())


@pytest.mark.slow
def test_every_command_that_is_advised_is_in_a_case() -> None:
    """Except where a program gets the message, and no command line."""
    by_program = {"show", "mark", "fork", "stop", "push"}  # as in SessionCompleted, StepUncertain, SessionWaiting
    advised = {command for _, text in of_package() for command in re.findall(rf"`zrb-store ({_COMMAND})", text)}
    cases = {case.advice.split()[0].rstrip("`") for case in [*CASES.values(), *OLD_STORE.values()]}
    assert advised <= cases | by_program
