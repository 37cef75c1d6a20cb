"""What commands print, byte for byte: valid JSON on every stream, and no control character on a terminal."""

from __future__ import annotations

import io
import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.support.attempts import Broken
from tests.support.commands import Commands, without_notices
from tests.support.rows import allow_damage
from tests.support.terminals import JOINED
from zrb_store import SessionNotFound, Store, ValueNotFound, ZrbStoreError, cli
from zrb_store.inspect.get import get_value

pytestmark = pytest.mark.on_sqlite

# A colour, DEL, a C1 command, right-to-left text, a zero-width space, a line separator that JSON permits, a tag.
EVIL = "\x1b[31m\x7f\x9b2J\u202eevil\u200b\u2028\U000e0001"
SURROGATES = "\ud800 \udc80"
TEXT = f"é世😀 {EVIL}"


class Stream(io.TextIOWrapper):
    """A stand-in for stdout."""

    def __init__(self, encoding: str, errors: str, *, terminal: bool = False) -> None:
        super().__init__(io.BytesIO(), encoding=encoding, errors=errors, newline="\n")
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


def output(stream: Stream, monkeypatch: pytest.MonkeyPatch, *args: str) -> bytes:
    """Return the bytes that a command writes to this stdout."""
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", stream)
        assert cli.run(args) in (0, 1)
    stream.flush()
    written = stream.buffer
    assert isinstance(written, io.BytesIO)
    return written.getvalue()


@pytest.fixture
def dangerous_store(store: Store) -> Store:
    """A store full of text that is dangerous to print."""
    for name in ("a", "b"):
        queue = store.session(name).xcom[f"queue {TEXT}"]
        queue.extend([TEXT + SURROGATES, {TEXT: [TEXT, SURROGATES]}, name])
    with store.session("c").run(task=TEXT, project=TEXT, inputs={TEXT: SURROGATES}) as run:
        run.note_tasks({TEXT: "not started"})
        run.begin(TEXT).fail(Broken(TEXT + SURROGATES))
    return store


JSON_COMMANDS = [
    ["list", "--format", "json"],
    ["list", "--format", "jsonl"],
    ["show", "a", "--json"],
    ["show", "a", "--format", "jsonl"],
    ["show", "c", "--format", "json"],
    ["get", "a", f"queue {TEXT}", "--seq", "1", "--format", "json"],
    ["get", "a", f"queue {TEXT}", "--seq", "2", "--format", "jsonl"],
    ["get", "a", f"queue {TEXT}", "--seq", "2"],
    ["log", "c", "--format", "json"],
    ["log", "c", "--format", "jsonl"],
    ["trace", f"a/queue {TEXT}#1", "--format", "json"],
    ["trace", f"a/queue {TEXT}#1", "--format", "jsonl"],
    ["diff", "a", "b", "--format", "json"],
    ["diff", "a", "b", "--format", "jsonl"],
    ["pop", "a", f"queue {TEXT}", "--format", "json"],
    pytest.param(["export"], marks=pytest.mark.needs("transfer")),
    ["prune", "--older-than", "0s", "--dry-run", "--format", "json"],
    ["doctor", "--format", "json"],
    ["db", "status", "--format", "json"],
]


@pytest.mark.parametrize("args", JSON_COMMANDS, ids=lambda args: " ".join(args).replace(TEXT, ""))
@pytest.mark.parametrize(
    "stream",
    [("utf-8", "strict"), ("utf-8", "surrogateescape"), ("ascii", "surrogateescape"), ("latin-1", "strict")],
    ids=" ".join,
)
def test_json_is_utf_8_without_a_character_that_cannot_be_printed(
    command: Commands, dangerous_store: Store, monkeypatch: pytest.MonkeyPatch, args: list[str], stream: tuple[str, str]
) -> None:
    text = output(Stream(*stream), monkeypatch, *args).decode("utf-8")
    assert [char for char in text if char != "\n" and not char.isprintable()] == []
    one_each_line = "jsonl" in args or args == ["export"]
    parts = [json.loads(line) for line in text.splitlines()] if one_each_line else [json.loads(text)]
    if stream[0] != "utf-8":
        assert text.isascii()
    elif args[0] in ("get", "log"):
        assert "é世😀 \\u001b[31m\\u007f\\u009b2J\\u202eevil\\u200b\\u2028\\udb40\\udc01" in text
    if args[0] == "get" and "json" in args:
        assert parts[0]["value"] == TEXT + SURROGATES
    if args[0] == "show":
        assert json.dumps(TEXT)[1:-1] in json.dumps(parts)


@pytest.mark.parametrize("errors", ["strict", "surrogateescape"])
def test_bare_text_is_exact(
    command: Commands, dangerous_store: Store, monkeypatch: pytest.MonkeyPatch, errors: str
) -> None:
    dangerous_store.session("d").xcom["q"].push(TEXT)
    for args in (["get", "d", "q"], ["trace", "d/q#1", "--format", "value"], ["pop", "d", "q"]):
        assert output(Stream("utf-8", errors), monkeypatch, *args) == f"{TEXT}\n".encode()
    expected = f"{TEXT}\\ud800 \\udc80\n".encode()
    assert output(Stream("utf-8", errors), monkeypatch, "log", "c", "--format", "value").endswith(expected)


@pytest.mark.parametrize(
    ("encoding", "text", "hint"),
    [
        ("ascii", "grün", "'\\xfc': use --format json, or set PYTHONIOENCODING=utf-8"),
        ("latin-1", "€", "'\\u20ac': use --format json, or set PYTHONIOENCODING=utf-8"),
        ("utf-8", SURROGATES, "'\\ud800': use --format json"),
    ],
)
def test_text_that_stdout_cannot_express_is_neither_changed_nor_taken(
    command: Commands,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    encoding: str,
    text: str,
    hint: str,
) -> None:
    queue = store.session("inbox").xcom["q"]
    queue.push(text)
    for args in (["pop", "inbox", "q"], ["get", "inbox", "q"], ["trace", "inbox/q#1", "--format", "value"]):
        assert output(Stream(encoding, "surrogateescape"), monkeypatch, *args) == b""
        assert capsys.readouterr().err == f"zrb-store: stdout is {encoding}, which cannot express {hint}\n"
    assert list(queue) == [text]
    printed = output(Stream(encoding, "surrogateescape"), monkeypatch, "pop", "inbox", "q", "--format", "json")
    assert json.loads(printed) == text
    queue.push("plain")
    assert output(Stream(encoding, "strict"), monkeypatch, "pop", "inbox", "q") == b"plain\n"


@pytest.mark.parametrize("terminal", [False, True])
def test_joiners_between_letters_and_emoji_are_kept(
    command: Commands, store: Store, monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    text = f"{JOINED} \u200cx a\u200db é\u200d\u200dé \u2067rtl\u2069\u200f"
    escaped = f"{JOINED} \\u200cx a\\u200db é\\u200d\\u200dé \\u2067rtl\\u2069\\u200f"
    store.session("s").xcom["q"].push(text)
    for args in (["show", "s", "--full"], ["get", "s", "q", "--format", "json"]):
        shown = output(Stream("utf-8", "strict", terminal=terminal), monkeypatch, *args).decode()
        assert [word for word in escaped.split() if word not in shown] == []


def test_a_terminal_gets_no_control_character_of_a_bare_text(
    command: Commands, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.session("s").xcom["q"].push(f"one\n\ttwo {EVIL}")
    terminal = Stream("utf-8", "strict", terminal=True)
    shown = output(terminal, monkeypatch, "get", "s", "q").decode()
    assert shown == "one\n\ttwo \\x1b[31m\\x7f\\x9b2J\\u202eevil\\u200b\\u2028\\U000e0001\n"


def test_no_row_reaches_a_reader_as_a_control_character(command: Commands, dangerous_store: Store) -> None:
    """The texts of a store may come from anybody who can write to it."""
    store = dangerous_store
    with store.session("d").run(task="t") as run:
        run.task("t", lambda: 5)
    allow_damage(store)
    for statement in (
        "UPDATE zrb_session SET status = :evil WHERE name <> 'd'",
        "UPDATE zrb_run SET status = :evil, command = :words",
        "UPDATE zrb_attempt SET task = :evil, status = :evil, kind = :evil",
        "UPDATE zrb_value SET state = :evil, type = :evil",
    ):
        named = {"evil": EVIL, "words": json.dumps([EVIL])}
        used = {name: text for name, text in named.items() if f":{name}" in statement}
        store.database.execute(sa.text(statement), used)
    for args in (
        ["list"],
        ["show", "a"],
        ["show", "c"],
        ["show", "d"],
        ["log", "c"],
        ["log", "d"],
        ["trace", "d/t#1"],
        ["get", "d", "t", "--seq", "1", "--format", "table"],
        ["diff", "a", "b"],
        ["doctor"],
        ["list", "--format", "value"],
        ["doctor", "--format", "value"],
    ):
        result = command(*args)
        assert [char for char in result.out + result.err if char != "\n" and not char.isprintable()] == [], args


NAME = "load\x1b[31m"


def stored_names(store: Store) -> None:
    """Create a session whose queue, task and children have a name that is dangerous to print."""
    with store.session("s").run(task=NAME) as run:
        run.task(NAME, lambda: 1)


@pytest.mark.parametrize(
    "args",
    [
        ["get", "s", "load"],
        ["get", "s", "load", "--result"],
        ["show", "s", "load"],
        ["log", "s", "load"],
        ["trace", "s/load#1"],
        ["fork", "s", "--from", "load"],
        ["get", "s", NAME, "--seq", "9"],
    ],
    ids=lambda args: " ".join(args[:1]),
)
def test_no_message_quotes_a_stored_name_as_a_control_character(
    command: Commands, store: Store, args: list[str]
) -> None:
    stored_names(store)
    result = command(*args)
    assert (result.code, result.out) in [(1, ""), (3, "")]
    assert result.err.rstrip("\n").isprintable()
    assert "\\x1b[31m" in result.err


def test_no_exception_quotes_a_stored_name_as_a_control_character(store: Store) -> None:
    stored_names(store)
    with pytest.raises(ValueNotFound, match=r"did you mean load\\x1b\[31m") as caught:
        get_value(store.database, "s", "load", None)
    assert str(caught.value).isprintable()
    with store.session("t").run() as run, pytest.raises(ZrbStoreError) as nested, run.attempt("x"):
        run.attempt(NAME)
    assert str(nested.value).isprintable()
    assert (str(ZrbStoreError("two\nlines é")), str(SessionNotFound())) == ("two\\nlines é", "")


def test_a_closed_stderr_sends_no_message_to_stdout(store: Store) -> None:
    url = store.database.url.render_as_string(hide_password=False)
    command = [sys.executable, "-c", "from zrb_store.cli import main; main()", "show", "nothing"]
    shell = f"ZRB_STORE_URL={shlex.quote(url)} {shlex.join(command)} 2>&-"
    done = subprocess.run(["bash", "-c", shell], stdout=subprocess.PIPE)
    assert (done.returncode, done.stdout) == (3, b"")


@pytest.mark.slow
def test_a_file_that_cannot_be_written_whole_keeps_what_it_had(command: Commands, store: Store, tmp_path: Path) -> None:
    with store.session("s").run() as run, run.attempt("load") as attempt:
        attempt.xcom["rows"].extend([f"{number:0100}" for number in range(2000)])
        attempt.xcom["rows"].pop_many(10)
    file = tmp_path / "kept"
    file.write_text("old")
    # -B: what Python compiles would be cut off, too, and stay so.
    program = [sys.executable, "-B", "-c", "import sys; from zrb_store.cli import run; sys.exit(run(sys.argv[1:]))"]
    words = shlex.join([*program, "report", "s", "-o", str(file)])
    failed = subprocess.run(
        ["bash", "-c", f"ulimit -f 1; PYTHONDONTWRITEBYTECODE=1 {words}"], capture_output=True, text=True, check=False
    )
    refused = (1, f"zrb-store: {file} cannot be written: File too large\n")
    assert (failed.returncode, without_notices(failed.stderr)) == refused
    assert file.read_text() == "old"
    assert command("report", "s", "-o", str(file)).code == 0
    assert len(file.read_text()) > 1024
    assert sorted(tmp_path.iterdir()) == sorted({file, *tmp_path.glob("*.db*")}), "nothing is left beside it"
    nowhere = tmp_path / "none" / "file"
    assert command("report", "s", "-o", str(nowhere)).err == (
        f"zrb-store: {nowhere} cannot be written: No such file or directory\n"
    )
