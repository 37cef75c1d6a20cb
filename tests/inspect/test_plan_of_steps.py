"""How many steps stand according to a plan: those that the next run does not run again."""

from __future__ import annotations

import contextlib

import pytest

from zrb_store import InvalidArgument, Store, codec, step
from zrb_store.attempt import Attempt
from zrb_store.inspect.resume import ResumeOptions, plan
from zrb_store.inspect.workflow import Node, Workflow
from zrb_store.testing import expire_lease

CHAIN = Workflow([Node("load"), Node("clean", upstreams=["load"]), Node("main", upstreams=["clean"])], main="main")


class Boom(Exception):
    """Raised by the tests."""


def planned(store: Store, forced: str | None = None, *, repeat_once: bool = False) -> dict[str, tuple[str, int]]:
    """Return the reason and the number of steps of each task."""
    record = store.session("night").record()
    with store.database.snapshot() as transaction:
        decisions = plan(transaction, record, CHAIN, ResumeOptions(forced, repeat_once=repeat_once))
    return {each.task: (each.reason, each.steps) for each in decisions}


def steps(*names: str, once: bool = False) -> None:
    for name in names:
        step(name, int, name, once=once)


def test_steps_of_failed_and_of_completed_tasks(store: Store) -> None:
    with contextlib.suppress(Boom), store.session("night").run() as run:
        with run.attempt("load"):
            steps("1", "2")
        with run.attempt("clean"):
            steps("1")
            with contextlib.suppress(ValueError):
                steps("no number")
            raise Boom
    assert planned(store) == {"load": ("completed", 2), "clean": ("failed", 1), "main": ("never-started", 0)}
    forced = {"load": ("forced", 0), "clean": ("downstream-of:load", 0), "main": ("downstream-of:load", 0)}
    assert planned(store, "load") == forced


def work(store: Store, attempt: Attempt) -> None:
    """Begin six steps, of which three rest on what the attempt did outside of them."""
    steps("1", "2")
    store.session("inbox").xcom["files"].pop()
    steps("3")
    attempt.xcom["own"].extend([4, 5])
    step("4", attempt.xcom["own"].pop)
    step("5", attempt.xcom["own"].pop)


@pytest.mark.promise(number=11)
@pytest.mark.parametrize("ends", ["failed", "lost"])
def test_steps_that_come_back_with_their_attempt_do_not_count(store: Store, ends: str) -> None:
    store.session("inbox").xcom["files"].push("a.csv")
    if ends == "failed":
        with contextlib.suppress(Boom), store.session("night").run() as run, run.attempt("load") as attempt:
            work(store, attempt)
            raise Boom
    else:
        attempt = store.session("night").run().start().begin("load")
        with contextlib.suppress(Boom), attempt:
            work(store, attempt)
            attempt._open = False  # the process dies here
            raise Boom
        expire_lease(store.session("night"))
    assert planned(store)["load"] == (ends, 2)
    with contextlib.suppress(Boom), store.session("night").run() as run, run.attempt("load"):
        raise Boom
    assert planned(store)["load"] == ("failed", 2)


def test_a_task_that_runs_for_its_result_only_keeps_its_steps(store: Store) -> None:
    with contextlib.suppress(Boom), store.session("night").run() as run:
        with run.attempt("load") as attempt:
            steps("1", "2")
            attempt.complete(codec.encode(object(), lenient=True))
        raise Boom
    assert planned(store)["load"] == ("not-restorable", 2)


def test_a_step_whose_result_could_not_be_stored_does_not_count(store: Store) -> None:
    with contextlib.suppress(Boom), store.session("night").run() as run, run.attempt("load"):
        steps("1")
        with pytest.warns(RuntimeWarning):
            step("2", object)
        raise Boom
    assert planned(store)["load"] == ("failed", 1)


@pytest.mark.promise(number=11)
def test_a_completed_once_step_is_refused(store: Store) -> None:
    with contextlib.suppress(Boom), store.session("night").run() as run:
        with run.attempt("load"):
            steps("1")
        with run.attempt("clean"):
            steps("1", once=True)
            raise Boom
    with pytest.raises(InvalidArgument, match=r"step 1 \(night/clean/1\) has completed and is declared `once`"):
        planned(store, "load")
    assert planned(store, "main")["clean"] == ("failed", 1)
    assert planned(store, "load", repeat_once=True)["clean"] == ("downstream-of:load", 0)
