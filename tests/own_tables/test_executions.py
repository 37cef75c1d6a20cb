"""Which execution a step is: a model of the key, and copies of a session that have another one."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

import hypothesis
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.own_tables.shops import ANYWHERE, Shop, load
from tests.support.commands import Commands
from zrb_store import StepUncertain, Store, open_store, step
from zrb_store.db.transaction import Transaction
from zrb_store.operations.sessions import remove_sessions
from zrb_store.queries import steps
from zrb_store.queries.give_back import give_back_steps
from zrb_store.testing import Crash, crash_at, expire_lease

pytestmark = [pytest.mark.promise(number=22)]

POINTS = ["step_begin:after", "own_tables:before", "own_tables:inside", "own_tables:after", "step_complete:after"]


class Boom(Exception):
    """The error with which each attempt ends, so that its session can be run again."""


def load_and_fail(store: Store, shop: Shop) -> None:
    with contextlib.suppress(Boom), store.session("s").run() as run, run.attempt("load"):
        step.transaction(shop.engine, "order", load, 1)
        raise Boom


class State(NamedTuple):
    """What the store knows, as the model has it."""

    session: str
    incarnation: int
    cycle: int = 0
    is_done: bool = False

    @property
    def execution(self) -> tuple[int, int]:
        return self.incarnation, self.cycle


class Executions(RuleBasedStateMachine):
    """One session, whose step inserts an order. Each execution inserts one, however it comes to its end."""

    @initialize()
    def prepare(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="zrb-executions-"))
        self.shop = Shop(str(self.folder / "shop.db"), is_store=False)
        self.numbers = iter(range(1, 1000))
        self.state = State("nightly", next(self.numbers))
        self.exists = self.has_started = False
        self.saved: tuple[State, bool] | None = None
        self.committed: set[tuple[int, int]] = set()

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            self.shop.engine.dispose()
            shutil.rmtree(self.folder)

    def open(self) -> Store:
        return open_store(self.folder / "store.db")

    @rule(point=st.sampled_from([None, *POINTS]), is_lost=st.booleans())
    def run(self, point: str | None, is_lost: bool) -> None:
        """Run the task. It dies at a point, or else fails after the step, or its session is not told of its end."""
        dies = contextlib.nullcontext() if point is None else crash_at(point)
        with self.open() as store:
            session = store.session(self.state.session)
            with contextlib.suppress(Boom, Crash), dies, session.run() as run, run.attempt("load"):
                step.transaction(self.shop.engine, "order", load, 1)
                raise Crash if is_lost else Boom
            expire_lease(session)
        self.exists = self.has_started = True
        is_committed = self.state.execution in self.committed
        runs = not self.state.is_done and not is_committed
        if runs and point in ("own_tables:before", "own_tables:inside"):
            return
        if not self.state.is_done and point == "step_begin:after":
            return
        self.committed.add(self.state.execution)
        self.state = self.state._replace(is_done=self.state.is_done or not (runs and point == "own_tables:after"))

    @precondition(lambda self: self.state.is_done)
    @rule()
    def repeat(self) -> None:
        """Let the task start over, as `--from load --repeat-once` does."""
        with self.open() as store:
            session_id = store.session(self.state.session).record().id

            def work(transaction: Transaction) -> None:
                steps.let_repeat(transaction, session_id, "load")
                give_back_steps(transaction, session_id, "load", "from")

            store.database.transact(work)
        self.state = self.state._replace(is_done=False, cycle=self.state.cycle + 1)

    @precondition(lambda self: self.exists)
    @rule()
    def remove(self) -> None:
        with self.open() as store:
            remove_sessions(store.database, self.state.session)
        self.exists = self.has_started = False
        self.state = State(self.state.session, next(self.numbers))

    @precondition(lambda self: self.has_started)
    @rule()
    def fork(self) -> None:
        """Go on with a copy, in which the task has not run."""
        with self.open() as store:
            name = store.fork(self.state.session, from_task="load", repeat_once=True).name
        self.state, self.has_started = State(name, next(self.numbers)), False

    @precondition(lambda self: self.exists)
    @rule()
    def back_up(self) -> None:
        shutil.copy(self.folder / "store.db", self.folder / "saved.db")
        self.saved = self.state, self.has_started

    @precondition(lambda self: self.saved is not None)
    @rule()
    def restore(self) -> None:
        assert self.saved is not None
        shutil.copy(self.folder / "saved.db", self.folder / "store.db")
        self.state, self.has_started = self.saved
        self.exists = True

    @invariant()
    def each_execution_has_one_order(self) -> None:
        if hasattr(self, "committed"):
            assert len(self.shop.orders()) == len(self.committed)


Executions.TestCase.settings = hypothesis.settings(stateful_step_count=12, deadline=None)
test_each_execution_happens_once = pytest.mark.slow(pytest.mark.hypothesis(Executions.TestCase))


@ANYWHERE
def test_a_copy_cannot_find_the_row_of_what_was_cut_off(
    store: Store, shop: Shop, command: Commands, tmp_path: Path
) -> None:
    with pytest.raises(Crash), crash_at("own_tables:after"), store.session("s").run() as run, run.attempt("load"):
        step.transaction(shop.engine, "order", load, 1)
    expire_lease(store.session("s"))
    with pytest.raises(Boom), store.session("s").run() as run:
        raise Boom
    copied = str(tmp_path / "copy.db")
    command.ok("copy", store.url, copied)
    with open_store(copied) as other:
        assert other.session("s").record().identity != store.session("s").record().identity
        with other.session("s").run() as run, run.attempt("load"), pytest.raises(StepUncertain, match="order"):
            step.transaction(shop.engine, "order", load, 1)
    with store.session("s").run() as run, run.attempt("load"):
        assert step.transaction(shop.engine, "order", load, 1) == 1
    assert shop.orders() == [1]


@ANYWHERE
def test_a_completed_one_is_repeated_only_if_a_person_says_so(store: Store, shop: Shop, command: Commands) -> None:
    load_and_fail(store, shop)
    refused = command("fork", "s", "--from", "load")
    assert (refused.code, "--repeat-once" in refused.err) == (2, True)
    load_and_fail(store, shop)
    assert "committed in shop.db" in command.ok("show", "s")
    assert shop.orders() == [1]
