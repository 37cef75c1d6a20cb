"""`doctor` and the files of a SQLite store: their rights, where they are, and what is damaged in them."""

from __future__ import annotations

import os
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.test_doctor import found
from zrb_store import StoreMissing, open_store, settings
from zrb_store.db.engine import Database
from zrb_store.operations.doctor import examine, files


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store with a past, in a folder of its own, closed."""
    path = tmp_path / "own folder" / "store.db"
    with open_store(path) as store:
        store.session("s").xcom["q"].extend(["x" * 2000] * 200)
        with store.session("s2").run() as run:
            run.step("a", lambda: 1)
    return path


def checks(path: Path) -> dict[str, str]:
    return {finding.check: finding.level for finding in found(str(path))}


def test_a_new_store_is_healthy_and_is_left_as_it_is(path: Path) -> None:
    before = path.read_bytes()
    assert checks(path) == {}
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("place", "mode", "finding"),
    [
        ("store.db", 0o644, {"file-rights": "error"}),
        ("store.db", 0o660, {"file-rights": "warning"}),
        ("store.db-wal", 0o604, {"file-rights": "error"}),
        (".", 0o777, {"folder-rights": "error"}),
        (".", 0o1777, {}),
        (".", 0o755, {}),
    ],
)
def test_rights(path: Path, place: str, mode: int, finding: dict[str, str]) -> None:
    with open_store(path) as store:
        store.session("s").xcom["q"].push(1)
        (path.parent / place).chmod(mode)
        assert checks(path) == finding


def test_what_cannot_be_written(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    assert checks(path) == {"not-writable": "warning"}


@pytest.mark.parametrize(("kind", "finding"), [("nfs4", {"file-system": "warning"}), ("ext4", {})])
def test_file_system(
    path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str, finding: dict[str, str]
) -> None:
    mounts = tmp_path / "mounts"
    mounted = str(path.parent.resolve()).replace(" ", "\\040")
    mounts.write_text(f"/dev/vda / ext4 rw 0 0\nserver:/x {mounted} {kind} rw 0 0\nserver:/y {mounted}er nfs rw 0 0\n")
    monkeypatch.setattr(files, "MOUNTS", mounts)
    assert checks(path) == finding
    monkeypatch.setattr(files, "MOUNTS", tmp_path / "none")
    assert checks(path) == {}


@pytest.mark.parametrize(("version", "bad"), [((3, 46, 1), True), ((3, 51, 2), True), ((3, 51, 3), False)])
def test_release(path: Path, monkeypatch: pytest.MonkeyPatch, version: tuple[int, ...], bad: bool) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", version)
    with closing(Database(settings.store_url(path), read_only=True, check=False)) as database:
        assert [finding.check for finding in examine(database)] == ["sqlite-release"] * bad


def test_journal_mode(path: Path) -> None:
    with closing(sqlite3.connect(path)) as driver:
        driver.execute("PRAGMA journal_mode=DELETE")
    assert checks(path) == {"journal-mode": "error"}


def test_wal_size(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LARGE_WAL", 1000)
    with open_store(path) as store:
        store.session("s").xcom["q"].push(1)
        assert checks(path) == {"wal-size": "warning"}
    assert checks(path) == {}


def test_rows_that_refer_to_nothing(path: Path) -> None:
    with closing(sqlite3.connect(path)) as driver:
        driver.execute("DELETE FROM zrb_session WHERE name = 's'")
        driver.commit()
    (finding,) = found(str(path))
    assert (finding.level, finding.check) == ("error", "references")
    assert "1 rows refer to rows that are not there (in zrb_queue)" in finding.what


def test_an_index_that_misses_rows(path: Path) -> None:
    with closing(sqlite3.connect(path)) as driver:
        driver.execute("PRAGMA writable_schema=ON")
        everything = "substr(sql, 1, instr(sql, 'WHERE') - 1)"
        driver.execute(f"UPDATE sqlite_master SET sql = {everything} WHERE name = 'ix_zrb_value_taken_by'")
        driver.commit()
    (finding,) = found(str(path))
    assert (finding.level, finding.check) == ("error", "integrity")
    assert re.fullmatch(r"the file is damaged \(.* index ix_zrb_value_taken_by and \d+ more\)", finding.what)


def test_a_damaged_page(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-4096 * 20 : -4096 * 10] = b"\x55" * 4096 * 10
    path.write_bytes(content)
    assert "error" in checks(path).values()


@pytest.mark.parametrize("content", [b"", b"not a database" * 100, b"SQLite format 3\0" + b"\xff" * 5000])
def test_what_is_no_store(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    if content:
        assert "error" in checks(path).values()
    else:
        with pytest.raises(StoreMissing):
            found(str(path))


def test_a_truncated_file(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)
    assert "error" in checks(path).values()
