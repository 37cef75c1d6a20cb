"""The files that commands write, such as `report -o`: whole or not at all, and never in the place of a database."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.commands import Commands
from zrb_store import Store

pytestmark = pytest.mark.on_sqlite

COMMANDS = (("report", "etl-24", "-o"), ("report", "etl-24", "--format", "svg", "-o"), ("export", "-o"))


@pytest.mark.promise(number=8)
@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", "-journal", "-wal.replaced"])
@pytest.mark.needs("page", "transfer", "replay")
def test_no_output_replaces_a_database(
    filled: Store, command: Commands, location: str, tmp_path: Path, suffix: str
) -> None:
    other, soft = (tmp_path / name for name in ("other.db", "soft.db"))
    with closing(sqlite3.connect(other)) as driver:
        driver.execute("CREATE TABLE a (b)")
    soft.symlink_to(location)
    shown = command.ok("show", "etl-24")
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.name in ("other.db", "store.db-wal")}
    for path in (location, str(other), *([] if suffix else [str(soft)])):
        for words in COMMANDS:
            refused = command(*words, f"{path}{suffix}")
            assert (refused.code, "name another file" in refused.err) == (2, True)
        if suffix:
            for writing in (("replay", "etl-24/load#1", "--yes", "--keep"), ("copy", location)):
                assert command(*writing, f"{path}{suffix}").code != 0
    assert command.ok("show", "etl-24") == shown
    assert {path: path.read_bytes() for path in before} == before
    left = {path.name for path in tmp_path.iterdir()}
    assert left - {"store.db", "store.db-wal", "store.db-shm"} == {"other.db", "soft.db"}


@pytest.mark.promise(number=8)
@pytest.mark.needs("page", "transfer")
def test_a_failed_write_keeps_the_old_file(
    filled: Store, command: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "sessions.jsonl"
    command.ok("export", "-o", str(file))
    assert file.read_text() == command.ok("export")
    assert file.stat().st_mode & 0o777 == 0o600
    before = file.read_bytes()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("zrb_store.transfer.commands.export_lines", lambda *_: map(fail, [1]))
    refused = command("export", "-o", str(file))
    assert (refused.code, "cannot be written: No space left on device" in refused.err) == (1, True)
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir() if "part" in path.name] == []
