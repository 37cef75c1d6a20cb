"""One SQLite file under two names: each has a -wal file of its own, so changes would get lost. It is not opened."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.commands import Commands
from tests.support.findings import doctor_findings
from zrb_store import StoreUnavailable, open_store

pytestmark = [pytest.mark.promise(number=8), pytest.mark.on_sqlite]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "jobs" / "store.db"
    with open_store(path) as store:
        store.session("inbox").xcom["files"].push("a")
    return path


def linked(path: Path) -> Path:
    link = path.parent.parent / "link.db"
    link.hardlink_to(path)
    return link


@pytest.mark.parametrize("read_only", [False, True])
def test_a_file_with_a_hard_link_is_refused_until_it_goes(path: Path, read_only: bool) -> None:
    link = linked(path)
    for name in (path, link):
        with pytest.raises(StoreUnavailable, match=r"has 2 names \(hard links\).*: remove all names but one; `find"):
            open_store(name, read_only=read_only)
    link.unlink()
    with open_store(path, read_only=read_only) as store:
        assert list(store.session("inbox").xcom["files"]) == ["a"]


def test_a_link_to_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.touch()
    with pytest.raises(StoreUnavailable, match="has 2 names"):
        open_store(linked(path))
    assert path.stat().st_size == 0


def test_a_symbolic_link_is_no_other_name(path: Path) -> None:
    link = path.parent.parent / "link.db"
    link.symlink_to(path)
    with open_store(path) as store, open_store(link) as other:
        other.session("inbox").xcom["files"].push("b")
        assert list(store.session("inbox").xcom["files"]) == ["a", "b"]


def test_a_command_says_it_in_one_line(location: str, command: Commands) -> None:
    command.ok("push", "inbox", "files", "--text", "a")
    link = Path(location).with_name("link.db")
    link.hardlink_to(location)
    result = command("push", "inbox", "files", "--text", "b")
    assert (result.code, result.out, result.err.count("\n")) == (69, "", 1)
    found = command("doctor")
    assert found.code == 1
    assert "has 2 names (hard links)" in found.out + found.err
    link.unlink()
    assert command.ok("get", "inbox", "files") == "a\n"


def test_doctor_finds_a_hard_link(path: Path) -> None:
    linked(path)
    assert {each.check: each.level for each in doctor_findings(str(path))} == {"other-names": "error"}


PUSH = """
import sys
from zrb_store import StoreUnavailable, open_store
try:
    with open_store(sys.argv[1]) as store:
        store.session("inbox").xcom["files"].push(sys.argv[1])
        print(len(store.session("inbox").xcom["files"]))
except StoreUnavailable as error:
    print(error)
"""


@pytest.mark.slow
def test_a_file_that_is_mounted_alone(path: Path) -> None:
    """Its folder may be mounted. Where nobody may mount anything, only the rest of this file is tested."""
    folder = path.parent.parent
    for name in ("single", "whole"):
        (folder / name).mkdir()
    (folder / "single" / "store.db").touch()
    (folder / "push.py").write_text(PUSH)
    python = f"{sys.executable} {folder}/push.py"
    script = (
        f"mount --bind {path} {folder}/single/store.db && mount --bind {path.parent} {folder}/whole || exit 77; "
        f"for name in jobs whole single; do {python} {folder}/$name/store.db || exit 1; done"
    )
    ways = (["unshare", "-m"], ["unshare", "-Urm"]) if shutil.which("unshare") else ()
    for way in ways:
        done = subprocess.run([*way, "sh", "-c", script], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            break
        assert "mount" in done.stderr or "unshare" in done.stderr, done.stderr
    else:
        pytest.skip("this machine lets this user mount nothing")
    jobs, whole, single = done.stdout.splitlines()
    assert (jobs, whole) == ("2", "3")
    assert single == (
        f"the store {folder}/single/store.db is mounted as a single file, and what is pushed here is lost where its "
        "folder is: mount the folder instead"
    )
