"""Steps in several threads and processes: each has its own result and number, and the dead change nothing."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from tests.support.forks import fork
from tests.support.postgres import wait_until
from tests.support.processes import DEADLINE, Child, children
from tests.support.rows import all_rows, faults, is_waiting, query
from tests.support.steps import Boom, Counted, attempt_of, failing, recorded
from zrb_store import (
    Attempt,
    AttemptClosed,
    LeaseLost,
    Run,
    StepUncertain,
    Store,
    Xcom,
    ZrbStoreError,
    open_store,
    step,
)
from zrb_store.queries import steps
from zrb_store.testing import expire_lease

pytestmark = pytest.mark.usefixtures("sound")

VALUES = 120


@pytest.mark.promise(number=11)
def test_many_threads_begin_steps_at_once(store: Store) -> None:
    """Each step has a number of its own, and each thread the result of its own step."""
    session = store.session("night")
    session.xcom["in"].extend(range(48))

    def move(attempt: Attempt, number: int) -> int:
        taken: int = attempt.xcom["in"].pop()
        attempt.xcom["out"].push(taken)
        return 100 * number + taken

    for fails in (True, False):
        with attempt_of(store, fails=fails) as attempt, ThreadPoolExecutor(12) as pool:
            ready = threading.Barrier(12)

            def work(number: int, attempt: Attempt = attempt, ready: threading.Barrier = ready) -> list[int]:
                ready.wait()
                return [attempt.step(f"move {n}", move, attempt, n) for n in range(4 * number, 4 * number + 4)]

            results = [result for part in pool.map(work, range(12)) for result in part]
        assert [result // 100 for result in results] == list(range(48))
        assert sorted(result % 100 for result in results) == list(range(48))
    assert sorted(session.xcom["out"]) == list(range(48))
    numbers = query(store, "SELECT step_number FROM zrb_attempt WHERE step_of IS NOT NULL ORDER BY step_number")
    assert [number for (number,) in numbers] == list(range(1, 49))


@pytest.mark.promise(number=11)
def test_two_threads_with_a_step_of_one_name(store: Store) -> None:
    began, go_on = threading.Event(), threading.Event()

    def slow() -> str:
        began.set()
        assert go_on.wait(60)
        return "slow"

    with attempt_of(store) as attempt, ThreadPoolExecutor(1) as pool:
        first = pool.submit(attempt.step, "page", slow)
        assert began.wait(60)
        try:
            with pytest.raises(ZrbStoreError, match=r"step page of night/convert#1 is running: .* different names"):
                attempt.step("page", int)
            assert attempt.step("other", int) == 0
        finally:
            go_on.set()
        assert first.result() == "slow"
        assert attempt.step("page", int) == 0
    assert recorded(store, "convert/3").step == "page~2"


def exit_code(work: Callable[[], None]) -> int:
    """Call a function in a forked process, and return its exit code."""
    return os.waitstatus_to_exitcode(os.waitpid(fork(work), 0)[1])


def fork_amid_an_attempt(pipe: Connection, location: str) -> None:
    """Run steps in this process and in forked ones, and fork inside a step."""
    with open_store(location) as store, attempt_of(store) as attempt:
        step("here", int)
        pipe.send([exit_code(partial(step, name, attempt.xcom["out"].push, name)) for name in ("a", "b")])
        step("here too", int)

        def push_and_nest() -> None:
            attempt.xcom["out"].push("of the step")
            with pytest.raises(ZrbStoreError, match="steps do not nest"):
                step("inner", int)

        pipe.send(step("forking", exit_code, push_and_nest))


def test_forked_processes_run_steps(store: Store, location: str) -> None:
    with Child(fork_amid_an_attempt, location) as child:
        assert child.receive() == [0, 0]
        assert child.receive() == 0
        assert child.join() == 0
    found = query(store, "SELECT step_number, number, step FROM zrb_attempt WHERE step_of IS NOT NULL ORDER BY id")
    assert [tuple(row) for row in found] == [
        (1, 1, "here"),
        (2, 1, "a"),
        (3, 1, "b"),
        (4, 1, "here too"),
        (5, 1, "forking"),
    ]
    assert list(store.session("night").xcom["out"]) == ["a", "b", "of the step"]


def test_a_process_that_lost_its_lease_changes_nothing_by_a_step(store: Store, location: str) -> None:
    """Not even by running a step again whose result could not be stored, which is given back before."""
    session = store.session("night")
    session.xcom["in"].extend("ab")

    def take(into: str) -> object:
        session.xcom[into].push(session.xcom["in"].pop())
        return object()

    run = session.run().start()
    with run.attempt("convert") as attempt:
        with pytest.warns(RuntimeWarning, match="step take"):
            attempt.step("take", take, "out")
        with pytest.raises(Boom):
            attempt.step("fail", failing)
        attempt.fail()
    attempt = run.attempt("convert")
    expire_lease(session)
    with open_store(location) as other, other.session("night").run():
        before = all_rows(store)
        for name, arguments in (("take", ["out"]), ("fail", []), ("new", [])):
            with pytest.raises(LeaseLost):
                attempt.step(name, take, *arguments)
        attempt.__exit__(Boom, Boom(), None)
        assert all_rows(store) == before
    assert list(session.xcom["out"]) == ["a"]


def test_a_step_that_completes_while_its_attempt_ends_stands(store: Store, location: str) -> None:
    """The end of the attempt waits for the completion, and then leaves it alone."""
    completing, waiting = threading.Event(), threading.Event()

    def complete(step_id: int) -> None:
        def work(transaction: object) -> None:
            assert steps.complete(transaction, step_id, "7", restorable=True)  # type: ignore[arg-type]
            completing.set()
            assert waiting.wait(60)

        with open_store(location) as other:
            other.database.transact(work)

    with attempt_of(store) as attempt:
        begun = steps.begin(store.database, attempt.id, "convert", 1, steps.NewStep("page", "[[],{}]"))
        assert begun is not None
        thread = threading.Thread(target=complete, args=[begun.id])
        thread.start()
        assert completing.wait(60)
        closing: list[object] = []
        closer = threading.Thread(
            target=lambda: closing.append(store.database.transact(lambda t: steps.close_running(t, attempt.id)))
        )
        closer.start()
        if store.database.dialect_name == "postgresql":
            with open_store(location) as watcher:
                wait_until(lambda: is_waiting(watcher), lambda: "the end of the attempt does not wait")
        waiting.set()
        thread.join()
        closer.join()
        assert closing == [[]]
        assert attempt.step("page", Counted()) == 7


def test_a_step_in_a_thread_that_outlives_its_attempt_is_refused_whatever_it_does(store: Store) -> None:
    ended = threading.Event()
    errors: list[type[BaseException]] = []

    def outlive(attempt: Attempt) -> None:
        began.set()
        assert ended.wait(60)
        changes = (lambda: attempt.xcom["out"].push(1), lambda: attempt.xcom["in"].pop(), lambda: step("x", int))
        for change in changes:
            try:
                change()
            except ZrbStoreError as error:
                errors.append(type(error))

    with attempt_of(store) as attempt, ThreadPoolExecutor(1) as pool:
        attempt.xcom["in"].push("a")
        began = threading.Event()
        late = pool.submit(attempt.step, "late", outlive, attempt)
        assert began.wait(60)
        attempt.complete()
        ended.set()
        with pytest.raises(AttemptClosed):
            late.result()
    assert errors == [AttemptClosed, AttemptClosed, ZrbStoreError]
    assert list(store.session("night").xcom["in"]) == ["a"]


def work_until_all_are_moved(pipe: Connection, location: str, number: int) -> None:
    """Move values from the inbox to the outbox until all are there, by attempts and steps that often fail."""
    generator = random.Random(number)
    with open_store(location) as store:
        queues = store.session("shared").xcom
        with store.session(f"worker-{number}").run() as run:
            ends = time.monotonic() + DEADLINE
            for task in range(10_000):
                if len(queues["out"]) == VALUES:
                    break
                assert time.monotonic() < ends
                while not run.completed(f"task {task}"):
                    with contextlib.suppress(Boom):
                        move_some(run, f"task {task}", queues["in"], queues["out"], generator)
        pipe.send("done")


def move_some(run: Run, task: str, source: Xcom, target: Xcom, generator: random.Random) -> None:
    def move(fails: bool) -> None:
        with contextlib.suppress(IndexError):
            target.push(source.pop())
        if fails:
            raise Boom

    def perhaps_fail() -> bool:
        return generator.random() < 0.2

    with run.attempt(task) as attempt:
        move_by_steps(attempt, move, generator)
        if generator.random() < 0.5:
            move(perhaps_fail())
            move_by_steps(attempt, move, generator)
        if perhaps_fail():
            raise Boom


def move_by_steps(attempt: Attempt, move: Callable[[bool], None], generator: random.Random) -> None:
    for _ in range(generator.randrange(3)):
        with contextlib.suppress(Boom) if generator.random() < 0.5 else contextlib.nullcontext():
            attempt.step(f"move {generator.random()}", move, generator.random() < 0.2)


@pytest.mark.promise(number=11)
def test_each_value_is_moved_exactly_once_by_processes_that_fail_at_random(store: Store, location: str) -> None:
    queues = store.session("shared").xcom
    queues["in"].extend(range(VALUES))
    with children(4, work_in_child, location) as workers:
        for number, worker in enumerate(workers):
            worker.send(number)
        assert [worker.receive() for worker in workers] == ["done"] * 4
    assert sorted(queues["out"]) == list(range(VALUES))
    assert list(queues["in"]) == []
    running = query(store, "SELECT task FROM zrb_attempt WHERE status = 'running'")
    assert running == []


def work_in_child(pipe: Connection, location: str) -> None:
    work_until_all_are_moved(pipe, location, pipe.recv())


@pytest.mark.slow
@pytest.mark.systems
@pytest.mark.promise(number=11)
def test_a_once_step_that_a_forked_child_did_or_began_is_not_done_again(store: Store, tmp_path: Path) -> None:
    """The process has run a step before, so it knows the task's steps, but not those of the child."""
    done = tmp_path / "done"

    def charge(who: str) -> str:
        with done.open("a") as file:
            print(who, file=file)
        return "receipt"

    def charge_and_die(who: str) -> None:
        charge(who)
        os.kill(os.getpid(), signal.SIGKILL)

    def charge_ann() -> None:
        attempt.step("ann", charge, "ann", once=True)

    with store.session("s").run() as run, run.attempt("pay") as attempt:
        attempt.step("list", list)
        os.waitpid(fork(charge_ann), 0)
        assert attempt.step("ann", charge, "ann", once=True) == "receipt"
        os.waitpid(fork(lambda: attempt.step("bob", charge_and_die, "bob", once=True)), 0)
        with pytest.raises(StepUncertain, match="step bob"):
            attempt.step("bob", charge_and_die, "bob", once=True)
        os.waitpid(fork(lambda: attempt.step("cid", charge_and_die, "cid")), 0)
        assert attempt.step("cid", charge, "cid") == "receipt", "it may be repeated"
        assert [attempt.step(f"page {number}", int) for number in range(3)] == [0, 0, 0]
    assert done.read_text().split() == ["ann", "bob", "cid", "cid"]
    assert faults(store) == []


@pytest.mark.promise(number=11)
def test_of_two_processes_that_do_one_step_at_once_only_one_completes_it(store: Store) -> None:
    begun, goes_on = os.pipe(), os.pipe()

    def slowly() -> str:
        os.write(begun[1], b"!")
        os.read(goes_on[0], 1)
        return "child"

    def child() -> None:
        with pytest.raises(AttemptClosed):
            attempt.step("one", slowly)

    with store.session("s").run() as run, run.attempt("pay") as attempt:
        attempt.step("list", list)
        pid = fork(child)
        os.read(begun[0], 1)
        assert attempt.step("one", lambda: "parent") == "parent"
        os.write(goes_on[1], b"!")
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    steps = query(store, "SELECT status, result FROM zrb_attempt WHERE step = 'one' ORDER BY id")
    assert [tuple(row) for row in steps] == [("interrupted", None), ("completed", '"parent"')]


def crash(*_: Any) -> None:
    raise RuntimeError("of the child")


def end_what_is_the_parents(run: Run, attempt: Attempt) -> None:
    for end in (attempt.complete, attempt.fail):
        with pytest.raises(AttemptClosed, match="only that one can end it"):
            end()
    with pytest.raises(ZrbStoreError, match="only that one can end it"):
        run.end("failed")
    if attempt.task == "work":  # deliveries are attempts of no task
        with pytest.raises(ZrbStoreError, match="work#1 is running"):
            run.begin("work")


WAYS: dict[str, tuple[Callable[[Run, Attempt], Any], int]] = {
    "falls through": (lambda run, attempt: None, 0),
    "exits": (lambda run, attempt: sys.exit(3), 3),
    "raises": (crash, 1),
    "ends": (end_what_is_the_parents, 0),
}


@pytest.mark.slow
@pytest.mark.systems
@pytest.mark.promise(number=5)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ["attempt", "delivery", "step"])
def test_a_forked_child_that_leaves_the_blocks_ends_nothing(store: Store, inbox: Any, kind: str, way: str) -> None:
    """The parent's run and attempt go on, and the value that it holds stays with it."""
    leave, code = WAYS[way]
    parent = os.getpid()

    def work(run: Run, attempt: Attempt) -> None:
        child = os.fork()
        if child == 0:
            leave(run, attempt)
            return
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == code
        assert query(store, "SELECT status FROM zrb_attempt WHERE step_of IS NULL") == [("running",)]
        with open_store(store.database.url.render_as_string(hide_password=False)) as other:
            assert other.session("s").status == "running"
            assert other.session("inbox").xcom["files"].pop() == "b"

    code_of_child = 1
    try:
        with store.session("s").run() as run:
            if kind == "delivery":
                for delivery in run.consume(inbox, on_error="raise"):
                    with delivery:
                        work(run, delivery.attempt)
                    break
            else:
                with run.attempt("work") as attempt:
                    inbox.pop()
                    if kind == "attempt":
                        work(run, attempt)
                    else:
                        attempt.step("page", lambda: work(run, attempt))
        code_of_child = 0
    except SystemExit as error:
        code_of_child = int(str(error.code))
    except AttemptClosed:
        code_of_child = code if kind == "step" else 1  # the step has to end before its block is left
    finally:
        if os.getpid() != parent:
            os._exit(code_of_child)
    assert store.session("s").status == "completed"
    assert list(inbox) == ["c"]
