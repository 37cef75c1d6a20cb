"""The texts of long values, which lie in chunks."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.support.commands import Commands
from tests.support.rows import all_rows, faults, query
from zrb_store import Store, codec, open_store
from zrb_store.codec import Undecodable
from zrb_store.db.tables import session
from zrb_store.db.transaction import Transaction
from zrb_store.operations import prune
from zrb_store.operations.copy import copy
from zrb_store.operations.sessions import remove_sessions
from zrb_store.queries import chunks, takes
from zrb_store.queries.chunks import LONG_FROM, LONGEST
from zrb_store.records import AttemptRecord
from zrb_store.testing import temporary_store

IN_ROW, IN_CHUNKS = (
    "SELECT seq FROM zrb_value WHERE data <> '' ORDER BY seq",
    "SELECT seq, count(*) FROM zrb_chunk GROUP BY queue_id, seq ORDER BY seq",
)
LONG = "0123456789" * 100_000
TEXTS = [
    LONG,  # first: the one on PostgreSQL in `make test`
    "x" * 3_997,
    "x" * 3_998,
    "x" * (LONGEST - 2),
    "x" * (LONGEST - 1),
    "\u00e9" * (LONGEST - 2),
    "\U0001f600" * (LONGEST + 1),
    '"\\\n\0' * LONGEST,
]


@pytest.fixture(params=TEXTS, ids=lambda text: f"{len(text)} of {text[:1]!a}")
def text(request: pytest.FixtureRequest) -> str:
    """A text whose length is about that from which texts lie in chunks, or much more."""
    long: str = request.param
    return long


def test_where_a_text_lies(store: Store, text: str) -> None:
    encoded = codec.encode(text)
    store.session("s").xcom["q"].push(text)
    long = encoded.size >= LONG_FROM[store.database.dialect_name]
    assert query(store, IN_ROW) == ([] if long else [(1,)])
    assert query(store, IN_CHUNKS) == ([(1, -(-len(encoded.data) // LONGEST))] if long else [])
    assert faults(store) == []


@pytest.mark.slow
def test_each_way_to_read_and_to_take(store: Store, text: str, command: Commands) -> None:
    queue = store.session("s").xcom["q"]
    for push in (queue.push, queue.appendleft, lambda item: queue.extend([item]), lambda item: queue.insert(1, item)):
        push(text)
    assert [queue.peek(), queue.get(), queue[1], queue[-2], *queue] == [text] * 8
    assert (queue.index(text), queue.count(text), text in queue, len(queue)) == (0, 4, True, 4)
    queue.rotate()
    queue.reverse()
    queue[2] = text
    queue.remove(text)
    assert command.ok("get", "s", "q", "--raw") == text.replace("\r", "\n")
    assert [queue.pop(), queue.popright(), queue.pop_many(2)] == [text, text, [text]]
    with pytest.raises(IndexError):
        queue.pop()
    queue.push(text)
    assert command.ok("pop", "s", "q") == text + "\n"
    queue.push(text)
    with store.session("worker").run() as run:
        for delivery in run.consume(queue):
            with delivery as value:
                assert value == text
        with run.attempt("load") as attempt:
            attempt.complete(text)
    done = run.completed("load")
    assert done is not None
    assert run.result(done) == text
    assert faults(store) == []


@pytest.mark.usefixtures("small_chunks")
def test_changes_of_a_queue_agree_with_those_of_a_deque(store: Store) -> None:
    queue, expected = store.session("s").xcom["q"], deque[Any]()
    changes: list[Callable[[Any], object]] = [
        lambda each: each.extend(["one", "four", "a long text", 2, "\u00e9\u00e9\u00e9"]),
        lambda each: each.extendleft(["seventeen", 3]),
        lambda each: each.rotate(2),
        lambda each: each.rotate(-3),
        lambda each: each.reverse(),
        lambda each: each.insert(3, "inserted"),
        lambda each: each.__setitem__(1, "replaced"),
        lambda each: each.__delitem__(4),
        lambda each: each.__imul__(2),
        lambda each: each.remove("inserted"),
    ]
    for change in changes:
        change(queue)
        change(expected)
        assert list(queue) == list(expected)
        assert [queue[place] for place in range(len(queue))] == list(expected)
    assert faults(store) == []
    assert queue.pop_many(5) == [expected.popleft() for _ in range(5)]
    while expected:
        assert queue.pop() == expected.popleft()
    assert faults(store) == []


def test_a_text_that_an_older_version_stored_in_its_row(store: Store, text: str) -> None:
    queue = store.session("s").xcom["q"]
    queue.push(0)
    encoded = codec.encode(text)
    update = sa.text("UPDATE zrb_value SET data = :data, size = :size, type = 'str'")
    store.database.transact(
        lambda transaction: transaction.execute(update, {"data": encoded.data, "size": encoded.size})
    )
    assert [queue.peek(), queue.get(), queue[0], *queue] == [text] * 4
    queue.rotate()
    assert faults(store) == []
    assert queue.pop() == text


@pytest.fixture
def used(store: Store) -> Store:
    """A store with a session that took one long value, and has another one."""
    queue = store.session("s").xcom["q"]
    queue.extend([LONG, "short", LONG[::-1]])
    with store.session("s").run() as run, run.attempt("load") as attempt:
        attempt.complete(queue.pop())
    return store


@pytest.mark.slow
def test_a_fork_and_a_copy_have_the_texts_too(used: Store, tmp_path: Path) -> None:
    used.fork("s", from_task="load", name="again")
    with temporary_store() as other:
        assert copy(used.database, other.database) == 2
        for store in (used, other):
            assert list(store.session("again").xcom["q"]) == [LONG, "short", LONG[::-1]]
            assert list(store.session("s").xcom["q"]) == ["short", LONG[::-1]]
            assert store.last("load", any_project=True) == LONG
            assert faults(store) == []


@pytest.mark.slow
def test_readers_and_views_have_whole_texts(used: Store, command: Commands) -> None:
    used.session("t").xcom["q"].extend([LONG, "short", LONG])
    found = command("diff", "s", "t", "--format", "jsonl")
    assert (found.code, found.err) == (1, "")
    assert command.ok("get", "s", "load", "--result") == LONG + "\n"
    assert LONG[::-1] in command.ok("show", "s", "q", "--format", "json")
    rows = query(used, "SELECT value FROM zrb_xcom_values WHERE session = 's' AND queue = 'q' ORDER BY seq")
    assert [codec.decode(text) for (text,) in rows] == [LONG, "short", LONG[::-1]]
    assert query(used, "SELECT result FROM zrb_xcom_attempts") == [(codec.encode(LONG).data,)]


def test_what_is_deleted_takes_its_text_along(used: Store) -> None:
    inbox = used.session("inbox").xcom["q"]
    inbox.extend([LONG, LONG])
    inbox.pop()
    list(prune.prune(used.database, prune.Policy(older_than=timedelta(0), statuses=("open",))))
    remove_sessions(used.database, "s")
    assert query(used, "SELECT DISTINCT seq FROM zrb_chunk") == [(2,)]
    remove_sessions(used.database, "inbox")
    assert query(used, "SELECT * FROM zrb_chunk") == []


@pytest.mark.parametrize("location", ["sqlite"], indirect=True)
def test_a_take_and_its_give_back_do_not_write_the_text_again(store: Store, location: str) -> None:
    queue = store.session("s").xcom["q"]
    queue.push(LONG)
    with closing(sqlite3.connect(location)) as other:
        assert other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
    with store.session("worker").run() as run:
        attempt = run.begin("load")
        assert store.session("s").xcom.bound_to(attempt)["q"].pop() == LONG
        attempt.fail(ValueError("no"))
    assert queue.pop() == LONG
    assert Path(f"{location}-wal").stat().st_size < 200_000 < len(LONG)


@pytest.mark.parametrize("location", ["sqlite"], indirect=True)  # on PostgreSQL a slow search is looked into
def test_short_values_and_those_in_one_chunk_are_taken_by_one_statement(store: Store) -> None:
    queue = store.session("s").xcom["q"]
    queue.extend(["first", "short", "x" * 9_000, "x" * (LONGEST - 2)])
    assert queue.pop() == "first"  # and look for what dead processes hold
    transaction = store.database._transaction
    assert transaction is not None
    for _ in range(3):
        before = transaction.sent
        queue.pop()
        assert transaction.sent == before + 1
    before = transaction.sent
    queue.push("short")
    assert transaction.sent == before + 1


def test_a_take_that_fails_while_it_reads_leaves_the_value(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """It belongs to no attempt that could give it back."""
    queue = store.session("s").xcom["q"]
    queue.extend([LONG, "next"])
    with monkeypatch.context() as patch:
        patch.setattr(chunks, "whole", _fail)
        with pytest.raises(MemoryError):
            queue.pop()
    assert [queue.pop(), queue.pop()] == [LONG, "next"]


def _fail(*_: object) -> str:
    raise MemoryError


PUSH = """
import os, signal, sys
from zrb_store import open_store
from zrb_store.queries.chunks import LONGEST
from zrb_store.queries import chunks

def add_one(transaction, queue_id, seq, text):
    add(transaction, queue_id, seq, text[:LONGEST])
    os.kill(os.getpid(), signal.SIGKILL)

add, chunks.add = chunks.add, add_one
with open_store(sys.argv[1]) as store:
    getattr(store.session("s").xcom["q"], sys.argv[2])(["x" * 1_000_000])
"""


@pytest.mark.slow
@pytest.mark.parametrize("push", ["push", "extend"])
def test_a_push_that_is_killed_between_its_chunks_pushes_nothing(store: Store, location: str, push: str) -> None:
    store.session("s").xcom["q"].push("before")
    before = all_rows(store)
    done = subprocess.run([sys.executable, "-c", PUSH, location, push], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr  # a slow server is announced before
    assert store.session("s").xcom["q"].pop() == "before"
    assert {**all_rows(store), "zrb_value": 0} == {**before, "zrb_value": 0}


def test_a_text_that_is_deleted_while_it_is_read_is_never_half_a_text(
    store: Store, location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row is read, then its session is deleted, then its chunks are read."""
    queue = store.session("s").xcom["q"]
    done: AttemptRecord | None
    reads: dict[str, tuple[Callable[[], Any], Any]] = {
        "peek": (queue.peek, IndexError),
        "get": (lambda: queue.get("nothing"), "nothing"),
        "at": (lambda: queue[0], IndexError),
        "list": (lambda: list(queue), []),
        "result": (lambda: done and run.result(done), None),
    }
    snapshot = store.database.snapshot
    for name, (read, expected) in reads.items():
        with store.session("s").run() as run, run.attempt("load") as attempt:
            attempt.complete(LONG)
        done = run.completed("load")
        queue.push(LONG)

        def delete_first() -> contextlib.AbstractContextManager[Transaction]:
            with open_store(location) as other:
                remove_sessions(other.database, "s")
            return snapshot()

        with monkeypatch.context() as patch:
            patch.setattr(store.database, "snapshot", delete_first)
            if isinstance(expected, type):
                with pytest.raises(expected):
                    read()
            else:
                assert read() == expected, name


def test_a_pop_of_a_text_whose_session_is_deleted_just_now(
    store: Store, location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = store.session("s").xcom["q"]
    queue.push(LONG)
    take_whole = takes.take_whole

    def delete_first(transaction: Transaction, *args: Any, **named: Any) -> tuple[int, str] | None:
        transaction.execute(sa.delete(session))
        return take_whole(transaction, *args, **named)

    monkeypatch.setattr(takes, "take_whole", delete_first)
    with pytest.raises(IndexError):
        queue.pop()
    assert query(store, "SELECT * FROM zrb_chunk") == []


DAMAGE = [
    "DELETE FROM zrb_chunk",
    "DELETE FROM zrb_chunk WHERE number = 0",
    "DELETE FROM zrb_chunk WHERE number = 1",
    "UPDATE zrb_chunk SET number = 9 WHERE number = 0",
    "UPDATE zrb_chunk SET data = '[' WHERE number = 0",
    "UPDATE zrb_value SET size = 5 WHERE data = ''",
]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_text_is_shown_as_such_and_stays_in_its_place(used: Store, command: Commands, damage: str) -> None:
    queue = used.session("s").xcom["q"]
    used.database.execute(sa.text(damage))
    assert faults(used) != []
    is_whole = "size" in damage
    first, second = list(queue)
    assert first == "short"
    for found in (second, queue[1], queue.get(), queue.popright()):
        assert found == LONG[::-1] if is_whole else isinstance(found, Undecodable)
    shown = command("show", "s", "q", "--format", "json")
    assert shown.code == 0
    assert '"short"' in shown.out
    assert queue.pop() == "short"


@pytest.mark.parametrize("location", ["sqlite"], indirect=True)
def test_a_text_that_is_no_text(used: Store) -> None:
    used.database.execute(sa.text("UPDATE zrb_chunk SET data = CAST(x'ff00' AS TEXT) WHERE number = 1"))
    assert isinstance(used.session("s").xcom["q"].get(), Undecodable)
    assert faults(used) != []


# -- a long text goes in and comes out with at most five times its size in memory (docs/how-to, queues and consumers)

ALLOWED = 5.0
SMALL, LARGE = 1024, 12 * 1024 * 1024  # bytes of JSON

# They are made in another process, from this text and a number.
PIECES: dict[str, bytes | str] = {
    "lines": '2026-11-24 08:00:00 "loading"\n',
    "UTF-8": "\u00e9",
    "bytes": b"xyz",
}

# It is read from /proc, since the kernel's ru_maxrss also counts the memory that the parent had before exec.
TELL_PEAK = """
import json, re, sys
from pathlib import Path

def tell_peak():
    print(re.search(r"VmHWM:.*", Path("/proc/self/status").read_text())[0], file=sys.stderr)
"""
PROGRAM = """
from zrb_store import open_store

with open_store() as store:
    for name, SIZE in json.loads(sys.argv[1]).items():
        queue = store.session("s").xcom[name]
        {}
        tell_peak()
"""
COMMANDS = """
from zrb_store.cli import run

for name, file in json.loads(sys.argv[1]).items():
    sys.stdin = open(file)
    assert run([name if word == "QUEUE" else word for word in sys.argv[2:]]) == 0
    tell_peak()
"""


def growth(script: str, *args: str) -> int:
    """Return how much more memory, in bytes, a program has needed at its end than it needed for a short value."""
    # What is freed of less than 32 MiB, C's allocator may keep. It does not if this is set, even to the default.
    env = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(128 * 1024)}
    command = [sys.executable, "-c", TELL_PEAK + script, *args]
    done = subprocess.run(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 0, done.stderr
    # A slow machine may also say there that its server takes long to answer.
    short, long = map(int, re.findall(r"^VmHWM:\s+(\d+) kB$", done.stderr, re.MULTILINE))
    return (long - short) * 1024


@pytest.fixture
def used_by_programs(store: Store, location: str, monkeypatch: pytest.MonkeyPatch) -> Store:
    """The store that programs and commands use, with a limit that the long value keeps."""
    monkeypatch.setenv("ZRB_STORE_URL", location)
    monkeypatch.setenv("ZRB_STORE_MAX_VALUE", str(2 * LARGE))
    return store


def size_in_json(piece: bytes | str) -> int:
    """Return how many bytes of JSON such a piece is in a long value."""
    return codec.encode(piece * 1000).size // 1000


def check_growth(grown: dict[str, int]) -> None:
    """Check how much more memory each program took with the long value than with the short one."""
    ratios = {name: round(number / LARGE, 2) for name, number in grown.items()}
    assert all(ratio <= ALLOWED for ratio in ratios.values()), ratios
    assert all(ratio > 0.5 for ratio in ratios.values()), f"{ratios}: was the value there at all?"


@pytest.mark.slow
@pytest.mark.parametrize("piece", PIECES.values(), ids=list(PIECES))
@pytest.mark.usefixtures("used_by_programs")
@pytest.mark.long_on_postgresql
def test_a_python_program_pushes_and_takes_a_long_value(piece: bytes | str) -> None:
    actions = {"push": f"queue.push({piece!r} * (SIZE // {size_in_json(piece)}))"}
    actions |= {"peek": "value = queue.peek()", "pop": "value = queue.pop()"}
    sizes = json.dumps({"short": SMALL, "long": LARGE})
    check_growth({name: growth(PROGRAM.format(action), sizes) for name, action in actions.items()})


@pytest.mark.slow
@pytest.mark.usefixtures("used_by_programs")
@pytest.mark.long_on_postgresql
def test_commands_push_and_take_a_long_text(tmp_path: Path) -> None:
    line = str(PIECES["lines"])
    files = {"short": tmp_path / "short", "long": tmp_path / "long"}
    files["short"].write_text(line)
    files["long"].write_text(line * (LARGE // size_in_json(line)))
    commands = {
        "push": ["push", "s", "QUEUE", "-", "--text"],
        "get": ["get", "s", "QUEUE"],
        "get --raw": ["get", "s", "QUEUE", "--raw"],
        "pop": ["pop", "s", "QUEUE"],
    }
    named = json.dumps({name: str(file) for name, file in files.items()})
    check_growth({name: growth(COMMANDS, named, *words) for name, words in commands.items()})
