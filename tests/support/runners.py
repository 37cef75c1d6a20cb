"""Functions of child processes that run sessions. Those that only use queues are in workers.py."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

from zrb_store import ZrbStoreError, open_store
from zrb_store.testing import short_lease


def work_for_an_attempt(pipe: Connection, location: str, token: str) -> None:
    """Act as a command that a task starts: the environment names the attempt."""
    os.environ |= {"ZRB_STORE_URL": location, "ZRB_STORE_ATTEMPT": token}
    with open_store() as store:
        for session, queue, action, *arguments in iter(pipe.recv, None):
            try:
                pipe.send(getattr(store.session(session).xcom[queue], action)(*arguments))
            except (ZrbStoreError, IndexError) as error:
                pipe.send(error)


def hold_a_run(pipe: Connection, location: str, session: str) -> None:
    """Run a session until a message comes."""
    with open_store(location) as store, store.session(session).run(task="main"):
        pipe.send("running")
        pipe.recv()


def run_until_told(pipe: Connection, location: str, session: str, lease: float) -> None:
    """Take a value, push one, and do the writes that the test asks for. Each answers with its error, or None."""
    with short_lease(lease), open_store(location) as store:
        run = store.session(session).run().start()
        queue = store.session("shared").xcom["q"]
        with run.begin("load") as attempt:
            pipe.send((run.number, queue.pop()))
            queue.push("mine")
            writes: dict[str, Callable[[], object]] = {
                "push": lambda: queue.push(1),
                "push elsewhere": lambda: attempt.xcom["new"].push(1),
                "pop": queue.pop,
                "set": lambda: queue.set(1),
                "rotate": queue.rotate,
                "complete": lambda: attempt.complete(1),
                "fail": lambda: attempt.fail(None),
                "begin": lambda: run.begin("report"),
                "begin again": lambda: run.begin("load"),
                "check": lambda: run.begin("is it up?", kind="check"),
                "note tasks": lambda: run.note_tasks({"load": "not started"}),
                "end": lambda: run.end("completed"),
                "fork": fork_and_wait,
            }
            pipe.send(list(writes))
            for write in iter(pipe.recv, None):
                try:
                    writes[write]()
                    pipe.send(None)
                except ZrbStoreError as error:
                    pipe.send(error)
            pipe.send(run.lost)
            os._exit(0)


def fork_and_wait() -> None:
    """Create a child process that ends at once."""
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


def run_in_a_forked_child(pipe: Connection, location: str, seconds: float) -> None:
    """Hold a lease, fork, and let the child run the session `flow` until this process ends."""
    with short_lease(seconds), open_store(location) as store:
        run = store.session("parent").run().start()
        alive, ours = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(ours)
            store.session("flow").run().start()
            pipe.send(os.getpid())
            os.read(alive, 1)  # until the parent ends
            os._exit(0)
        run.end("completed")
        pipe.recv()


def with_a_skewed_clock(pipe: Connection, location: str, seconds: int) -> None:
    """Try to run sessions and to push, as on a machine whose clock is wrong."""
    for name, unit in (("time", 1), ("time_ns", 10**9)):
        right = getattr(time, name)
        setattr(time, name, lambda right=right, unit=unit: right() + seconds * unit)
    with open_store(location) as store:
        for session in iter(pipe.recv, None):
            try:
                run = store.session(session).run().start()
                store.session("shared").xcom["q"].push(session)
                pipe.send(run.number)
            except ZrbStoreError as error:
                pipe.send(error)


def fork_amid_a_step(pipe: Connection, location: str) -> None:
    """Fork while another thread executes a task. The child asks for the task too, and then does another one."""
    executing, go_on = threading.Event(), threading.Event()

    def work() -> None:
        executing.set()
        go_on.wait()

    with open_store(location) as store:
        run = store.session("flow").run().start()
        threading.Thread(target=run.task, args=("load", work), daemon=True).start()
        executing.wait()
        child = os.fork()
        if child == 0:
            try:
                run.task("load", lambda: 0)
            except ZrbStoreError:
                os._exit(run.task("report", lambda: 7))
        pipe.send(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def begin_a_step_and_hang(pipe: Connection, location: str, session: str, step: str) -> None:
    """Take a value outside of steps, complete the step `before`, and hang in a `once` step that has taken another."""
    with open_store(location) as store, store.session(session).run() as run, run.attempt("pay") as attempt:
        attempt.step("before", lambda: "done before")
        attempt.xcom["in"].pop()

        def hang(amount: int) -> None:
            attempt.xcom["in"].pop()
            pipe.send(amount)
            pipe.recv()

        attempt.step(step, hang, 7, once=True)
