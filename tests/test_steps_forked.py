"""Steps of one attempt in several processes: a forked child has the attempt, and its parent goes on with it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.forks import fork
from tests.rows import faults, query
from zrb_store import AttemptClosed, StepUncertain, Store

pytestmark = pytest.mark.usefixtures("sound")


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
