"""A run and its attempts in several processes: a forked child has them, and its parent goes on with them."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.forks import fork
from tests.support.rows import faults, query
from zrb_store import Attempt, AttemptClosed, Run, StepUncertain, Store, ZrbStoreError, open_store

pytestmark = pytest.mark.usefixtures("sound")


@pytest.mark.slow
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
