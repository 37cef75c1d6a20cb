"""A store and a model of queues and attempts, to which the same operations are applied."""

from __future__ import annotations

import contextlib
import itertools
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from tests.machines.model import Actor, Queue, apply, apply_to_model, give_back, undo
from tests.support.attempts import acting_as
from tests.support.rows import query, states
from zrb_store import (
    Attempt,
    AttemptClosed,
    InvalidArgument,
    LeaseLost,
    Run,
    SessionBusy,
    Store,
    Xcom,
    codec,
    open_store,
)
from zrb_store.db.tables import value
from zrb_store.operations.values import drop, replace, requeue_all, set_paused
from zrb_store.process import identity
from zrb_store.queries import deliveries, history
from zrb_store.queries.clock import Moment, now_micros
from zrb_store.testing import expire_lease

# The sessions that have runs, and the queues that are used inside and outside their attempts.
RUNNERS = ("one", "two")

PLACES = (("one", "q"), ("shared", "q"), ("shared", "r"))
TASKS = ("load", "report")
ME = f"by {identity().user} on {identity().host}"


# With the fixture `small_chunks` the texts lie in one chunk and in several.
few = st.one_of(st.integers(0, 9), st.sampled_from(["\u00e4\u00e4", "a long text"]))


index = st.integers(-6, 6)


who = st.integers(0, 7)


where = st.sampled_from(range(len(PLACES)))


task = st.sampled_from(TASKS)


runner = st.sampled_from(RUNNERS)


Operation = tuple[str, tuple[Any, ...]]


operations: st.SearchStrategy[Operation] = st.one_of(
    st.tuples(st.sampled_from(["pop", "popleft", "popright", "clear", "reverse"]), st.just(())),
    st.tuples(st.sampled_from(["push", "append", "appendleft", "set", "remove"]), st.tuples(few)),
    st.tuples(st.sampled_from(["extend", "extendleft", "__iadd__"]), st.tuples(st.lists(few, max_size=3))),
    st.tuples(st.sampled_from(["rotate", "__delitem__"]), st.tuples(index)),
    st.tuples(st.sampled_from(["insert", "__setitem__"]), st.tuples(index, few)),
    st.tuples(st.just("__imul__"), st.tuples(st.integers(-1, 2))),
)


class Machine(RuleBasedStateMachine):
    """A store and a model, to which the same operations are applied."""

    location: str
    runs_of: Store  # for runs and attempts; queues are used through a second store object, which is reopened at times
    numbers = itertools.count()

    def __init__(self) -> None:
        super().__init__()
        self.prefix = f"{next(self.numbers)}-"
        self.store = open_store(self.location)
        self.queues = [Queue(self.prefix + session) for session, _ in PLACES]
        self.runs: dict[str, Run] = {}
        self.actors: dict[str, list[tuple[Actor, Attempt]]] = {name: [] for name in RUNNERS}
        self.moments: list[tuple[int, list[list[Any]]]] = []

    @initialize()
    def start(self) -> None:
        for name in RUNNERS:
            self.runs[name] = self.runs_of.session(self.prefix + name).run().start()
        for place in range(len(PLACES)):
            self.change(None, place, ("extend", ([place, place + 1, place + 2],)))

    def teardown(self) -> None:
        self.store.close()
        for run in self.runs.values():
            run.end("failed")

    # -- operations

    def queue(self, place: int) -> Xcom:
        session, name = PLACES[place]
        return self.store.session(self.prefix + session).xcom[name]

    @rule(place=where, operation=operations)
    def outside(self, place: int, operation: Operation) -> None:
        self.change(None, place, operation)

    @rule(place=where, operation=operations, name=runner, number=who)
    def inside(self, place: int, operation: Operation, name: str, number: int) -> None:
        if self.actors[name]:
            actor, attempt = self.actors[name][-1 - number % min(len(self.actors[name]), 4)]
            with acting_as(attempt):
                if actor.status == "running":
                    self.change(actor, place, operation)
                else:
                    self.refuse(place, operation)

    def refuse(self, place: int, operation: Operation) -> None:
        """Apply an operation as an attempt that has ended. It must be refused unless it would change nothing."""
        name, arguments = operation
        before = list(self.queue(place))
        with contextlib.suppress(AttemptClosed, LeaseLost, IndexError, ValueError):
            getattr(self.queue(place), name)(*arguments)
            assert before == apply(name, before, arguments)[1]

    def change(self, actor: Actor | None, place: int, operation: Operation) -> None:
        """Apply an operation to the store and the model, and compare what it returns or raises."""
        name, arguments = operation
        model = self.queues[place]
        expected, after = apply(name, model.contents, arguments)
        queue = self.queue(place)
        if isinstance(expected, Exception):
            with pytest.raises(type(expected)):
                getattr(queue, name)(*arguments)
            return
        result = getattr(queue, name)(*arguments)
        if name in ("__iadd__", "__imul__"):
            assert result is queue
        else:
            assert result == expected
        apply_to_model(model, actor, name, arguments)
        assert model.contents == after

    # -- deliveries

    @rule(name=runner, task=task, place=where, steps=index)
    def deliver_in_vain(self, name: str, task: str, place: int, steps: int) -> None:
        """Let an attempt turn the queue, take a value and fail."""
        self.begin(name, task)
        actor, attempt = self.actors[name][-1]
        with acting_as(attempt):
            self.change(actor, place, ("rotate", (steps,)))
            self.change(actor, place, ("pop", ()))
        self.fail(name, len(self.running(name)) - 1, "failed")

    @rule(place=where, limit=st.sampled_from([None, 1, 2]))
    def limit(self, place: int, limit: int | None) -> None:
        self.queue(place).max_deliveries = self.queues[place].limit = limit

    @rule(place=where, retries=st.booleans())
    def retry_after(self, place: int, retries: bool) -> None:
        self.queue(place).retry_after = [3600] * retries
        self.queues[place].retries = retries

    @rule(place=where, new=few)
    def push_delayed(self, place: int, new: Any) -> None:
        self.queue(place).push(new, delay=3600)
        self.queues[place].push(None, [new])
        self.queues[place].items[-1].delayed = True

    @rule(place=where)
    def come_due(self, place: int) -> None:
        """Let the delays of a queue be over now, by the clock of the database, which no test turns."""
        database = self.store.database
        moment = now_micros(database)
        in_queue = (value.c.queue_id == self.queue_id(place), value.c.ended_at.is_(None))
        due = sa.update(value).where(*in_queue, value.c.due_at > moment).values(due_at=moment)
        database.transact(lambda transaction: transaction.execute(due))
        for item in self.queues[place].items:
            item.delayed = item.delayed and item.state != "live"

    def queue_id(self, place: int) -> int | None:
        session, name = PLACES[place]
        return self.store.session(self.prefix + session).xcom.queue_id(name)

    @rule(place=where)
    def requeue(self, place: int) -> None:
        number = requeue_all(self.store.database, self.prefix + PLACES[place][0], PLACES[place][1])
        assert number == self.queues[place].requeue(f"requeued {ME}")

    # -- what people do to single values

    @rule(place=where, number=st.integers(0, 30), new=st.one_of(st.none(), few))
    def drop_or_replace(self, place: int, number: int, new: int | str | None) -> None:
        """Replace a value, or drop it if there is no new one. One that is neither live nor dead stays as it is."""
        session, name = self.prefix + PLACES[place][0], PLACES[place][1]
        items = self.queues[place].items
        item = items[number % len(items)]
        of_queue = f"WHERE session = '{session}' AND queue = '{name}' ORDER BY seq"
        value_id = query(self.store, f"SELECT id FROM zrb_xcom_values {of_queue}")[number % len(items)][0]
        if not item.is_at_hand:
            with pytest.raises((InvalidArgument, SessionBusy), match=r"is held by|only live"):
                drop(self.store.database, [value_id], None)
        elif new is None:
            drop(self.store.database, [value_id], None)
            item.drop(f"dropped {ME}")
        else:
            replace(self.store.database, value_id, codec.encode(new), None)
            item.replace(new, f"replaced {ME}")

    @rule(place=where, paused=st.booleans())
    def pause(self, place: int, paused: bool) -> None:
        """A pause is for consumers; all other rules go on."""
        self.queues[place].paused = paused
        set_paused(self.store.database, self.prefix + PLACES[place][0], PLACES[place][1], paused)

    # -- attempts and runs

    def unfinished(self, name: str, task: str | None = None) -> list[Actor]:
        """Return the unfinished attempts, newest first."""
        actors = [actor for actor, attempt in self.actors[name] if task in (None, attempt.task)]
        return [actor for actor in reversed(actors) if actor.is_unfinished]

    def give_back_all(self, actors: list[Actor]) -> None:
        for actor in actors:
            give_back(self.queues, actor, "lost" if actor.status == "running" else actor.status)

    def undo_elsewhere(self, name: str, actor: Actor) -> None:
        """An attempt that failed takes back at once what it did to queues of other sessions."""
        elsewhere = [queue for (session, _), queue in zip(PLACES, self.queues, strict=True) if session != name]
        undo(elsewhere, actor, actor.status)

    @rule(name=runner, task=task)
    def begin(self, name: str, task: str) -> None:
        attempt = self.runs[name].begin(task)
        self.give_back_all(self.unfinished(name, task))
        self.actors[name].append((Actor(f"{self.prefix}{name}/{attempt.name}"), attempt))

    def running(self, name: str) -> list[tuple[Actor, Attempt]]:
        return [one for one in self.actors[name] if one[0].status == "running"]

    @precondition(lambda self: self.running("one") or self.running("two"))
    @rule(name=runner, number=who, place=where, result=st.one_of(st.none(), few))
    def complete(self, name: str, number: int, place: int, result: int | None) -> None:
        running = self.running(name)
        if running:
            actor, attempt = running[number % len(running)]
            if result is None:
                attempt.complete()
            elif PLACES[place][0] == name:
                attempt.complete(result, queue=PLACES[place][1])
                self.queues[place].push(actor, [result])
            else:
                attempt.complete(result, queue="elsewhere")
            actor.status = "completed"

    @rule(name=runner, number=who, status=st.sampled_from(["failed", "interrupted"]))
    def fail(self, name: str, number: int, status: str) -> None:
        running = self.running(name)
        if running:
            actor, attempt = running[number % len(running)]
            attempt.fail(status=status)
            actor.status = status
            self.undo_elsewhere(name, actor)

    @rule(name=runner)
    def die(self, name: str) -> None:
        """Take the session over, as if its process had died."""
        session = self.runs_of.session(self.prefix + name)
        expire_lease(session)
        self.runs[name] = session.run().start()
        self.give_back_all(self.unfinished(name))

    @rule(name=runner)
    def end(self, name: str) -> None:
        """End the run in an orderly way, and start the session again."""
        self.runs[name].end("failed")
        for actor, _ in self.running(name):
            actor.status = "interrupted"
            self.undo_elsewhere(name, actor)
        self.runs[name] = self.runs_of.session(self.prefix + name).run().start()
        self.give_back_all(self.unfinished(name))

    @rule(name=runner, task=task)
    def run_again(self, name: str, task: str) -> None:
        """Give back a completed attempt."""
        standing = [
            (actor, attempt)
            for actor, attempt in self.actors[name]
            if attempt.task == task and actor.status == "completed" and not actor.given_back
        ]
        done = self.runs[name].completed(task)
        assert (done and done.name) == (standing[-1][1].name if standing else None)
        if done:
            self.runs[name].give_back(done, "again")
            give_back(self.queues, standing[-1][0], "again")

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = open_store(self.location)

    # -- comparisons

    @invariant()
    def contents_agree(self) -> None:
        for place, model in enumerate(self.queues):
            queue = self.queue(place)
            assert list(queue) == model.contents
            assert len(queue) == len(model.contents)
            may_consume = deliveries.has_value(self.store.database, *queue.place, unpaused=True)()
            assert may_consume == (bool(model.contents) and not model.paused)

    @invariant()
    def remember(self) -> None:
        self.moments.append((now_micros(self.store.database), [model.contents for model in self.queues]))

    @rule(number=st.integers(0, 1000))
    def look_back(self, number: int) -> None:
        """Compare all queues at an earlier moment with the model at that moment."""
        moment, then = self.moments[number % len(self.moments)]
        for place, expected in enumerate(then):
            queue_id = self.queue_id(place)
            with self.store.database.snapshot() as transaction:
                assert queue_id is not None
                data = history.live_data(transaction, queue_id, Moment(moment, None))
                assert [codec.decode(text) for text in data] == expected

    @rule()
    def compare_history(self) -> None:
        """Compare all values that ever existed: their states, marks and returns."""
        for (session, name), model in zip(PLACES, self.queues, strict=True):
            expected = [(item.value, item.shown + "+" * item.orphaned) for item in model.items]
            assert states(self.store, self.prefix + session, name) == expected
            of_queue = (
                "JOIN zrb_queue q ON q.id = r.queue_id JOIN zrb_session s ON s.id = q.session_id "
                f"WHERE s.name = '{self.prefix}{session}' AND q.name = '{name}' ORDER BY r.seq"
            )
            counts = query(self.store, f"SELECT r.failed_deliveries FROM zrb_value r {of_queue}")
            assert [count for (count,) in counts] == [item.deliveries for item in model.items]
            returns = query(
                self.store,
                "SELECT s2.name || '/' || a.task || '#' || a.number, r.reason, r.failed_deliveries FROM zrb_return r "
                "LEFT JOIN zrb_attempt a ON a.id = r.taken_by LEFT JOIN zrb_session s2 ON s2.id = a.session_id "
                f"{of_queue}, r.id",
            )
            assert [tuple(row) for row in returns] == [one for item in model.items for one in item.returns]
            earlier = query(self.store, f"SELECT r.data FROM zrb_replaced r {of_queue}, r.id")
            assert [codec.decode(data) for (data,) in earlier] == [one for item in model.items for one in item.earlier]
