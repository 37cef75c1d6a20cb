"""Sessions whose attempts push, take, fail and die in every way: random scenarios."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

from tests.support.rows import query
from zrb_store import Attempt, Run, Store
from zrb_store.queries import attempts, sessions
from zrb_store.queries.give_back import give_back
from zrb_store.run import RunSpec

QUEUES = ["p", "q"]

TASKS = ["a", "b", "c"]


class Died(Exception):
    """The error with which a task fails."""


def fail_at_load(store: Store, name: str = "etl") -> None:
    """Run a session in which `extract` completes, and `load` takes values, pushes one, and fails."""
    store.session(name).xcom["in"].extend([1, 2, 3])
    run = store.session(name).prepare(RunSpec(task="load", path=["etl", "load"], inputs={"day": 1}))
    with contextlib.suppress(Died), run:
        run.note_tasks({"extract": "not started", "load": "not started", "report": "skipped"})
        with run.attempt("extract") as extract:
            extract.xcom["in"].pop()
            extract.complete({"rows": 2})
        with run.attempt("load") as load:
            load.xcom["extract"].pop()
            load.xcom["in"].pop()
            load.xcom["out"].push(9)
            raise Died


def fork_twice(store: Store) -> None:
    """Make the session `etl`, its fork `etl-fork`, and a fork of that one, `again`."""
    fail_at_load(store)
    store.fork("etl", from_task="load")
    with store.session("etl-fork").run() as run:
        store.session("etl-fork").xcom["in"].push("new")
        with run.attempt("load") as load:
            load.xcom["in"].pop()
            load.complete()
        run.task("report", lambda: 1)
    store.fork("etl-fork", from_task="report", name="again")


steps = st.one_of(
    st.tuples(st.sampled_from(["begin", "complete", "fail", "rerun"]), st.sampled_from([*TASKS, "other"])),
    st.tuples(st.sampled_from(["push", "pop"]), st.sampled_from([*TASKS, "other", ""]), st.sampled_from(QUEUES)),
    st.tuples(st.sampled_from(["rotate", "clear"]), st.sampled_from([*TASKS, ""]), st.sampled_from(QUEUES)),
)


Scenario = list[tuple[Any, ...]]


class ScenarioRun:
    """A scenario, executed in one session. The task `other` is in another session and works on the same queues."""

    def __init__(self, store: Store, name: str) -> None:
        self.store = store
        self.session = store.session(name)
        self.runs: dict[str, Run] = {task: self.session.run() for task in TASKS[:1]}
        run = self.runs["a"].start()
        self.runs = dict.fromkeys(TASKS, run) | {"other": store.session(f"{name}-other").run().start()}
        self.attempts: dict[str, Attempt] = {}
        self._values = itertools.count()
        for queue in QUEUES:
            self.session.xcom[queue].extend([f"{queue}1", f"{queue}2"])

    def execute(self, scenario: Scenario) -> None:
        for what, task, *queue in scenario:
            if queue:
                self.work(what, task, queue[0])
            elif what in ("complete", "fail"):
                attempt = self.attempts.pop(task, None)
                if attempt is not None:
                    attempt.complete(f"{task}!") if what == "complete" else attempt.fail()
            elif task not in self.attempts:
                run = self.runs[task]
                done = run.completed(task)
                if done is None:
                    self.attempts[task] = run.begin(task)
                elif what == "rerun":
                    run.give_back(done, "forced")
                    self.attempts[task] = run.begin(task)

    def work(self, what: str, task: str, queue: str) -> None:
        attempt = self.attempts.get(task)
        if task and attempt is None:
            return
        xcom = self._queues(attempt)[queue]
        if what == "push":
            xcom.push(next(self._values))
        elif what == "pop":
            if xcom:
                xcom.pop()
        elif what == "rotate":
            xcom.rotate()
        else:
            xcom.clear()

    def _queues(self, attempt: Attempt | None) -> Any:
        return self.session.xcom if attempt is None else self.session.xcom.bound_to(attempt)

    def end(self) -> None:
        for run in {id(run): run for run in self.runs.values()}.values():
            run.end("failed")

    def give_back_all(self) -> None:
        def work(transaction: Any) -> None:
            for name in (self.session.name, f"{self.session.name}-other"):
                record = sessions.find(transaction, name)
                assert record is not None
                for unfinished in attempts.unfinished(transaction, record.id):
                    give_back(transaction, [(unfinished.id, "lost")])

        self.store.database.transact(work)


def state(store: Store, name: str) -> Any:
    """Return what the queues of a session hold and what was taken, and the results of the tasks that a resume skips."""
    record = store.session(name).record()
    held = query(
        store,
        # A fork does not know whether what was returned later had been taken or removed.
        "SELECT queue, seq, CASE state WHEN 'removed' THEN 'taken' ELSE state END, orphaned, value "
        f"FROM zrb_xcom_values WHERE session = '{name}' AND state <> 'retracted' ORDER BY queue, seq",
    )
    done = {
        task: (attempt.number, attempt.result_seq, attempts.stored_result(store.database, attempt))
        for task in TASKS
        if (attempt := attempts.in_effect(store.database, record.id, task))
    }
    return held, done


def first_starts(scenario: Scenario) -> Iterator[tuple[str, int]]:
    seen = set()
    for place, (what, task, *queue) in enumerate(scenario):
        if not queue and what in ("begin", "rerun") and task in TASKS and task not in seen:
            seen.add(task)
            yield task, place
