"""Delayed values: `push --delay`, and queues with `retry_after`; paused queues (promise 10).

Delays go by the clock of the database, which no test turns: `let_pass` moves the delays instead.
"""

from __future__ import annotations

import heapq
import json
import math
from contextlib import suppress
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.support.attempts import acting_as
from tests.support.clocks import let_pass
from tests.support.commands import Commands
from tests.support.consumers import taken
from tests.support.holders import hold_a_value
from tests.support.processes import Child
from tests.support.rows import query
from tests.support.sessions import parse
from zrb_store import InvalidArgument, Store, Xcom, open_store
from zrb_store.db.tables import value as value_table
from zrb_store.inspect.queues import queue_overview
from zrb_store.operations.copy import copy
from zrb_store.operations.values import requeue_all
from zrb_store.queries.clock import now_micros
from zrb_store.records import iso
from zrb_store.runtime import reclaim

pytestmark = [pytest.mark.promise(number=10), pytest.mark.usefixtures("sound")]

HOUR = 3600


def delays(store: Store) -> list[int]:
    """Return how many seconds each delayed value has left, in the order of the queue, rounded."""
    now = sa.select(value_table.c.due_at).where(value_table.c.ended_at.is_(None)).order_by(value_table.c.seq)
    found = store.database.execute(now)
    moment = now_micros(store.database)
    return [round((due_at - moment) / 1_000_000, -1) for (due_at,) in found if due_at is not None and due_at > moment]


def hold_a_push(pipe: Connection, location: str) -> None:
    """Push a value to the shared queue in an attempt, and do no more."""
    with open_store(location) as store, store.session("producer").run() as run, run.attempt("produce"):
        store.session("inbox").xcom["files"].push("half")
        pipe.send("pushed")
        pipe.recv()


def fail(store: Store, name: str, queue: Xcom, status: str = "failed") -> None:
    """Let an attempt of a session take a value, and fail."""
    run = store.session(name).run().start()
    attempt = run.begin("load")
    with acting_as(attempt):
        queue.pop()
    attempt.fail(status=status)
    run.end("failed")


def test_nobody_finds_a_delayed_value_until_it_is_due(store: Store) -> None:
    queue = store.session("inbox").xcom["files"]
    queue.push("late", delay=timedelta(hours=1))
    queue.push("now")
    assert (list(queue), len(queue), queue.peek(), "late" in queue) == (["now"], 1, "now", False)
    queue.rotate(1)
    queue.clear()
    with pytest.raises(IndexError):
        queue.pop()
    queue.push("later")
    let_pass(store, HOUR)
    assert list(queue) == ["late", "later"]  # it has kept its place
    assert queue.pop() == "late"


def test_a_shell_delays_a_value_and_sees_it(store: Store, command: Commands) -> None:
    command.ok("push", "inbox", "files", '"a.csv"', "--delay", "1h")
    empty = command("pop", "inbox", "files")
    assert (empty.code, "its next delayed value is due in 60 min" in empty.err) == (3, True)
    shown = json.loads(command.ok("show", "inbox", "--json"))["queues"]["files"]
    assert [(each["state"], each["due_at"] is None) for each in shown["values"]] == [("delayed", False)]
    assert shown["live"] == []
    text = command.ok("show", "inbox")
    assert "0 live of 1, 1 delayed" in text
    assert "delayed until" in text
    assert command.ok("show", "inbox", "--live").count("a.csv") == 0
    set_to = command.ok("queue", "inbox", "files", "--retry-after", "10s,150s,1.5m", "--max-deliveries", "5")
    assert "10s, 150s, 90s" in set_to
    rules = json.loads(command.ok("queue", "inbox", "files", "--json"))
    assert (rules["retry_after"], rules["max_deliveries"]) == ([10, 150, 90], 5)
    command.ok("queue", "inbox", "files", "--retry-after", "none")
    assert json.loads(command.ok("queue", "inbox", "files", "--json"))["retry_after"] is None


@pytest.mark.parametrize(
    "args",
    [
        ("push", "inbox", "files", "1", "--delay", "soon"),
        ("push", "inbox", "files", "1", "--delay", "-5s"),
        ("push", "inbox", "files", "1", "--delay", "9000d"),
        ("queue", "inbox", "files", "--retry-after", "10s,,1m"),
        ("queue", "inbox", "files", "--retry-after", "10"),
        ("queue", "inbox", "files", "--retry-after", "10s,0s"),
        ("queue", "inbox", "files", "--retry-after", "10s", "--max-deliveries", "99999999999"),
    ],
)
def test_what_is_no_delay_changes_nothing(store: Store, command: Commands, args: tuple[str, ...]) -> None:
    assert command(*args).code in (1, 2)
    assert command("show", "inbox").code == 3


@pytest.mark.parametrize("delay", [-1, math.nan, math.inf, "1h", True, timedelta(days=-1), timedelta(days=5000)])
@pytest.mark.on_sqlite
def test_what_is_no_delay_is_refused_in_python(store: Store, delay: Any) -> None:
    queue = store.session("inbox").xcom["files"]
    with pytest.raises(InvalidArgument, match="is not a delay"):
        queue.push(1, delay=delay)
    with pytest.raises(InvalidArgument, match="is not a delay"):
        queue.retry_after = [10, delay]
    assert (len(queue), queue.retry_after) == (0, [])


def test_each_failed_delivery_delays_a_value_longer(store: Store, inbox: Xcom) -> None:
    inbox.retry_after = [600, timedelta(hours=1)]
    assert inbox.retry_after == [600, 3600]
    found = []
    for number in range(3):
        fail(store, f"worker-{number}", inbox)
        found += delays(store)
        let_pass(store, 2 * HOUR)
    assert found == [600, 3600, 3600]
    assert list(inbox) == ["a", "b", "c"]


@pytest.mark.slow
def test_only_failures_of_others_delay(store: Store, location: str, inbox: Xcom) -> None:
    inbox.retry_after = [600]
    fail(store, "worker", inbox, "interrupted")
    fail(store, "inbox", inbox)  # its own session: a retry finds the value again (promise 1)
    store.session("inbox").run().start().end("failed")
    assert (delays(store), list(inbox)) == ([], ["a", "b", "c"])
    with Child(hold_a_value, location, "killed") as child:
        assert child.receive() == "a"
        child.kill()
    reclaim.searches(store.database).clear()  # as if a second had passed
    assert inbox.pop() == "b"  # which has reclaimed the other
    assert delays(store) == [600]


def test_a_dead_value_is_not_delayed_nor_is_one_that_is_requeued(store: Store, inbox: Xcom) -> None:
    inbox.retry_after, inbox.max_deliveries = [600], 2
    fail(store, "one", inbox)
    let_pass(store, HOUR)
    fail(store, "two", inbox)
    assert (delays(store), list(inbox)) == ([], ["b", "c"])
    requeue_all(store.database, "inbox", "files")
    assert list(inbox) == ["a", "b", "c"]


def test_a_delayed_value_hides_no_dead_pusher(store: Store, location: str) -> None:
    """What a dead producer pushed is retracted before anybody takes it, whatever lies before it."""
    queue = store.session("inbox").xcom["files"]
    queue.push("late", delay=HOUR)
    with Child(hold_a_push, location) as child:
        child.receive()
        child.kill()
    queue.push("tail")
    assert queue.pop() == "tail"


@pytest.mark.slow
def test_a_waiting_process_wakes_when_a_value_becomes_due(store: Store) -> None:
    queue = store.session("inbox").xcom["files"]
    queue.push("due", delay=0.3)
    assert len(queue) == 0
    assert queue.pop(wait=math.inf) == "due"


def test_earlier_moments_forks_and_copies_keep_delays(store: Store, tmp_path: Path) -> None:
    queue = store.session("etl").xcom["files"]
    with store.session("etl").run() as run:
        run.task("first", len, "abc")
        queue.push("late", delay=HOUR)
        with suppress(ValueError), run.attempt("second"):
            raise ValueError
    store.fork("etl", from_task="second", name="again")
    new_store = open_store(tmp_path / "copy.db")
    copy(store.database, new_store.database)
    for each in (store.session("again"), new_store.session("etl"), new_store.session("again")):
        assert len(each.xcom["files"]) == 0
    for database in (store, new_store):
        let_pass(database, HOUR)
    for each in (store.session("again"), new_store.session("etl"), new_store.session("again")):
        assert list(each.xcom["files"]) == ["late"]


def outage(store: Store, inbox: Xcom, poison: set[int], seconds: float) -> dict[int, int]:
    """Let 8 consumers work on a queue while what they need is down at first. Return how often each value was done.

    Each event is at its time of a simulation, which delays and pauses follow.
    """
    done: dict[int, int] = {}
    run = store.session("workers").run().start()
    loops = [run.consume(inbox) for _ in range(8)]
    events = [(0.0, number) for number in range(len(loops))]
    now = 0.0
    while events and now < 4 * seconds + 7200:
        at, number = heapq.heappop(events)
        let_pass(store, at - now)
        now = at
        consumer = loops[number]._consumer
        delivery = consumer.take()
        if delivery is None:
            consumer.retry_skipped()  # as the loop does that waits for ever
            heapq.heappush(events, (now + 5, number))
            if not query(store, "SELECT 1 FROM zrb_value WHERE ended_at IS NULL"):
                break
            continue
        with delivery as value:
            if now < seconds or value in poison:
                raise ConnectionError("the API is down")
            done[value] = done.get(value, 0) + 1
        heapq.heappush(events, (now + 1 + consumer.pause, number))
    run.end("completed")
    return done


@pytest.mark.slow
@pytest.mark.long_on_postgresql
def test_a_queue_outlasts_an_outage_and_only_poison_dies(store: Store) -> None:
    inbox = store.session("inbox").xcom["orders"]
    inbox.max_deliveries, inbox.retry_after = 5, [10, 60, 600]
    inbox.extend(range(100))
    done = outage(store, inbox, {77}, 600)
    assert done == dict.fromkeys((number for number in range(100) if number != 77), 1)
    states = query(
        store,
        "SELECT state, count(*) FROM zrb_value WHERE queue_id = (SELECT id FROM zrb_queue WHERE "
        "name = 'orders') GROUP BY state ORDER BY state",
    )
    assert [tuple(row) for row in states] == [("dead", 1), ("taken", 99)]


# -- paused queues (`queue --pause`): consumers and `pop` from a shell find nothing, everybody else goes on


PAUSED = "queue 'files' of session inbox is paused: `zrb-store queue inbox files --unpause` lets consumers continue\n"


@pytest.mark.long_on_postgresql
def test_consumers_and_the_shell_find_nothing_in_a_paused_queue_and_others_go_on(
    command: Commands, store: Store, inbox: Any, caplog: pytest.LogCaptureFixture
) -> None:
    command.ok("queue", "inbox", "files", "--pause")
    for wait in ([], ["--wait", "0.1"]):
        assert tuple(command("pop", "inbox", "files", *wait)) == (3, "", f"zrb-store: {PAUSED}")
    with store.session("worker").run() as run:
        assert taken(run, inbox, wait=0.1) == []
        assert [record.getMessage() for record in caplog.records] == [PAUSED.strip()]
        with run.attempt("load"):
            assert inbox.pop() == "a"
    inbox.push("d")
    assert inbox.pop() == "b"
    command.ok("queue", "inbox", "files", "--unpause")
    assert command.ok("pop", "inbox", "files") == "c\n"
    with store.session("worker").run(again=True) as run:
        assert taken(run, inbox) == ["d"]


@pytest.mark.long_on_postgresql
def test_a_pause_is_shown_and_recorded_once(command: Commands, store: Store, inbox: Any) -> None:
    shown = [parse("queue", command.ok("queue", "inbox", "files", "--pause", "--json")) for _ in range(2)]
    assert shown[0] == shown[1]
    assert "Paused          since 20" in command.ok("queue", "inbox", "files")
    queue = parse("show", command.ok("show", "inbox", "--json"))["queues"]["files"]
    assert queue["paused_at"] == shown[0]["paused_at"] is not None
    assert ", paused since " in command.ok("show", "inbox")
    (summary,), _ = queue_overview(store.database)
    assert iso(summary.state.paused_at) == shown[0]["paused_at"]
    command.ok("queue", "inbox", "files", "--unpause", "--max-deliveries", "5")
    changes = parse("log", command.ok("log", "inbox", "--json"))["changes"]
    assert [change["detail"] for change in changes] == ["files: paused", "files: max_deliveries 5", "files: unpaused"]
    assert "aused" not in command.ok("queue", "inbox", "files")
    wrong = command("queue", "inbox", "file", "--pause")
    assert (wrong.code, wrong.err) == (3, "zrb-store: session inbox has no queue 'file'; did you mean files?\n")
