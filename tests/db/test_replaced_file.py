"""A store whose file is deleted or replaced while processes have it open acknowledges nothing more."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pytest

from tests.support.attempts import acting_as
from tests.support.postgres import DEADLINE, wait_until
from zrb_store import Store, StoreUnavailable, open_store
from zrb_store.db.dialect import sqlite
from zrb_store.testing import short_lease

pytestmark = pytest.mark.parametrize("location", ["sqlite"], indirect=True)

GONE = "was deleted or replaced while this process had it open: end this process, and start it again"


def delete(path: Path) -> None:
    path.unlink()


def move_away(path: Path) -> None:
    path.rename(path.with_name("moved.db"))


def replace(path: Path) -> None:
    """Replace the file as `mv other.db store.db` does."""
    other = path.with_name("other.db")
    with open_store(other) as store:
        store.session("other").xcom["q"].push("theirs")
    other.rename(path)


@pytest.mark.parametrize("lose", [delete, move_away, replace])
def test_every_write_notices_that_the_file_is_gone(store: Store, location: str, lose: Callable[[Path], None]) -> None:
    queue = store.session("s").xcom["q"]
    queue.extend([1, 2])
    run = store.session("flow").run().start()
    attempt = run.begin("load")
    queue.push(3)
    lose(Path(location))

    def as_attempt() -> None:
        with acting_as(attempt):
            queue.push(4)

    changes: list[Callable[[], object]] = [
        lambda: queue.push(4),
        queue.pop,
        as_attempt,
        queue.rotate,
        lambda: store.session("new").xcom["q"].push(1),
        lambda: attempt.complete(1),
        lambda: run.end("completed"),
        lambda: list(queue),  # now that the loss is known, reading is refused too
    ]
    for change in changes:
        with pytest.raises(StoreUnavailable, match=GONE):
            change()


def test_a_store_that_takes_the_place_of_another_is_not_harmed_by_it(store: Store, location: str) -> None:
    """The -wal file of the old store must not be read into the new one."""
    path = Path(location)
    queue = store.session("s").xcom["q"]
    queue.extend(["old"] * 100)
    replace(path)
    with pytest.raises(StoreUnavailable, match=GONE):
        queue.push("lost")
    assert not path.with_name("store.db-wal").exists()
    with open_store(path) as new:
        assert list(new.session("other").xcom["q"]) == ["theirs"]
        assert [one.name for one in new.sessions()] == ["other"]
        new.session("other").xcom["q"].push("more")
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


HOLD = """
import sys
from zrb_store import open_store
store = open_store(sys.argv[1])
store.session("s").xcom["q"].push(1)
print("pushed", flush=True)
sys.stdin.readline()
if sys.argv[2] == "notices":
    store.session("s").xcom["q"].push(2)
elif sys.argv[2] == "closes":
    store.close()
"""


@pytest.mark.parametrize("end", ["notices", "closes", "ends"])
def test_the_log_of_a_new_store_of_that_name_is_left_alone(location: str, end: str) -> None:
    """It makes no difference what the process with the old store does."""
    path = Path(location)
    with subprocess.Popen([sys.executable, "-c", HOLD, location, end], stdin=PIPE, stdout=PIPE, text=True) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == "pushed\n"
        for name in ("store.db", "store.db-wal", "store.db-shm"):
            (path.parent / name).rename(path.parent / f"old-{name}")
        with open_store(path) as new:
            new.session("new").xcom["q"].extend(range(10))
            log = path.with_name("store.db-wal").stat().st_ino
            child.communicate("go on\n", timeout=DEADLINE)
            assert child.returncode == (1 if end == "notices" else 0)
            assert path.with_name("store.db-wal").stat().st_ino == log
            new.session("new").xcom["q"].push(10)
            with open_store(path) as another:
                assert list(another.session("new").xcom["q"]) == list(range(11))


def test_a_file_that_is_replaced_while_it_is_opened(
    store: Store, location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, open_file = Path(str(store.database.url.database)), sqlite._open
    store.close()

    def opened(*args: Any, **kwargs: Any) -> Any:
        monkeypatch.undo()
        driver = open_file(*args, **kwargs)
        path.rename(path.with_name("moved.db"))
        return driver

    monkeypatch.setattr(sqlite, "_open", opened)
    with open_store(location) as late:
        with open_store(location) as new:
            new.session("s").xcom["q"].push(1)
        with pytest.raises(StoreUnavailable, match=GONE):
            late.session("s").xcom["q"].push(2)


def test_the_renewal_of_the_lease_notices_too(store: Store, location: str) -> None:
    with short_lease(2):
        run = store.session("flow").run().start()
        replace(Path(location))
        wait_until(lambda: run.lost, lambda: "the run does not notice it")
    with pytest.raises(StoreUnavailable, match=GONE):
        run.end("completed")


def test_a_new_connection_opens_the_same_file(store: Store, location: str) -> None:
    """A connection is opened again after a fork, for example."""
    store.session("s").xcom["q"].push(1)
    replace(Path(location))
    store.database.before_fork()
    store.database.after_fork(in_child=False)
    with pytest.raises(StoreUnavailable, match=GONE):
        store.session("other").xcom["q"].peek()


@pytest.mark.slow
def test_a_log_that_is_deleted_costs_no_other_process_its_values(store: Store, location: str) -> None:
    """SQLite would write the log that it still has open over what others have written since, and delete theirs."""
    queue = store.session("s").xcom["q"]
    queue.push(1)
    for ending in ("-wal", "-shm"):
        Path(location + ending).unlink()
    assert elsewhere(location, "queue.push('theirs')") == ["theirs"]
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match=GONE):
            queue.push(2)
    store.close()
    assert elsewhere(location, "") == ["theirs"]


def elsewhere(location: str, statement: str) -> list[str]:
    """Let another process do something with the queue, and return what is in it then."""
    code = f"import sys, zrb_store\nqueue = zrb_store.open_store(sys.argv[1]).session('s').xcom['q']\n{statement}\n"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}print(*queue)", location], stdout=PIPE, text=True, check=True, timeout=DEADLINE
    )
    return done.stdout.split()
