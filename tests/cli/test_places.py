"""Reading in all circumstances: terminals, pipes, read-only, damaged or missing stores, and running sessions."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url

from tests.support.commands import Commands
from tests.support.rights import as_nobody
from tests.support.sessions import fill_folder, parse
from tests.support.terminals import MAIN, drawn, plain, shown_on_terminal
from zrb_store import Store, cli, open_store
from zrb_store.db.location import store_url
from zrb_store.db.tables import value
from zrb_store.render.terminal import redrawn

pytestmark = pytest.mark.long_on_postgresql

READS = [
    ["list"],
    ["show", "etl-24"],
    ["show", "etl-24", "--full"],
    ["show", "inbox", "files"],
    ["get", "inbox", "files"],
    ["log", "etl-24"],
    ["trace", "etl-24/rows#1"],
    ["last", "load", "--any-project"],
    ["diff", "etl-25", "etl-25"],
]


@pytest.fixture
def folder(sqlite_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a filled SQLite store, which ZRB_STORE_URL names."""
    folder = tmp_path / "store"
    fill_folder(folder, sqlite_template)
    monkeypatch.setenv("ZRB_STORE_URL", str(folder / "store.db"))
    return folder


def on_terminal(args: list[str], columns: int = 80) -> str:
    """Return what `zrb-store ARGS` shows on a terminal, including escape sequences."""
    return shown_on_terminal(args, columns).decode().replace("\r\n", "\n")


# -- terminals and pipes


@pytest.mark.parametrize("args", [read for read in READS if read[0] in ("list", "show", "log", "trace")])
@pytest.mark.slow
@pytest.mark.systems
def test_a_terminal_of_80_columns_is_wide_enough(folder: Path, args: list[str]) -> None:
    shown = on_terminal(args)
    assert "\x1b[" in shown
    if args[0] != "log":  # the lines of a traceback are not folded
        assert max(len(line) for line in plain(shown).splitlines()) <= 80


@pytest.mark.slow
@pytest.mark.parametrize("variables", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
@pytest.mark.parametrize("more", [[], ["--watch"]])
def test_a_terminal_may_have_no_colours(folder: Path, variables: dict[str, str], more: list[str]) -> None:
    args = ["show", "etl-24", *more]
    # The screen of --watch is no colour.
    shown = shown_on_terminal(args, 80, variables).decode().rpartition("\x1b[?1049l")[2]
    assert "\x1b" not in shown
    assert shown == plain(on_terminal(args).rpartition("\x1b[?1049l")[2]).replace("\n", "\r\n")


@pytest.mark.slow
@pytest.mark.systems
def test_the_screen_of_watch_is_left_as_it_was(folder: Path) -> None:
    shown = on_terminal(["show", "etl-24", "--watch"])
    for on, off in (("[?1049h", "[?1049l"), ("[?25l", "[?25h"), ("[?7l", "[?7h")):
        assert shown.count(f"\x1b{on}") == shown.count(f"\x1b{off}") == 1


def test_lines_are_drawn_over_those_before() -> None:
    first = "\x1b[?7l" + redrawn(["x" * 9, "second", "third", "last"])
    assert drawn((first + redrawn(["y" * 9, "2"])).replace("\n", "\r\n"), 9, 4) == ["y" * 9, "2"]


@pytest.mark.slow
def test_names_and_errors_are_folded_not_cut(folder: Path) -> None:
    name = "a-very-long-name-of-a-session-that-does-not-fit-into-its-column-2026-11-24"
    with open_store(folder / "store.db") as store:
        store.session(name).xcom["q"].push(1)
    first = "".join(line.split("  ")[0] for line in plain(on_terminal(["list"])).splitlines()[1:])
    assert name in first
    assert plain(on_terminal(["list"], columns=160)).count(name) == 1


@pytest.mark.slow
@pytest.mark.parametrize("more", [[], ["--watch"]])
def test_a_terminal_without_utf_8_gets_escapes(folder: Path, monkeypatch: pytest.MonkeyPatch, more: list[str]) -> None:
    with open_store(folder / "store.db") as store, store.session("s").run() as run, run.attempt("t") as attempt:
        attempt.complete("Ω grüße")
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    assert "\\u03a9 gr\\xfc\\xdfe" in plain(on_terminal(["show", "s", *more]))


@pytest.mark.slow
@pytest.mark.systems
def test_times_are_local_on_a_terminal_and_utc_elsewhere(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "XYZ-5")
    document = json.loads(subprocess.check_output([*MAIN, "show", "etl-24", "--format", "json"]))
    assert document["ended_at"].endswith("Z")
    utc = f"{document['ended_at'][:19].replace('T', ' ')}"
    assert f"{utc}Z" in subprocess.check_output([*MAIN, "show", "etl-24"], text=True)
    assert utc not in plain(on_terminal(["show", "etl-24"]))


@pytest.mark.slow
def test_watch_ends_with_the_session(folder: Path) -> None:
    shown = on_terminal(["show", "etl-24", "--watch"])
    assert shown.startswith("\x1b[?1049h")  # switches to the alternate screen
    assert "Queue rows" in plain(shown.rpartition("\x1b[?1049l")[2])  # what remains on the normal screen


def test_watch_in_a_pipe_prints_what_changes_until_the_end(
    command: Commands, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = store.session("s").run().start()
    attempt = run.begin("t")
    steps: Iterator[Callable[[], None]] = iter(
        [lambda: None, lambda: attempt.xcom["q"].push(1), lambda: run.end("failed")]
    )
    monkeypatch.setattr("zrb_store.cli.show.sleep", lambda seconds: next(steps)())
    text = command.ok("show", "s", "--watch")
    assert [line.split()[1] for line in text.splitlines() if line.startswith("Status")] == [
        "running",
        "running",
        "failed",
    ]
    assert command("show", "s", "--watch", "--at", "before:t#1").code == 2


@pytest.mark.parametrize(
    ("during", "shown"), [("zrb_store.cli.show.sleep", True), ("zrb_store.cli.show.open_session", False)]
)
def test_ctrl_c_ends_watching_without_an_error(
    command: Commands, store: Store, monkeypatch: pytest.MonkeyPatch, during: str, shown: bool
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(during, interrupt)
    monkeypatch.setattr("zrb_store.cli.show.on_terminal", lambda: True)
    store.session("s").xcom["q"].push(1)
    assert ("Queue q" in command.ok("show", "s", "--watch")) == shown


@pytest.mark.slow
@pytest.mark.systems
def test_a_closed_pipe_is_no_error(folder: Path) -> None:
    with open_store(folder / "store.db") as store:
        store.session("big").xcom["q"].extend(["x" * 1000] * 500)
    shell = f"{' '.join(repr(word) for word in MAIN)} show big --full | head -n 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", shell], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_rows_whose_reader_went_away_are_dropped_after_their_connection(new_location: str) -> None:
    """As at the end of `show --format json | head`, where Python would write a traceback."""
    with open_store(new_location) as store:
        store.session("big").xcom["q"].extend(range(2000))
        with store.database.snapshot() as transaction:
            rows: Any = transaction.stream(sa.select(value.c.data))
            assert next(rows) == ("0",)
    rows.close()


@pytest.mark.slow
def test_a_stream_that_is_not_utf_8_gets_escapes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_store(folder / "store.db") as store:
        store.session("s").xcom["q"].push({"naïve": "文"})
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    for form in ("json", "jsonl", "value", "table"):
        out = subprocess.check_output([*MAIN, "show", "s", "--format", form], text=True)
        assert out.isascii()
        if form == "jsonl":
            assert json.loads(out)["value"] == {"naïve": "文"}


@pytest.mark.slow
@pytest.mark.systems
@pytest.mark.parametrize("args", [["list"], ["get", "inbox", "files"]])
def test_start_up_imports_no_more_than_it_needs(folder: Path, args: list[str]) -> None:
    code = (
        f"import sys; from zrb_store.cli import run; code = run({args!r}); "
        "print(code, [name for name in ('alembic', 'psutil', 'psycopg', 'difflib') if name in sys.modules])"
    )
    out = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert out.splitlines()[-1] == "0 []"


# -- read-only, damaged, running and missing stores


@pytest.fixture
def read_only_store(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A store in a folder that only root can write to."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:  # pytest's own folders are closed to other users
        path = Path(shutil.copy(folder / "store.db", name))
        monkeypatch.setenv("ZRB_STORE_URL", str(path))
        path.chmod(0o444)
        path.parent.chmod(0o555)
        yield path
        path.parent.chmod(0o700)


@pytest.mark.parametrize("args", READS, ids=" ".join)
def test_reads_work_on_a_read_only_file_and_change_nothing(
    folder: Path,
    read_only_store: Path,
    args: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = (folder / "store.db").read_bytes()
    with monkeypatch.context() as patched:
        patched.setenv("ZRB_STORE_URL", str(folder / "store.db"))
        assert cli.run(args) == 0  # import what the command needs while this user may still read it
    assert (folder / "store.db").read_bytes() == before
    shown = capsys.readouterr().out
    with as_nobody():
        assert cli.run(args) == 0
    assert capsys.readouterr().out == shown
    assert [path.name for path in read_only_store.parent.iterdir()] == ["store.db"]
    assert read_only_store.read_bytes() == before


@pytest.mark.slow
@pytest.mark.on_sqlite  # both databases keep the same text
def test_reads_work_on_what_cannot_be_decoded(command: Commands, filled: Store) -> None:
    for seq, data in (
        (1, '{"broken'),
        (2, '{"$": "of a later version", "v": 1}'),
        (3, '{"$": {"no": "type"}}'),
    ):
        filled.database.execute(sa.update(value).where(value.c.seq == seq).values(data=data))
    for args, form in itertools.product(READS, ("json", "jsonl", "value", "table")):
        result = command(*args, "--format", form)
        assert result.code == 0, (args, form)
        names_it = "damaged: value" in result.err
        assert names_it == (args[0] in ("get", "last")), f"who prints one value names its damage: {args} {form}"
    document = parse("show", command.ok("show", "etl-24", "--format", "json"))
    assert document["queues"]["rows"]["values"][0]["value"] == {"$": "undecodable", "raw": '{"broken'}
    assert 'undecodable: {"broken' in command.ok("show", "etl-24", "--full")


def test_bytes_that_are_no_text_hide_nothing_else(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with open_store(folder / "store.db") as store:
        store.database.execute(sa.text("UPDATE zrb_value SET data = CAST(x'22ff22' AS TEXT) WHERE seq = 1"))
    assert cli.run(["show", "etl-24", "--full"]) == 0
    out, err = capsys.readouterr()
    assert '{"id": 2}' in out
    assert "seq=1 (data)" in err


def test_bytes_that_are_no_text_are_taken_like_any_value(tmp_path: Path) -> None:
    with open_store(tmp_path / "store.db") as store:
        queue = store.session("s").xcom["q"]
        queue.extend(["a", "b", "c"])
        store.database.execute(sa.text("UPDATE zrb_value SET data = CAST(x'22ff22' AS TEXT) WHERE seq = 2"))
        for values in (list(queue), [queue.pop(), queue.pop(), queue.pop()]):
            assert repr(values[1]).startswith("<undecodable: '\"\\\\xff\"'")
            assert (values[0], values[2]) == ("a", "c")


@pytest.mark.slow
def test_reads_work_while_a_run_is_under_way(command: Commands, filled: Store) -> None:
    with filled.session("live").run(task="t") as run, run.attempt("t") as attempt:
        attempt.xcom["q"].push("half-way")
        for args in ["list"], ["show", "live"], ["log", "live"], ["trace", "live/q#1"], ["get", "live", "q"]:
            assert command.ok(*args)
        document = parse("show", command.ok("show", "live", "--format", "json"))
        assert (document["status"], document["runs"][0]["status"], document["ended_at"]) == ("running", None, None)
        assert document["tasks"][0]["attempts"][0]["ended_at"] is None


def test_reading_does_not_make_a_store(
    new_location: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    commands = Commands(new_location, monkeypatch, capsys.readouterr)
    for args in READS:
        done = commands(*args)
        assert (args, *done[:2]) == (args, 69, "")
        assert "there is no store" in done.err
        assert "://" in new_location or not Path(new_location).exists()


@pytest.mark.on_sqlite
@pytest.mark.parametrize(
    "args",
    [
        ["show"],
        ["get"],
        ["get", "inbox"],
        ["list", "--limit", "-1"],
        ["list", "--since", "2x"],
        ["show", "a", "b", "c"],
        ["nonsense"],
    ],
)
def test_misuse_is_one_line_and_exit_2(command: Commands, args: list[str]) -> None:
    result = command(*args)
    assert (result.code, result.out) == (2, "")
    assert "--help" in result.err


def test_a_token_of_an_attempt_that_is_gone_does_not_disturb_readers(
    command: Commands, filled: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZRB_STORE_ATTEMPT", "gone/task#1@1")
    assert command.ok("list")
    assert command("show", "@this").code == 3


@pytest.mark.on_sqlite
@pytest.mark.parametrize("name", ["list", "show", "get", "log", "trace", "last", "diff"])
def test_help_has_the_purpose_and_an_example(command: Commands, name: str) -> None:
    text = command.ok(name, "--help")
    assert "Example" in text
    assert f"zrb-store {name}" in text.partition("Example")[2]


@pytest.mark.on_sqlite
@pytest.mark.parametrize(
    ("url", "file", "query"),
    [
        ("sqlite:////tmp/a%20b.db", "/tmp/a b.db", {}),
        ("sqlite:////tmp/a.db?cache=shared", "/tmp/a.db", {"cache": "shared"}),
    ],
)
def test_urls_of_files_that_sqlalchemy_reads(url: str, file: str, query: dict[str, str]) -> None:
    found = store_url(url)
    assert (found.database, dict(found.query)) == (file, query)


def test_the_url_of_a_file_with_an_odd_name_leads_to_it(tmp_path: Path) -> None:
    found = store_url(tmp_path / "100%.db")
    assert make_url(found.render_as_string()).database == str(tmp_path / "100%.db")
