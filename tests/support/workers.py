"""Functions of child processes. This module imports only the package, since a server process preloads both once."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import resource
import signal
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any

from zrb_store import Store, ZrbStoreError, cli, codec, open_store
from zrb_store.db.engine import Database
from zrb_store.db.location import store_url
from zrb_store.db.transaction import Transaction
from zrb_store.operations import mark, prune, sessions
from zrb_store.operations.sessions import pin, remove_sessions
from zrb_store.operations.stop import stop
from zrb_store.operations.values import drop, pop, push, replace, requeue_all, set_max_deliveries
from zrb_store.queries import takes, values
from zrb_store.queries.pushers import EVERYBODY
from zrb_store.runtime import reclaim
from zrb_store.testing import obey_environment


def fork_after_open(pipe: Connection, location: str) -> None:
    """Push before and after a fork, in both processes. The parent closes the store before the child's last push."""
    store = open_store(location)
    queue = store.session("s").xcom["q"]
    queue.push("before")
    child_reads, parent_writes = os.pipe()
    child = os.fork()
    if child == 0:
        queue.push("child")
        pipe.send("forked")
        os.read(child_reads, 1)
        queue.push("child, after the parent closed")
        os._exit(0)
    pipe.recv()
    queue.push("parent")
    store.close()
    os.write(parent_writes, b"x")
    pipe.send(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    pipe.recv()


def press_ctrl_c(pipe: Connection, location: str, times: int) -> None:
    """Interrupt changes at random moments. After each, this process and another one must be able to write."""
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    with open_store(location) as store, open_store(location) as other:
        other.database.timeout = 5
        queue = store.session("s").xcom["q"]
        queue.extend(range(5))
        for _ in range(times):
            try:
                # Repeat it, since an interrupt that comes while an object is being freed is lost.
                signal.setitimer(signal.ITIMER_REAL, random.uniform(0.00001, 0.003), 0.25)
                while True:
                    queue.rotate()
                    queue.push(queue.pop())
                    with store.database.snapshot():
                        pass
            except KeyboardInterrupt:
                signal.setitimer(signal.ITIMER_REAL, 0)
            other.session("other").xcom["q"].push("not kept waiting")
            queue.set(0)
            queue.extend(range(4))
        pipe.send((len(queue), len(other.session("other").xcom["q"])))


def push_in_signal_handlers(pipe: Connection, location: str, times: int) -> None:
    """Push from a signal handler while the program uses the store; answer what was pushed and how many were refused."""
    with open_store(location) as store:
        xcom = store.session("s").xcom
        xcom["q"].extend(range(5))
        numbers = itertools.count()  # each handler has its own number, even if it interrupts another handler
        acknowledged = []
        refused = 0

        def handle(*_: object) -> None:
            nonlocal refused
            number = next(numbers)
            try:
                xcom["signals"].push(number)
                acknowledged.append(number)
            except RuntimeError:
                refused += 1

        signal.signal(signal.SIGALRM, handle)
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        try:
            while len(acknowledged) + refused < times or not (acknowledged and refused):
                with contextlib.suppress(IndexError):
                    del xcom["q"][9]
                xcom["q"].rotate()
                store.sessions()
                sum(range(2000))  # a moment in which the store is not in use
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        pipe.send((acknowledged, refused))


def rotate_until_told(pipe: Connection, location: str, length: int) -> None:
    """Move the values of a queue from one end to the other until a message comes."""
    with open_store(location) as store:
        queue = store.session("s").xcom["q"]
        queue.extend(range(length))
        pipe.send("filled")
        while not pipe.poll():
            queue.rotate(-length // 3)


def wait(pipe: Connection) -> None:
    """Do nothing until a message comes."""
    pipe.recv()


def have_a_child(pipe: Connection) -> None:
    """Create a child process, and do not wait for its end."""
    alive, ours = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(ours)
        os.read(alive, 1)  # until the parent ends
        os._exit(0)
    pipe.send(child)
    pipe.recv()


def hold_many_files(pipe: Connection, location: str, count: int) -> None:
    """Use a store whose connection has a file descriptor above `count`."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    files = [os.open(os.devnull, os.O_RDONLY) for _ in range(count)]
    with open_store(location) as store:
        queue = store.session("s").xcom["q"]
        queue.push(1)
        queue.push(2)
        pipe.send(list(queue))
    for file in files:
        os.close(file)


def push_and_take(pipe: Connection, location: str, number: int, rounds: int) -> None:
    """Use two queues that other processes use too: `line` is first in, first out, and `both` is used at both ends.

    Answers what this process took from each queue, and how long the longest operation took.
    """
    with open_store(location) as store:
        line, both = (store.session("s").xcom[name] for name in ("line", "both"))
        pipe.send("ready")
        pipe.recv()
        taken: tuple[list[Any], list[Any]] = [], []

        def operations(turn: int) -> Iterator[None]:
            line.push((number, turn))
            yield
            taken[0].append(line.pop())
            yield
            (both.push if turn % 2 else both.appendleft)((number, turn))
            yield
            taken[1].append((both.pop if turn % 3 else both.popright)())
            yield

        moments = [time.monotonic() for turn in range(rounds) for _ in operations(turn)]
        longest = max(later - earlier for earlier, later in itertools.pairwise(moments))
        pipe.send((*taken, longest))


def fail_on_shared_queues(pipe: Connection, location: str, number: int, rounds: int) -> None:
    """Fail attempts that take from, push to and rotate two shared queues; answer how many deadlocks PostgreSQL saw."""
    refused = 0
    with open_store(location) as store:
        is_busy = store.database.dialect.is_busy

        def counted(error: BaseException) -> bool:
            nonlocal refused
            refused += getattr(error, "sqlstate", None) == "40P01"
            return is_busy(error)

        store.database.dialect.is_busy = counted  # type: ignore[method-assign]
        shared = store.session("shared").xcom
        pipe.send("ready")
        pipe.recv()
        with store.session(f"worker-{number}").run() as run:
            for _ in range(rounds):
                with contextlib.suppress(Undone), run.attempt("t"):
                    for one, other in (("a", "b"), ("b", "a")):
                        with contextlib.suppress(IndexError):
                            shared[one].pop()
                        shared[other].push(number)
                        shared[one].rotate(2)
                    raise Undone
            with run.attempt("t"):
                pass  # beginning this attempt gives back the last one
        pipe.send(refused)


POISON_EVERY = 100


def is_poison(value: int) -> bool:
    """Whether a value kills the process that takes it."""
    return value % POISON_EVERY == POISON_EVERY // 2


def consume(pipe: Connection, location: str, name: str) -> None:
    """Consume the inbox until a message comes, or a poison value kills this process."""
    with open_store(location) as store, store.session(name).run() as run:
        done = store.session("done").xcom["files"]
        while not pipe.poll():
            for delivery in run.consume(store.session("inbox").xcom["files"], wait=0.05):
                with delivery as value:
                    done.push(value)
                    if is_poison(value):
                        os.kill(os.getpid(), signal.SIGKILL)
                if pipe.poll():
                    break


def open_and_push(pipe: Connection, location: str, number: int) -> None:
    """Open a store at the same moment as other processes."""
    pipe.send("ready")
    pipe.recv()
    with open_store(location) as store:
        store.session("s").xcom["q"].push(number)
        pipe.send(len(store.session("s").xcom["q"]))


class Undone(Exception):
    """The error that rolls a transaction back."""


def take_and_sometimes_undo(pipe: Connection, location: str) -> None:
    """Take values until the queue is empty, and roll back every tenth take."""
    with open_store(location) as store:
        queue_id = store.session("s").xcom.queue_id("q")
        pipe.send("ready")
        pipe.recv()

        def take(transaction: Transaction) -> int | None:
            found = takes.take_whole(transaction, queue_id, None)
            if found and random.random() < 0.1:
                raise Undone
            return found[0] if found else None

        taken: list[int] = []
        while values.count(store.database, queue_id, EVERYBODY):
            with contextlib.suppress(Undone):
                seq = store.database.transact(take)
                if seq is not None:
                    taken.append(seq)
        pipe.send(taken)


def try_as_nobody(pipe: Connection, path: str, action: str) -> None:
    """Read or write a store as another user; answer with the values, or with the class and message of the error."""
    from zrb_store.db import migrate as migrate  # that user may not be allowed to import it

    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
    try:
        with open_store(path, read_only=action == "read") as store:
            queue = store.session("s").xcom["q"]
            if action == "write":
                queue.push("mine")
            pipe.send(list(queue))
    except ZrbStoreError as error:
        pipe.send([type(error).__name__, str(error)])


MANUAL_CHANGES: dict[str, Callable[[Store], object]] = {
    "drop": lambda store: drop(store.database, ["inbox/files#1", "inbox/poison#1"], "why"),
    "fork": lambda store: sessions.fork(store.database, "etl", "load"),
    "mark": lambda store: mark.mark(store.database, "etl", "load", codec.encode("by hand")),
    "pin": lambda store: pin(store.database, "etl"),
    "pop": lambda store: pop(store.database, "inbox", "files", None),
    "prune": lambda store: list(prune.prune(store.database, prune.Policy(keep_last=0))),
    "push": lambda store: push(store.database, "inbox", "files", codec.encode("d.csv"), None),
    "queue": lambda store: set_max_deliveries(store.database, "inbox", "files", 5),
    "reclaim": lambda store: reclaim.search(store.database, store.session("inbox").xcom.queue_id("files"), None),
    "replace": lambda store: replace(store.database, "inbox/poison#1", codec.encode("long" * 2000), "why"),
    "requeue": lambda store: requeue_all(store.database, "inbox", "poison"),
    "rm": lambda store: remove_sessions(store.database, "etl"),
    "stop": lambda store: stop(store.database, "worker"),
}


def change_by_hand(pipe: Connection, location: str, change: str, testing: str) -> None:
    """Make a change that people make by hand, in a process that obeys ZRB_STORE_TESTING."""
    if testing:
        os.environ["ZRB_STORE_TESTING"] = testing
        obey_environment()
    with open_store(location) as store:
        MANUAL_CHANGES[change](store)


def consume_once(pipe: Connection, location: str, command: list[str], testing: str) -> None:
    """Run `zrb-store consume` for one value, in a process that obeys ZRB_STORE_TESTING."""
    os.environ["ZRB_STORE_URL"] = store_url(location).render_as_string(hide_password=False)
    os.environ["ZRB_STORE_TESTING"] = testing
    obey_environment()
    cli.run(["consume", "inbox", "files", "--", *command])


def run_out_of_files(pipe: Connection, location: str) -> None:
    """Do things while this process may open no more files, and tell how each failed."""
    with open_store(location) as used:
        used.session("s").xcom["q"].push(0)
        Database.timeout = 0.5
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        files = []
        with contextlib.suppress(OSError):
            while True:
                files.append(os.open(os.devnull, os.O_RDONLY))
        errors: list[tuple[type[Exception], str] | None] = []
        for work in (lambda: used.session("flow").run().start(), lambda: open_store(location)):
            try:
                work()
                errors.append(None)
            except Exception as error:  # noqa: BLE001 - the test looks at it
                errors.append((type(error), str(error)))
        for file in files:
            os.close(file)
        used.session("flow").run().start()
        pipe.send(errors)
