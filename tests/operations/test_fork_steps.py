"""A fork has the steps that stood at its moment, and goes on from there."""

from __future__ import annotations

import contextlib
import contextvars
import itertools
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.attempts import acting_as, start
from tests.support.commands import Commands
from tests.support.rows import faults, states
from tests.support.scenarios import QUEUES, TASKS, Died, Scenario, ScenarioRun, state
from tests.support.sessions import changes
from tests.support.stepping import execution
from tests.support.steps import Boom, Counted, attempt_of, failing
from zrb_store import Attempt, Store, TaskNotFound, Xcom
from zrb_store.attempt import Step
from zrb_store.db.tables import attempt, session
from zrb_store.db.transaction import Transaction
from zrb_store.errors import InvalidArgument
from zrb_store.operations.sessions import remove_sessions
from zrb_store.queries import attempts
from zrb_store.queries.give_back import give_back_steps

pytestmark = pytest.mark.usefixtures("sound")


def standing_steps(store: Store, name: str) -> dict[str, Any]:
    """Return the steps of a session that stand: name, result, and the attempt that they run in, if that stands too."""
    parent = attempt.alias("parent")
    rows = store.database.execute(
        sa.select(attempt.c.task, attempt.c.number, attempt.c.step, attempt.c.result, parent.c.task, parent.c.number)
        .select_from(
            attempt.join(session, session.c.id == attempt.c.session_id).outerjoin(
                parent,
                sa.and_(
                    parent.c.id == attempt.c.parent_id,
                    parent.c.status == "completed",
                    parent.c.given_back_at.is_(None),
                ),
            )
        )
        .where(
            session.c.name == name,
            attempt.c.kind == "step",
            attempt.c.status == "completed",
            attempt.c.given_back_at.is_(None),
        )
        .order_by(attempt.c.id)
    )
    return {f"{task}#{number}": rest for task, number, *rest in rows}


# -- compared with a second session that gets the same operations only until the task or the step first starts

FAR = "far"
"""A queue of the other session."""


def scenario_of(choices: list[int]) -> Scenario:
    """Make a scenario: each number chooses one of the operations that do something at its place."""
    scenario: Scenario = []
    running, in_step, done = set(), set(), set()
    for choice in choices:
        possible: Scenario = []
        for task in [*TASKS, "other"]:
            if task not in running:
                possible.append(("rerun" if task in done else "begin", task))
                continue
            possible += [
                ("complete", task),
                ("fail", task),
                ("push", task, "p"),
                ("pop", task, "p"),
                ("pop", task, FAR),
            ]
            possible += [("rotate", task, "p"), ("pop", task, "p"), ("push", task, FAR)]
            if task in in_step:
                possible += [("end step", task)] * 3 + [("fail step", task)]
            else:
                possible += [("begin step", task, "one"), ("begin step", task, "two")] * 2
        what, task, *_ = chosen = possible[choice % len(possible)]
        if what in ("begin", "rerun"):
            running.add(task)
        elif what in ("complete", "fail"):
            running.discard(task)
            done.update([task] if what == "complete" else [])
        elif what == "begin step":
            in_step.add(task)
        if what in ("complete", "fail", "end step", "fail step"):
            in_step.discard(task)
        scenario.append(chosen)
    return scenario


class StepScenarioRun(ScenarioRun):
    """A scenario whose tasks have steps, one at a time each.

    Attributes:
        first_steps: Where in the scenario each step first began, by its task and its name.
    """

    def __init__(self, store: Store, name: str) -> None:
        super().__init__(store, name)
        self.first_steps: dict[tuple[str, str], int] = {}
        self._open: dict[str, tuple[contextvars.Context, Any]] = {}
        self._far = store.session(f"{name}-other").xcom[FAR]
        self._far.extend(["far1", "far2"])
        for queue in QUEUES:
            self.session.xcom[queue].clear()

    def execute(self, scenario: Scenario) -> None:
        for place, (what, task, *more) in enumerate(scenario):
            if what == "begin step":
                self._begin_step(task, more[0], place)
            elif what in ("end step", "fail step"):
                self._leave_step(task, fails=what == "fail step")
            elif more and task in self._open:
                self._open[task][0].run(super().execute, [(what, task, *more)])
            else:
                super().execute([(what, task, *more)])
            if task not in self.attempts:
                self._leave_step(task, fails=True)

    def _begin_step(self, task: str, name: str, place: int) -> None:
        around = self.attempts.get(task)
        if around is None or task in self._open:
            return
        manager = execution(around, name)
        context = contextvars.copy_context()
        step = context.run(manager.__enter__)
        self._open[task] = context, manager
        if isinstance(step, Step):
            self.first_steps.setdefault((task, step.step), place)
        else:
            self._leave_step(task, fails=False)

    def _leave_step(self, task: str, *, fails: bool) -> None:
        if task in self._open:
            context, manager = self._open.pop(task)
            context.run(manager.__exit__, *((Died, Died(), None) if fails else (None, None, None)))

    def _queues(self, attempt: Attempt | None) -> Any:
        queues = super()._queues(attempt)
        bound = self.store.session(f"{self.session.name}-other").xcom
        return {
            **{name: queues[name] for name in QUEUES},
            FAR: bound[FAR] if attempt is None else bound.bound_to(attempt)[FAR],
        }

    def end(self) -> None:
        super().end()
        for task in [*self._open]:
            self._leave_step(task, fails=True)


_numbers = itertools.count()


@pytest.mark.long_on_postgresql
@pytest.mark.promise(number=11)
@settings(max_examples=settings().max_examples // 6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.slow
@given(choices=st.lists(st.integers(0, 1000), min_size=10, max_size=40))
def test_every_fork_equals_the_scenario_until_that_moment(store: Store, choices: list[int]) -> None:
    scenario = scenario_of(choices)
    name = f"s{next(_numbers)}"
    whole = StepScenarioRun(store, name)
    whole.execute(scenario)
    whole.end()
    first_starts: dict[str, int] = {}
    for place, (what, task, *_) in enumerate(scenario):
        if what in ("begin", "rerun") and task in TASKS:
            first_starts.setdefault(task, place)
    moments: list[tuple[str, str | None, int]] = [(task, None, place) for task, place in first_starts.items()]
    moments += [(task, step, place) for (task, step), place in whole.first_steps.items() if task in TASKS]
    for number, (task, step, place) in enumerate(moments):
        oracle = StepScenarioRun(store, f"{name}-until-{number}")
        oracle.execute(scenario[:place])
        oracle.give_back_all()
        oracle.end()
        forked = store.fork(name, from_task=task, from_step=step, name=f"{name}-fork-{number}")
        assert state(store, forked.name) == state(store, oracle.session.name)
        assert standing_steps(store, forked.name) == standing_steps(store, oracle.session.name)
    assert faults(store) == []


# -- by example


def pages(store: Store, *, fails_at: int) -> None:
    """Run `extract` with two steps, and `convert`, which takes a value for each page and fails at one of them."""
    night = store.session("night")
    night.xcom["in"].extend(["a", "b", "c"])
    with contextlib.suppress(Boom), night.run() as run:
        with run.attempt("extract") as attempt:
            attempt.step("connect", lambda: "connected", once=True)
            attempt.step("read", lambda: attempt.xcom["rows"].push(7))
        with run.attempt("convert") as attempt:
            for page in (1, 2, 3):
                attempt.step(f"page {page}", failing if page == fails_at else pass_on, attempt, page)
            raise Boom


def pass_on(attempt: Attempt, page: int) -> object:
    attempt.xcom["out"].push(page)
    return attempt.xcom["in"].pop()


@pytest.mark.promise(number=11)
def test_a_fork_from_a_task_keeps_the_steps_before_it(store: Store) -> None:
    pages(store, fails_at=3)
    forked = store.fork("night", from_task="convert")
    assert standing_steps(store, "night-fork") == {
        "extract/1#1": ["connect", '"connected"', "extract", 1],
        "extract/2#1": ["read", "null", "extract", 1],
    }
    assert [list(forked.xcom[name]) for name in ("in", "out", "rows")] == [["a", "b", "c"], [], [7]]
    copied = attempts.by_name(store.database, "night-fork", "extract/1", 1)
    assert copied is not None
    assert (copied.once, copied.arguments, copied.run_id) == (True, "[[],{}]", None)
    with forked.run() as run, run.attempt("convert") as attempt:
        assert attempt.step("page 1", lambda: "anew") == "anew"
    assert list(store.session("night").xcom["in"]) == ["c"], "the source must stay as it is"


@pytest.mark.promise(number=11)
def test_once_steps_are_not_repeated_unless_a_person_says_so(store: Store) -> None:
    """Neither one that completed, nor one that was lost; one that the fork has is not repeated."""
    pages(store, fails_at=3)
    with pytest.raises(InvalidArgument, match=r"step connect \(night/extract/1\) has completed and is declared `once`"):
        store.fork("night", from_task="extract")
    assert [each.name for each in store.sessions()] == ["night"]
    store.fork("night", from_task="extract", from_step="read")
    store.fork("night", from_task="extract", repeat_once=True)
    with pytest.raises(KeyboardInterrupt), store.session("night").run() as run, run.attempt("convert") as attempt:
        attempt.step("charge", interrupt, once=True)
    with pytest.raises(InvalidArgument, match=r"step charge \(night/convert/4\) may have happened"):
        store.fork("night", from_task="convert")


def interrupt() -> None:
    raise KeyboardInterrupt


@pytest.mark.promise(number=11)
def test_a_fork_from_a_step_keeps_the_steps_before_it(store: Store) -> None:
    pages(store, fails_at=3)
    remove_sessions(store.database, store.fork("night", from_task="convert", from_step="convert/3", name="other").name)
    forked = store.fork("night", from_task="convert", from_step="page 2")
    assert list(standing_steps(store, "night-fork").values())[2:] == [["page 1", '"a"', None, None]]
    assert [list(forked.xcom[name]) for name in ("in", "out")] == [["b", "c"], [1]]
    remove_sessions(store.database, "night")
    counted = Counted(pass_on)
    for _ in range(2):
        with forked.run() as run, contextlib.suppress(Boom), run.attempt("convert") as attempt:
            assert [attempt.step(f"page {page}", counted, attempt, page) for page in (1, 2, 3)] == ["a", "b", "c"]
            raise Boom
    assert counted.calls == 2
    assert [list(forked.xcom[name]) for name in ("in", "out")] == [[], [1, 2, 3]]
    assert attempts.by_name(store.database, "night-fork", "convert/3", 1) is not None, "numbers go on"


@pytest.mark.promise(number=11)
def test_steps_that_rest_on_what_comes_back_are_not_copied(store: Store, inbox: Xcom) -> None:
    with attempt_of(store, "convert", fails=True) as attempt:
        attempt.step("before", int)
        file = inbox.pop()
        attempt.step("after the take", int)
        attempt.xcom["q"].push(file)
        attempt.step("last", int)
    # Then, the value of the inbox was held. Now it has come back.
    assert list(standing_steps(store, "night")) == ["convert/1#1"]
    forked = store.fork("night", from_task="convert", from_step="last")
    assert list(standing_steps(store, forked.name)) == ["convert/1#1"]

    queues = store.session("noon").xcom
    with contextlib.suppress(Boom), store.session("noon").run() as run:
        with run.attempt("fill"):
            queues["own"].push("on its own")
        with run.attempt("convert") as attempt:
            queues["q"].push("value")
            attempt.step("first", lambda: queues["r"].push(queues["q"].pop()))
            attempt.step("second", lambda: queues["s"].push(queues["r"].pop()))
            attempt.step("third", lambda: queues["t"].push(queues["own"].pop()))
            attempt.step("last", int)
            raise Boom
    source = store.session("noon").record().id

    def start_over(transaction: Transaction) -> None:
        give_back_steps(transaction, source, "convert", "again")

    for _ in range(2):
        forked = store.fork("noon", from_task="convert", from_step="last")
        assert list(standing_steps(store, forked.name)) == ["convert/3#1"]
        assert {name: list(forked.xcom[name]) for name in "qrst"} == {"q": [], "r": [], "s": [], "t": ["on its own"]}
        with contextlib.suppress(Boom), store.session("noon").run() as run, run.attempt("convert"):
            raise Boom  # what had been taken then has come back
        store.database.transact(start_over)


@pytest.mark.promise(number=11)
def test_a_step_after_a_take_from_the_own_session_is_copied(store: Store, inbox: Xcom) -> None:
    store.session("night").xcom["in"].push("a")
    with store.session("bystander").run() as run, run.attempt("work"):
        inbox.pop()
    with attempt_of(store, "convert", fails=True) as attempt:
        attempt.xcom["in"].pop()
        attempt.step("after the take", int)
        attempt.step("last", int)
    for _ in range(2):
        forked = store.fork("night", from_task="convert", from_step="last")
        assert list(standing_steps(store, forked.name)) == ["convert/1#1"]
        with attempt_of(store, "convert", fails=True):
            pass  # what had been taken then has come back


@pytest.mark.promise(number=11)
def test_what_a_dependent_step_of_another_session_took_is_live_in_the_copy(store: Store, inbox: Xcom) -> None:
    queue = store.session("night").xcom["q"]
    queue.extend("ab")
    with acting_as(start(store, "other").begin("work")) as attempt:
        attempt.step("stands", queue.pop)
        inbox.pop()
        attempt.step("falls", queue.pop)
    with attempt_of(store, "convert"):
        attempt.complete()
    forked = store.fork("night", from_task="convert")
    assert states(store, forked.name) == [("a", "taken"), ("b", "live")]


def test_a_fork_of_a_fork(store: Store) -> None:
    pages(store, fails_at=3)
    store.fork("night", from_task="convert", from_step="page 3", name="one")
    assert list(store.fork("one", from_task="convert", from_step="page 2", name="two").xcom["in"]) == ["b", "c"]
    assert list(store.fork("one", from_task="convert", name="three").xcom["in"]) == ["a", "b", "c"]
    assert list(standing_steps(store, "three")) == ["extract/1#1", "extract/2#1"]


def test_a_step_that_was_only_marked_is_not_copied_from_itself_on(command: Commands, store: Store) -> None:
    pages(store, fails_at=3)
    command("mark", "night", "convert", "--step", "by hand", "completed")
    command.ok("fork", "night", "--from", "convert", "--step", "by hand")
    assert [step for step, *_ in standing_steps(store, "night-fork").values()] == [
        "connect",
        "read",
        "page 1",
        "page 2",
    ]


def test_the_command_forks_from_a_step(command: Commands, store: Store) -> None:
    pages(store, fails_at=3)
    assert command.ok("fork", "night", "--from", "convert", "--step", "page 2", "--name", "again") == "again\n"
    assert list(store.session("again").xcom["in"]) == ["b", "c"]
    assert changes(store) == [("fork", "again", "night from step page 2 of convert")]
    missing = command("fork", "night", "--from", "convert", "--step", "page 7")
    assert (missing.code, missing.err) == (
        3,
        "zrb-store: step page 7 of task convert has not started in session night; did you mean page 3?\n",
    )
    assert command("fork", "night", "--from", "convert/1").code == 3, "a step is not a task"
    with pytest.raises(TaskNotFound, match="task report has not started"):
        store.fork("night", from_task="report", from_step="page 1")
