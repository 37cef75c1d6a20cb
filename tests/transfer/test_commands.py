"""The commands `export`, `import` and `copy`."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import Commands
from tests.support.history import fill_with_history
from tests.support.postgres import wait_until
from tests.support.sessions import parse_lines
from tests.transfer.exports import comparable, exported
from zrb_store import Store, open_store
from zrb_store.operations.copy import FIELDS
from zrb_store.render import terminal as its_terminal

pytestmark = pytest.mark.long_on_postgresql


@pytest.mark.slow
def test_export_and_import_carry_all_records(
    command: Commands, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_with_history(store)
    everything = command.ok("export")
    assert everything.encode() == exported(store)
    assert {line["record"] for line in parse_lines("export", everything)} == {"zrb-store", *FIELDS, "end"}
    assert command.ok("export", "inb").encode() == exported(store, "inbox"), "a reader accepts a unique beginning"
    assert command("export", "nothing").code == 3
    (tmp_path / "file.jsonl").write_text(everything)
    assert command("import", str(tmp_path / "file.jsonl")).code == 1
    monkeypatch.setenv("ZRB_STORE_URL", str(tmp_path / "new.db"))
    assert command.ok("import", str(tmp_path / "file.jsonl"), "--rename", "etl=etl-2") == "6 sessions\n"
    monkeypatch.setenv("ZRB_STORE_URL", str(tmp_path / "newer.db"))
    assert command("import", "-", stdin=everything[:-10]).code == 1
    assert command.ok("import", stdin=everything) == "6 sessions\n"
    assert comparable(command.ok("export").encode()) == comparable(everything.encode())
    assert command("import", str(tmp_path / "none.jsonl")).code == 2
    assert command("import", "--rename", "etl").code == 2


def test_copy_takes_the_named_sessions_once(command: Commands, store: Store, location: str, tmp_path: Path) -> None:
    fill_with_history(store)
    there = str(tmp_path / "new folder" / "copy.db")
    assert command.ok("copy", location, there, "etl") == "1 session\n"
    assert "there is a session etl in" in command("copy", location, there).err
    assert command.ok("copy", location, there, "inbox", "reader", "under", "again", "shop") == "5 sessions\n"
    with open_store(there) as copied:
        assert {session.name for session in copied.sessions()} == {session.name for session in store.sessions()}
    assert command("copy", location, location).code == 2
    assert command("copy", str(tmp_path / "none.db"), there).code == 69
    assert not (tmp_path / "none.db").exists()


def test_progress_is_shown_on_a_terminal(
    command: Commands, store: Store, location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_with_history(store)
    terminal = io.StringIO()
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    assert command("copy", location, str(tmp_path / "copy.db")).out == "6 sessions\n"
    assert terminal.getvalue() == "", "it was quick"
    monkeypatch.setattr(its_terminal, "_PATIENCE", 0.01)

    def copy(*args: Any) -> int:
        args[3](3, 5)
        wait_until(lambda: "60%" in terminal.getvalue(), terminal.getvalue)
        return 5

    monkeypatch.setattr("zrb_store.transfer.commands.copy_sessions", copy)
    assert command("copy", location, str(tmp_path / "copy.db")).out == "5 sessions\n"
    assert re.search(r"\r\x1b\[Kcopying: 60% \(3 of 5\), \d+ s\r", terminal.getvalue())
    assert terminal.getvalue().endswith("\r\x1b[K"), "nothing is left of it"


@pytest.mark.on_sqlite
@pytest.mark.parametrize("name", ["export", "import", "copy"])
def test_help_has_an_example(command: Commands, name: str) -> None:
    assert f"zrb-store {name} " in command.ok(name, "--help").partition("Example")[2]


@pytest.mark.on_sqlite
def test_a_line_of_an_import_has_a_limit(
    store: Store, command: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A longer one is not read to its end."""
    monkeypatch.setenv("ZRB_STORE_MAX_VALUE", "1000")
    store.session("s").xcom["q"].push('"\u00e9\x7f' * 200)
    lines = tmp_path / "lines"
    lines.write_text(command.ok("export", "s"))
    assert command("import", str(lines), "--rename", "s=copy").code == 0
    with lines.open("wb") as file:
        file.truncate(1024**3)  # of NUL, without a newline, and without a place on the disk
    refused = command("import", str(lines))
    assert (refused.code, "line 1 of" in refused.err, "ZRB_STORE_MAX_VALUE allows" in refused.err) == (1, True, True)
