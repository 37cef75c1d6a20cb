"""What the child processes of tests do. Nothing but the package is imported, since it is imported once for all."""

from __future__ import annotations

import os
import random
import resource
import signal
from multiprocessing.connection import Connection

from zrb_store import StoreUnavailable, ZrbStoreError, open_store


def fork_after_open(pipe: Connection, location: str) -> None:
    """Push before and after a fork, in both processes, while the parent closes the store."""
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
    """Interrupt changes at random moments; after each, this process and another one must be able to write."""
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    with open_store(location) as store, open_store(location) as other:
        other.database.patience = 5
        queue = store.session("s").xcom["q"]
        queue.extend(range(5))
        for _ in range(times):
            try:
                # Again and again, since an interrupt that comes while an object is being freed is lost.
                signal.setitimer(signal.ITIMER_REAL, random.uniform(0.00001, 0.003), 0.25)
                while True:
                    queue.rotate()
                    queue.push(queue.pop())
                    with store.database.snapshot():
                        pass
            except (KeyboardInterrupt, StoreUnavailable):  # psycopg may make it an error of its own
                signal.setitimer(signal.ITIMER_REAL, 0)
            other.session("other").xcom["q"].push("not kept waiting")
            queue.set(0)
            queue.extend(range(4))
        pipe.send((len(queue), len(other.session("other").xcom["q"])))


def rotate_until_told(pipe: Connection, location: str, length: int) -> None:
    """Move the values of a queue from its one end to the other, all the time."""
    with open_store(location) as store:
        queue = store.session("s").xcom["q"]
        queue.extend(range(length))
        pipe.send("filled")
        while not pipe.poll():
            queue.rotate(-length // 3)


def wait(pipe: Connection) -> None:
    """Do nothing until told otherwise."""
    pipe.recv()


def have_a_child(pipe: Connection) -> None:
    """Have one, and do not wait for its end."""
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


def work_for_an_attempt(pipe: Connection, location: str, token: str) -> None:
    """What a command started by a task does: it is told of the attempt by its environment."""
    os.environ |= {"ZRB_STORE_URL": location, "ZRB_STORE_ATTEMPT": token}
    with open_store() as store:
        for session, queue, action, *arguments in iter(pipe.recv, None):
            try:
                pipe.send(getattr(store.session(session).xcom[queue], action)(*arguments))
            except (ZrbStoreError, IndexError) as error:
                pipe.send(error)


def hold_a_run(pipe: Connection, location: str, session: str) -> None:
    """Run a session until told otherwise."""
    with open_store(location) as store, store.session(session).run(task="main"):
        pipe.send("running")
        pipe.recv()
