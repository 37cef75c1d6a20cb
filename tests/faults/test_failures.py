"""Failures of the surroundings of a store lead to one clear error, and nothing acknowledged is lost."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.attempts import acting_as
from tests.support.processes import Child
from tests.support.rows import all_rows, faults
from tests.support.workers import press_ctrl_c, run_out_of_files, try_as_nobody
from zrb_store import InvalidArgument, Store, StoreMissing, StoreUnavailable, ZrbStoreError, open_store
from zrb_store.db import patience
from zrb_store.db.dialect.sqlite import PAGE_SIZE
from zrb_store.db.engine import Database

ON_SQLITE = pytest.mark.parametrize("location", ["sqlite"], indirect=True)
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user, or mount")


@contextmanager
def refused(message: str, error: type[ZrbStoreError] = StoreUnavailable) -> Iterator[None]:
    """Expect an error of exactly this class, with this message on one line, which tells no password."""
    with pytest.raises(error, match=message) as caught:
        yield
    assert type(caught.value) is error
    assert "\n" not in str(caught.value)
    assert "s3cret" not in str(caught.value)


def fill_up(push: Callable[[str], None]) -> int:
    """Push until the disk is full, and return how many pushes were acknowledged."""
    for count in range(100_000):
        try:
            push("x" * 500)
        except StoreUnavailable as error:
            reason = "cannot grow: the disk is full; free some space and try again (database or disk is full)"
            if not str(error).endswith(reason):
                raise
            return count
    raise AssertionError("the disk does not fill up")


class TestFullDisk:
    @pytest.mark.promise(number=8)
    @ON_SQLITE
    def test_nothing_is_lost_and_work_goes_on_when_there_is_room(self, store: Store) -> None:
        session = store.session("flow")
        run = session.run().start()
        attempt = run.begin("load")
        queue = session.xcom["q"]
        limit(store, 20)
        store.database.timeout = 0.0
        with acting_as(attempt):
            count = fill_up(queue.push)
            assert list(queue) == ["x" * 500] * count
            before = all_rows(store)
            changes: list[Callable[[], object]] = [
                lambda: queue.extend(["x" * 500] * 100),
                lambda: queue.set("x" * 50_000),
                lambda: queue.insert(1, "x" * 50_000),
                lambda: attempt.complete("x" * 50_000),
                lambda: session.xcom["new"].push("x" * 50_000),
            ]
            for change in changes:
                with refused("the disk is full"):
                    change()
            rows = all_rows(store)
            # A refused push to a new queue may leave the empty queue behind.
            assert {name: rows[name] for name in rows if name != "zrb_queue"} == {
                name: before[name] for name in rows if name != "zrb_queue"
            }
            queue.pop()
            limit(store, 10_000)
            queue.push("there is room")
        attempt.complete("x" * 50_000)
        assert len(queue) == count
        assert faults(store) == []
        assert integrity(store) == "ok"

    @ON_SQLITE
    def test_a_push_waits_for_room(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        limit(store, 2)
        monkeypatch.setattr(patience.Backoff, "sleep", lambda wait: limit(store, 10_000))
        store.session("s").xcom["q"].push("x" * 50_000)
        assert len(store.session("s").xcom["q"]) == 1

    @AS_ROOT
    def test_a_small_file_system(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """On a disk that is really full, SQLite cannot even take a value out, since that writes too."""
        monkeypatch.setattr(Database, "timeout", 0.0)
        command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("mounting is not allowed here")
        try:
            with open_store(tmp_path / "store.db") as store:
                queue = store.session("s").xcom["q"]
                filler = tmp_path / "filler"
                filler.write_bytes(b"x" * 300_000)
                count = fill_up(queue.push)
                with refused("the disk is full"):
                    while True:
                        queue.pop()
                left = len(queue)
                assert 0 < left <= count
                filler.unlink()
                queue.push("there is room")
                assert len(queue) == left + 1
                assert integrity(store) == "ok"
                assert faults(store) == []
            with suppress(OSError):
                filler.write_bytes(b"x" * 1_000_000)
            with refused("the disk is full"), open_store(tmp_path / "new.db"):
                pass
        finally:
            subprocess.run(["umount", "-l", str(tmp_path)], check=True)


def limit(store: Store, pages: int) -> None:
    """Limit the growth of the database file to this number of pages."""

    def work(transaction: object) -> None:
        driver = transaction.driver  # type: ignore[attr-defined]
        [[used]] = driver.execute("PRAGMA page_count").fetchall()
        driver.execute(f"PRAGMA max_page_count = {used + pages}")

    store.database.transact(work)


def integrity(store: Store) -> str:
    [[answer]] = store.database.transact(lambda t: t.driver.execute("PRAGMA integrity_check").fetchall())
    return str(answer)


@pytest.mark.promise(number=8)
@ON_SQLITE
def test_locked_by_another_program(store: Store, location: str) -> None:
    queue = store.session("s").xcom["q"]
    queue.extend([1, 2])
    store.database.timeout = 0.2
    with closing(sqlite3.connect(location, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for change in (lambda: queue.push(3), queue.pop, queue.rotate, lambda: store.session("new").xcom["q"].push(1)):
            with refused("is locked by another program; end it, or try again later"):
                change()
        assert list(queue) == [1, 2]  # readers do not wait for a writer
        other.execute("ROLLBACK")
    queue.push(3)
    assert list(queue) == [1, 2, 3]


def test_opened_while_another_program_makes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Database, "timeout", 0.2)
    monkeypatch.setattr("zrb_store.db.migrate.WAIT_SECONDS", 0.2)
    path = tmp_path / "store.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with refused("is locked by another program"):
            open_store(path)
    open_store(path).close()


class TestFiles:
    def test_a_file_that_is_no_database_is_refused_unchanged(self, tmp_path: Path) -> None:
        path = tmp_path / "store.db"
        path.write_text("These are my notes.\n" * 100)
        with refused("is not a SQLite database; name another file in ZRB_STORE_URL"):
            open_store(path)
        assert path.read_text() == "These are my notes.\n" * 100

    def test_a_damaged_database_is_refused_with_the_way_to_save_it(self, sqlite_template: Path, tmp_path: Path) -> None:
        path = tmp_path / "store.db"
        path.write_bytes(sqlite_template.read_bytes())
        with open_store(path) as store:
            store.session("s").xcom["q"].extend(["x" * 1000] * 50)
        whole = path.read_bytes()
        path.write_bytes(whole[:PAGE_SIZE] + b"\xff" * (len(whole) - PAGE_SIZE))
        with refused("is damaged; restore a backup, or save what is readable with `sqlite3 FILE .recover`"):
            open_store(path)

    def test_a_folder_is_refused_as_store(self, tmp_path: Path) -> None:
        with refused(f"the store {tmp_path} is a folder; name a file in it"):
            open_store(tmp_path)

    def test_a_file_in_place_of_the_folder(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with refused(f"the store {tmp_path}/file/store.db cannot be created: (File exists|Not a directory)"):
            open_store(tmp_path / "file" / "store.db")

    @pytest.mark.parametrize(
        ("location", "says"),
        [
            ("a\0b", "no file can be at 'a"),
            ("~no-such-user/x.db", "no file can be at '~no-such-user/x.db'"),
            ("a\udcff.db", "has bytes that are not UTF-8"),
        ],
    )
    def test_a_location_that_is_no_path_is_refused(self, location: str, says: str) -> None:
        with refused(says, InvalidArgument):
            open_store(location)

    @pytest.mark.parametrize(
        ("error", "says", "locations"),
        [
            pytest.param(
                StoreUnavailable,
                "an in-memory database is lost with its process: name a file instead",
                (":memory:", "sqlite://", "sqlite:///:memory:"),
                id="in memory",
            ),
            pytest.param(
                StoreUnavailable,
                "'mysql' is not supported: use a file path, sqlite:///PATH or postgresql",
                ("mysql://user:s3cret@host/db",),
                id="another kind",
            ),
            pytest.param(
                InvalidArgument,
                "the store's URL is malformed",
                ("postgresql+psycopg://user:s3cret@host:port/db", "sqlite:x.db", "sqlite:/x.db"),
                id="malformed",
            ),
        ],
    )
    def test_a_url_of_no_store_is_refused_without_its_password(
        self, error: type[ZrbStoreError], says: str, locations: Sequence[str]
    ) -> None:
        for location in locations:
            with refused(says, error):
                open_store(location)

    def test_reading_makes_no_file_and_no_table(self, tmp_path: Path) -> None:
        with refused(f"there is no store at {tmp_path}/a/store.db; the first run or push creates it", StoreMissing):
            open_store(tmp_path / "a" / "store.db", read_only=True)
        (tmp_path / "empty.db").touch()
        with refused("there is no store in", StoreMissing):
            open_store(tmp_path / "empty.db", read_only=True)
        assert [(path.name, path.stat().st_size) for path in tmp_path.iterdir()] == [("empty.db", 0)]

    def test_a_job_of_cron_reads_the_default(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Its environment lacks `ZRB_STORE_URL`, and its home folder may be another."""
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.delenv("ZRB_STORE_URL", raising=False)
        why = r" \(the default, because ZRB_STORE_URL is not set\); the first run or push creates it"
        path = tmp_path.resolve() / ".zrb" / "xcom.db"
        with refused(f"there is no store at {path}{why}", StoreMissing):
            open_store(read_only=True)
        path.parent.mkdir()
        path.touch()
        with refused(f"there is no store in sqlite:///{path}{why}", StoreMissing):
            open_store(read_only=True)
        with refused(f"there is no store at {tmp_path}/other.db; the first run", StoreMissing):
            open_store(tmp_path / "other.db", read_only=True)

    @pytest.mark.promise(number=8)
    def test_nobody_else_may_read_it(self, tmp_path: Path) -> None:
        """The umask makes no difference."""
        before = os.umask(0)
        try:
            with open_store(tmp_path / "above" / "new" / "store.db") as store:
                store.session("s").xcom["q"].push("secret")
                modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "above" / "new").iterdir()}
        finally:
            os.umask(before)
        assert modes == {"store.db": 0o600, "store.db-wal": 0o600, "store.db-shm": 0o600}
        assert [(tmp_path / each).stat().st_mode & 0o777 for each in ("above", "above/new")] == [0o700, 0o700]


def test_a_store_opened_for_reading_refuses_to_write(location: str, store: Store) -> None:
    store.session("s").xcom["q"].extend([1, 2])
    with open_store(location, read_only=True) as reader:
        queue = reader.session("s").xcom["q"]
        assert (list(queue), queue.peek(), len(queue)) == ([1, 2], 1, 2)
        for change in (lambda: queue.push(3), queue.pop, queue.rotate, lambda: reader.session("flow").run().start()):
            with refused("cannot be written: its file or folder is read-only|does not allow this"):
                change()
    assert list(store.session("s").xcom["q"]) == [1, 2]


@AS_ROOT
class TestAnotherUser:
    @pytest.fixture
    def folder(self) -> Iterator[Path]:
        """A folder that other users can reach; pytest's own folders are closed to them."""
        with tempfile.TemporaryDirectory(dir="/tmp") as folder:
            Path(folder).chmod(0o755)
            yield Path(folder)

    def as_nobody(self, path: Path, action: str) -> list[object]:
        with Child(try_as_nobody, str(path), action) as child:
            answer: list[object] = child.receive()
            return answer

    def make(self, path: Path, mode: int) -> Store:
        store = open_store(path)
        store.session("s").xcom["q"].push("theirs")
        for file in path.parent.iterdir():
            file.chmod(mode)
        return store

    @pytest.mark.parametrize("action", ["read", "write"])
    def test_a_file_that_is_closed_to_others(self, folder: Path, action: str) -> None:
        self.make(folder / "store.db", 0o600).close()
        assert self.as_nobody(folder / "store.db", action) == [
            "StoreUnavailable",
            f"the store {folder}/store.db cannot be opened; it must be a file that this user may read, "
            "in a folder it may write (unable to open database file)",
        ]

    @pytest.mark.parametrize("owner", ["has it open", "has closed it"])
    def test_a_file_that_others_may_read(self, folder: Path, owner: str) -> None:
        store = self.make(folder / "store.db", 0o644)
        if owner == "has closed it":
            store.close()
        assert self.as_nobody(folder / "store.db", "read") == ["theirs"]
        error, message = self.as_nobody(folder / "store.db", "write")
        assert error == "StoreUnavailable"
        assert isinstance(message, str)
        assert f"the store {folder}/store.db cannot be" in message
        assert "\n" not in message
        store.close()
        with open_store(folder / "store.db") as store:
            assert list(store.session("s").xcom["q"]) == ["theirs"]

    @pytest.mark.parametrize("action", ["read", "write"])
    def test_a_folder_that_is_closed_to_others(self, folder: Path, action: str) -> None:
        (folder / "closed").mkdir(mode=0o700)
        self.make(folder / "closed" / "store.db", 0o644).close()
        error, message = self.as_nobody(folder / "closed" / "store.db", action)
        assert error == "StoreUnavailable"
        assert message == (
            f"the store {folder}/closed/store.db is not allowed to this user; "
            "check the rights of the file and its folder (Permission denied)"
        )

    def test_a_new_store_where_this_user_may_not_write(self, folder: Path) -> None:
        for path in (folder / "store.db", folder / "new" / "store.db"):
            error, message = self.as_nobody(path, "write")
            assert error == "StoreUnavailable"
            assert f"the store {path} is not allowed to this user; check the rights" in str(message)
        assert list(folder.iterdir()) == []


def test_ctrl_c_at_any_moment_leaves_the_connection_usable(location: str) -> None:
    with Child(press_ctrl_c, location, 60) as child:
        assert child.receive() == (5, 60)


@pytest.mark.unpooled
def test_ctrl_c_while_psycopg_counts_a_statement(new_postgres: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """After that, psycopg does not know any more that the message which begins a transaction cannot be prepared."""
    from psycopg._preparing import PrepareManager

    validate = PrepareManager.validate
    interrupted: list[bytes] = []

    def interrupt(manager: PrepareManager, key: tuple[bytes, object], *others: object) -> None:
        if not interrupted and key[0].startswith(b"BEGIN"):
            interrupted.append(key[0])
            raise KeyboardInterrupt
        validate(manager, key, *others)  # type: ignore[arg-type]

    with open_store(new_postgres) as store:
        queue = store.session("s").xcom["q"]
        queue.push("first")
        monkeypatch.setattr(PrepareManager, "validate", interrupt)
        with pytest.raises(KeyboardInterrupt):
            queue.extend(["never", "pushed"])
        for number in range(10):
            queue.extend([number])
        assert len(interrupted) == 1
        assert list(queue) == ["first", *range(10)]


@pytest.mark.promise(number=8)
def test_a_process_that_may_open_no_more_files_is_told_so(location: str) -> None:
    with Child(run_out_of_files, location) as child:
        for error, message in child.receive():
            assert error is StoreUnavailable
            assert re.fullmatch(
                r"[^\n]*: this process has reached its limit of open files: close some, [^\n]*", message
            )
        assert child.join() == 0
