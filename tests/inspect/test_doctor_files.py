"""`doctor` and the files of a SQLite store: their access rights, their location, and damage in them."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.findings import doctor_findings
from tests.support.rights import as_nobody
from zrb_store import StoreMissing, open_store, system
from zrb_store.db.dialect.sqlite import PAGE_SIZE, SQLite
from zrb_store.db.engine import Database
from zrb_store.db.location import store_url
from zrb_store.inspect import doctor
from zrb_store.inspect.doctor import examine
from zrb_store.system.linux import Linux


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A closed store with a history, in its own folder."""
    path = tmp_path / "own folder" / "store.db"
    with open_store(path) as store:
        store.session("s").xcom["q"].extend(["x" * 2000] * 200)
        with store.session("s2").run() as run:
            run.task("a", lambda: 1)
    return path


def checks(path: Path) -> dict[str, str]:
    return {finding.check: finding.level for finding in doctor_findings(str(path))}


def test_a_new_store_is_healthy_and_is_left_as_it_is(path: Path) -> None:
    before = path.read_bytes()
    assert checks(path) == {}
    assert path.read_bytes() == before


@pytest.fixture
def open_path(path: Path) -> Iterator[Path]:
    """A copy of that store in a folder that every user can reach."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # pytest's own folders are closed to other users
        yield Path(shutil.copy(path, folder))


@pytest.mark.parametrize(
    ("place", "mode", "finding"),
    [
        ("store.db", 0o644, {"file-rights": "error"}),
        ("store.db", 0o660, {"file-rights": "warning"}),
        ("store.db-wal", 0o604, {"file-rights": "error"}),
        (".", 0o777, {"folder-rights": "error"}),
        (".", 0o1777, {"folder-rights": "warning"}),
        (".", 0o770, {"folder-rights": "warning"}),
        (".", 0o755, {"folder-rights": "warning"}),
        (".", 0o711, {}),
        (".", 0o750, {}),
    ],
)
def test_doctor_finds_rights_that_are_too_wide(open_path: Path, place: str, mode: int, finding: dict[str, str]) -> None:
    with open_store(open_path) as store:
        store.session("s").xcom["q"].push(1)
        (open_path.parent / place).chmod(mode)
        assert checks(open_path) == finding


def test_a_store_that_a_group_shares(open_path: Path) -> None:
    open_path.parent.chmod(0o2770)
    open_path.chmod(0o660)
    assert checks(open_path) == {}, "docs/explanation/security.md shares a store so"
    open_path.chmod(0o640)
    open_path.parent.chmod(0o2750)
    assert checks(open_path) == {"file-rights": "warning"}, "a group that may only read was not given the folder"
    open_path.chmod(0o660)
    open_path.parent.chmod(0o2775)
    assert checks(open_path) == {"folder-rights": "warning"}
    assert "chmod 2770" in " ".join(finding.remedy for finding in doctor_findings(str(open_path)))


def test_a_folder_that_nobody_else_gets_to_may_be_open_itself(path: Path) -> None:
    path.parent.chmod(0o755)
    assert checks(path) == {}


def test_a_user_who_may_only_read_gets_correct_findings(path: Path, open_path: Path) -> None:
    open_path.chmod(0o444)
    open_path.parent.chmod(0o555)
    checks(path)  # import what the check needs while this user may still read it
    with as_nobody():
        assert checks(open_path) == {"file-rights": "error", "folder-rights": "warning", "not-writable": "warning"}
    open_path.parent.chmod(0o700)


@pytest.mark.parametrize(("before", "after"), [(0o644, 0o600), (0o660, 0o600), (0o400, 0o400), (0o600, 0o600)])
def test_a_store_made_in_an_empty_file_is_its_owners_alone(tmp_path: Path, before: int, after: int) -> None:
    file = tmp_path / "store.db"
    file.touch()
    file.chmod(before)
    SQLite(store_url(file)).create()
    assert file.stat().st_mode & 0o777 == after
    if before & 0o200:
        with open_store(file) as store:
            store.session("s").xcom["q"].push(1)
            assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
        file.chmod(0o660)
        with open_store(file) as store:
            store.session("s").xcom["q"].push(1)
        assert file.stat().st_mode & 0o777 == 0o660, "the mode of a file that is not empty must not change"


def test_what_cannot_be_written(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Root can do everything, so the system's answer is replaced.
    monkeypatch.setattr(os, "access", lambda _, mode, **__: mode != os.W_OK)
    assert [one.remedy for one in doctor_findings(str(path)) if one.check == "not-writable"] == [
        f"chmod u+w {path}",
        f"chmod u+w {path.parent}",
    ]
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    assert {one.remedy for one in doctor_findings(str(path)) if one.check == "not-writable"} == {
        "give it to this user or to a group (mode 660, folder 2770)"
    }
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    assert checks(path) == {}, "a file that cannot be read cannot be opened either, and that is told"


@pytest.mark.parametrize(("kind", "finding"), [("nfs4", {"file-system": "warning"}), ("ext4", {})])
def test_doctor_finds_a_file_system_on_a_network(
    path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str, finding: dict[str, str]
) -> None:
    mounts = tmp_path / "mounts"
    mounted = str(path.parent.resolve()).replace(" ", "\\040")
    mounts.write_text(f"/dev/vda / ext4 rw 0 0\nserver:/x {mounted} {kind} rw 0 0\nserver:/y {mounted}er nfs rw 0 0\n")
    monkeypatch.setattr(system, "here", lambda: Linux(tmp_path))
    assert checks(path) == finding
    monkeypatch.setattr(system, "here", lambda: Linux(tmp_path / "none"))
    assert checks(path) == {}


@pytest.mark.parametrize(("version", "bad"), [((3, 46, 1), True), ((3, 51, 2), True), ((3, 51, 3), False)])
def test_doctor_finds_a_release_of_sqlite_with_a_known_bug(
    path: Path, monkeypatch: pytest.MonkeyPatch, version: tuple[int, ...], bad: bool
) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", version)
    with closing(Database(store_url(path), read_only=True)) as database:
        assert [finding.check for finding in examine(database)] == ["sqlite-release"] * bad


def test_doctor_finds_another_journal_mode(path: Path) -> None:
    with closing(sqlite3.connect(path)) as driver:
        driver.execute("PRAGMA journal_mode=DELETE")
    assert checks(path) == {"journal-mode": "error"}


def test_the_first_writer_of_a_copy_sets_the_journal_mode(path: Path) -> None:
    copy = path.with_name("copy.db")
    with closing(sqlite3.connect(path)) as driver:
        driver.execute(f"VACUUM INTO '{copy}'")
    assert checks(copy)["journal-mode"] == "error"
    with open_store(copy) as store:
        store.session("s").xcom["q"].push(1)
    assert "journal-mode" not in checks(copy)


def test_doctor_finds_a_large_wal(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "LARGE_WAL", 1000)
    with open_store(path) as store:
        store.session("s").xcom["q"].push(1)
        assert checks(path) == {"wal-size": "warning"}
    assert checks(path) == {}


def test_rows_that_refer_to_nothing(path: Path) -> None:
    with closing(sqlite3.connect(path)) as driver:
        driver.execute("DELETE FROM zrb_session WHERE name = 's'")
        driver.commit()
    (finding,) = doctor_findings(str(path))
    assert (finding.level, finding.check) == ("error", "references")
    assert "1 rows refer to missing rows (in zrb_queue)" in finding.what


def test_an_index_that_misses_rows(path: Path) -> None:
    with closing(sqlite3.connect(path)) as driver:
        driver.execute("PRAGMA writable_schema=ON")
        everything = "substr(sql, 1, instr(sql, 'WHERE') - 1)"
        driver.execute(f"UPDATE sqlite_master SET sql = {everything} WHERE name = 'ix_zrb_value_taken_by'")
        driver.commit()
    (finding,) = doctor_findings(str(path))
    assert (finding.level, finding.check) == ("error", "integrity")
    assert re.fullmatch(r"the file is damaged \(.* index ix_zrb_value_taken_by and \d+ more\)", finding.what)


def test_doctor_finds_a_damaged_page(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-PAGE_SIZE * 20 : -PAGE_SIZE * 10] = b"\x55" * PAGE_SIZE * 10
    path.write_bytes(content)
    assert "error" in checks(path).values()


@pytest.mark.parametrize("content", [b"", b"not a database" * 100, b"SQLite format 3\0" + b"\xff" * 5000])
def test_what_is_no_store(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    if content:
        assert "error" in checks(path).values()
    else:
        with pytest.raises(StoreMissing):
            doctor_findings(str(path))


@pytest.mark.parametrize("content", [b"not a database" * 100, b"SQLite format 3\0" + b"\x55" * 5000])
def test_what_is_wrong_with_the_whole_file_is_reported_once(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert [finding.check for finding in doctor_findings(str(path))] == ["unreadable"]


def test_what_stops_several_checks_is_reported_once(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[PAGE_SIZE : PAGE_SIZE * 6] = b"\x55" * PAGE_SIZE * 5
    path.write_bytes(content)
    assert [finding.check for finding in doctor_findings(str(path))] == ["unreadable"]


def test_doctor_finds_a_truncated_file(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)
    assert "error" in checks(path).values()
