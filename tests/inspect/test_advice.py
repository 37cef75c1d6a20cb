"""Every command in a message is written as its reader types it: `zrb-store X`, or `zrb xcom X` inside zrb."""

from __future__ import annotations

import ast
import contextlib
import io
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import sqlalchemy as sa

from tests.support import next_release
from tests.support.commands import Commands
from tests.support.sessions import parse_lines
from zrb_store import Run, Store, cli, open_store, settings, step, wait
from zrb_store.cli.command_table import COMMANDS
from zrb_store.db.location import store_url
from zrb_store.inspect.advice import Advice, Start
from zrb_store.queries import runs
from zrb_store.render.stderr import as_typed, command_as_typed, print_line
from zrb_store.run import RunSpec

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


LOG, RESUME = "zrb-store log s", "zrb xcom resume s"


class Place(NamedTuple):
    """Where a session is run."""

    store: Store
    folder: Path  # of its project
    command: Commands

    def run(self, **settings: Any) -> Run:
        """Return a run of the session `s`, by default as the plugin starts one."""
        of_zrb = {"project": str(self.folder), "path": ["etl", "load"], "task": "load"}
        return self.store.session("s").prepare(RunSpec(**{**of_zrb, **settings}))


def ended(place: Place, error: BaseException, **settings: Any) -> str:
    """Let a task end by an error, and return the last line of its run, which zrb prints in the same way."""
    with contextlib.suppress(ValueError, KeyboardInterrupt), place.run(**settings) as run, run.attempt("load"):
        raise error
    (status,) = runs.status_of(place.store.database, run.id) or (None,)
    return run.how_started.last_line(str(status))


def waiting(place: Place, **asked: Any) -> str:
    with pytest.raises(SystemExit) as end, place.run() as run, run.attempt("load"):
        wait("approve", **asked)
    return str(end.value)


def late(place: Place) -> None:
    waiting(place, timeout=3600)
    place.store.database.execute(sa.text("UPDATE zrb_attempt SET deadline_at = 1 WHERE deadline_at IS NOT NULL"))


def dead_values(place: Place) -> None:
    queue = place.store.session("s").xcom["files"]
    queue.max_deliveries = 1
    queue.push("a.csv")
    with contextlib.suppress(ValueError), place.store.session("worker").run(task="worker") as run:
        for delivery in run.consume(queue):
            with delivery:
                raise ValueError
    place.command.ok("ack", "worker")


def completed_with_a_failed_step(place: Place) -> None:
    with place.run() as run, run.attempt("load"), contextlib.suppress(ValueError):
        step("page", int, "x")


def stopped(place: Place) -> None:
    run = place.run().start()
    place.store.database.execute(sa.text("UPDATE zrb_run SET stop_requested_at = 1"))
    run.end("failed")


def running(place: Place) -> None:
    place.run().start()


def moved(place: Place) -> None:
    gone = place.folder / "gone"
    gone.mkdir()
    ended(place._replace(folder=gone), ValueError())
    gone.rmdir()


class State(NamedTuple):
    """A state of a session, and all that is advised in it, but for what is only to be known."""

    reach: Callable[[Place], str | None]  # it returns what the run says at its end
    advised: Sequence[str]
    is_alert: bool = True


STATES = {
    "failed task": State(lambda place: ended(place, ValueError()), [LOG, RESUME]),
    "stopped": State(stopped, [LOG, RESUME]),
    "interrupted": State(lambda place: ended(place, KeyboardInterrupt()), [LOG, RESUME]),
    "with a secret": State(
        lambda place: ended(place, ValueError(), inputs={"token": {"masked": "***"}}),
        [LOG, f"{RESUME}, which asks for token"],
    ),
    "program": State(
        lambda place: ended(place, ValueError(), path=[], command=["nightly.py", "a b"]),
        [LOG, "python3 nightly.py 'a b'"],
    ),
    "unknown program": State(
        lambda place: ended(place, ValueError(), path=[], command=["-c"]), [LOG, "start its program again"]
    ),
    "failed script": State(lambda place: ended(place, ValueError(), path=["--", "false"]), [LOG, "zrb-store resume s"]),
    "waiting for an answer": State(waiting, ["""zrb-store push s approve '"yes"'"""], is_alert=False),
    "too late": State(late, [RESUME]),
    "dead values": State(dead_values, ["zrb-store requeue s files --all-dead; or replace or drop single values"]),
    "completed with a failed step": State(completed_with_a_failed_step, [LOG], is_alert=False),
    "running": State(running, [f"{LOG} --follow"], is_alert=False),
    "in a folder that is gone": State(moved, [LOG, f"{RESUME} --here"]),
}


def card_of(store: Store, name: str) -> Advice | None:
    """Return what the card of a page advises first."""
    from zrb_store.page.card import Card
    from zrb_store.page.content import describe

    return Card(describe(store.database, name), "zrb-store").helps


@pytest.mark.on_sqlite
@pytest.mark.needs("page", "watch")
@pytest.mark.parametrize("name", STATES)
def test_all_advise_the_same(
    name: str, store: Store, command: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    state = STATES[name]
    last_line = state.reach(Place(store, tmp_path, command))
    shown = [line.partition(" ")[::2] for line in command("show", "s").out.splitlines()]
    labels = ("Log:", "Answer:", "Resume:", "Dead:")
    assert [text.strip() for label, text in shown if label in labels] == state.advised
    does = [text for text in state.advised if not text.startswith(LOG)] or [*state.advised]
    commands = [text for text in does if not text.startswith("start")] or [LOG]
    helps = card_of(store, "s")
    assert helps is not None
    assert helps.text.removeprefix(f"cd {tmp_path} && ") == commands[0]
    alerts = parse_lines("alert", command("check", "--format", "jsonl").out)
    assert [alert["remedy"] for alert in alerts] == [commands[0].split(",")[0].split(";")[0]] * state.is_alert
    if alerts:
        words = commands[0].removeprefix(alerts[0]["remedy"])
        assert command("check").out.endswith(f"; `{alerts[0]['remedy']}`{words}\n")
    if last_line is not None:
        for text in does:
            typed, comma, words = text.partition(",")
            assert (f"`{typed}`{comma}{words}" if text in commands else text) in last_line


@pytest.mark.on_sqlite
@pytest.mark.needs("page")
def test_a_fork_that_has_not_run_is_resumed(
    store: Store, command: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ended(Place(store, tmp_path, command), ValueError())
    command.ok("fork", "s", "--from", "load", "--name", "t")
    assert "Resume:   zrb xcom resume t\n" in command.ok("show", "t")
    helps = card_of(store, "t")
    assert helps is not None
    assert helps.command == f"cd {tmp_path} && zrb xcom resume t"


@pytest.mark.on_sqlite
@pytest.mark.parametrize(
    ("start", "said"),
    [
        (Start("s.1", parent="s"), "push the event again to repeat it: events are handled once"),
        (
            Start("s", ["--", "curl", "***"], secrets=["its command"]),
            "start it by name, as before: it needs a secret that is not stored",
        ),
        (Start("s", uses_zrb=True), "start its program again with ZRB_STORE_SESSION=s"),
    ],
)
def test_what_no_command_continues(start: Start, said: str) -> None:
    assert start.again().command is None
    assert start.last_line("failed") == f"session {start.session} failed; {said}"
