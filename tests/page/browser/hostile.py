"""Sessions whose values live through everything that can happen to a value."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable
from functools import partial
from typing import Any

from tests.support.attempts import Broken, acting_as, failing, start
from tests.support.clocks import let_pass
from tests.support.commands import Commands
from zrb_store import Run, Store, codec
from zrb_store.operations.values import drop, pop, push, replace, requeue, requeue_all
from zrb_store.run import RunSpec

MARKUP = "<script>alert(1)</script>&amp;\u2028\x1b[31m"


def moved_and_back(store: Store, name: str) -> None:
    """Push, move, insert and replace values in attempts, every other one of which fails, and outside of any."""
    session = store.session(name)
    session.xcom["files"].extend(["a.csv", "b.csv", "c.csv", "d.csv"])
    session.xcom[MARKUP].push(MARKUP)
    with session.run() as run:
        with run.attempt("sort") as attempt:
            attempt.xcom["files"].rotate(1)
            attempt.xcom["files"].insert(2, "between")
            attempt.xcom["done"].push({"sorted": True})
            attempt.complete("sorted")
        for _ in range(2):
            failing(run, "load", lambda: _load(session.xcom))
        session.xcom["files"].reverse()
        session.xcom["files"].appendleft("first")
        with run.attempt("load") as attempt:
            _load(attempt.xcom)
            attempt.xcom["files"][0] = "replaced"
            attempt.complete([1, 2])
        session.xcom["done"].clear()
        session.xcom["files"].set("only")


def _load(xcom: Any) -> None:
    xcom["loaded"].push(xcom["files"].pop())
    xcom["files"].rotate(-1)
    xcom["loaded"].push(xcom["files"].popright())
    xcom["files"].insert(1, "put in")
    xcom["loaded"].pop()


def orphans(store: Store, name: str) -> None:
    """Undo pushers whose values others hold, and whose values were removed by hand."""
    run = start(store, name)
    first = run.begin("make")
    first.xcom["parts"].extend(["one", "two", "three", "four"])
    with run.attempt("use") as attempt:
        attempt.xcom["parts"].pop()
        attempt.complete()
    holder = run.begin("hold")
    holder.xcom["parts"].pop()
    store.session(name).xcom["parts"].pop()
    run.end("failed")
    run = start(store, name)  # gives back what did not complete: make and hold
    with run.attempt("make") as attempt:
        attempt.xcom["parts"].push("five")
        attempt.complete()
    with run.attempt("use more") as attempt:
        attempt.xcom["parts"].pop()
        attempt.complete()
    standing = run.completed("make")
    assert standing is not None
    run.give_back(standing, "asked for")
    standing = run.completed("use more")
    assert standing is not None
    run.give_back(standing, "asked for again")
    run.end("interrupted")


def poisoned(store: Store, name: str) -> None:
    """Let values die, requeue one, let it die again, and undo the pusher of a dead one and of one that was taken."""
    queue = store.session(name).xcom["files"]
    queue.max_deliveries = 2
    queue.extend(["poison", "fine"])
    maker = start(store, f"{name}-maker")
    made = maker.begin("make")
    with acting_as(made):
        queue.extend(["dies, then is retracted", "is fine, then orphaned"])
    for turn in range(8):
        _deliver(store, f"{name}-worker-{turn}", queue)
        if turn == 4:
            requeue(store.database, [f"{name}/files#1"])
    made.fail(Broken())
    maker.end("failed")


def _deliver(store: Store, worker: str, queue: Any) -> None:
    """Let a worker take one value, and fail if it does not say that it is fine."""
    with store.session(worker).run() as run:
        for delivery in run.consume(queue):
            with delivery as value:
                if "fine" not in str(value):
                    raise Broken(f"cannot read {value}")
            break


def by_hand(store: Store, name: str) -> None:
    """Push and pop from a shell, with and without an attempt, between the attempts of a run."""
    database = store.database
    for value in (1, 2, 3, 4):
        push(database, name, "in", codec.encode(value), None)
    pop(database, name, "in", None)
    run = start(store, name)
    attempt = run.begin("script")
    pop(database, name, "in", attempt)
    push(database, name, "out", codec.encode("of the script"), attempt)
    pop(database, name, "out", None)
    attempt.fail(Broken())
    second = run.begin("script")
    pop(database, name, "in", second)
    second.complete("done")
    pop(database, name, "script", None)
    run.end("completed")


def mended(store: Store, name: str) -> None:
    """Replace a value that is dead, and twice one that is live, and drop one."""
    poisoned(store, name)
    queue = store.session(name).xcom["files"]
    queue.extend(["a typo", "spoiled"])
    for value, content in ((1, "cured"), (5, "another typo"), (5, "right")):
        replace(store.database, f"{name}/files#{value}", codec.encode(content), "by mistake")
    drop(store.database, [f"{name}/files#6"], None)
    _deliver(store, f"{name}-worker-8", queue)


def steps(store: Store, name: str) -> None:
    """Let steps stand although their attempt fails, others fail, and one rest on what comes back."""
    files = store.session(f"{name}-inbox").xcom["files"]
    files.extend(["a", "b", "c"])
    own = store.session(name).xcom["pages"]
    own.extend([1, 2, 3, 4, 5])
    with store.session(name).run() as run:
        for turn in range(3):
            with contextlib.suppress(Broken), run.attempt("convert") as attempt:
                attempt.step("take", lambda: own.extend([own.pop(), "by a step"]))
                if turn < 2:
                    with contextlib.suppress(Broken):
                        attempt.step("broken", lambda: _fail_after(own.pop))
                    files.pop()
                    attempt.step("rests on it", lambda: own.push("resting"))
                    own.rotate(1)
                    raise Broken("too late")
                attempt.complete("converted")
        standing = run.completed("convert")
        assert standing is not None
        run.give_back(standing, "starts over")


def _fail_after(act: Callable[[], object]) -> None:
    act()
    raise Broken


def forked(store: Store, name: str) -> str:
    """Fork a session amid its doings, and let the fork go on. Return the name of the fork."""
    moved_and_back(store, name)
    fork = store.fork(name, from_task="load")
    with fork.run(again=True) as run:
        failing(run, "load", lambda: _load(fork.xcom))
        with run.attempt("load") as attempt:
            attempt.xcom["files"].pop()
            attempt.complete("of the fork")
    return fork.name


def still_running(store: Store, name: str) -> Run:
    """Leave a session amid an attempt that holds values, one of which another run has pushed and lost."""
    inbox = store.session(name).xcom["in"]
    inbox.extend(["x", "y"])
    run = start(store, name)
    lost = run.begin("lost")
    lost.xcom["in"].pop()
    lost.xcom["in"].push("z")
    run = start(store, name)  # takes the session over
    done = run.begin("done")
    done.xcom["in"].pop()
    done.complete()
    run.begin("works").xcom["in"].pop()
    return run


def random_session(store: Store, name: str, seed: int) -> None:
    """Do random things to two queues, in attempts that fail or not, in several runs, and from other sessions."""
    chance = random.Random(seed)
    session = store.session(name)
    session.xcom["a"].max_deliveries = 2
    for number in range(4):
        run = start(store, name)
        for turn in range(3):
            task = f"t{chance.randrange(3)}"
            if run.completed(task) is not None:
                _disturb(session.xcom[chance.choice("ab")], chance)
                if chance.random() < 0.4:
                    standing = run.completed(task)
                    assert standing is not None
                    run.give_back(standing, "starts over")
                continue
            attempt = run.begin(task)
            for _ in range(4):
                _disturb(attempt.xcom[chance.choice("ab")], chance)
                if chance.random() < 0.2:
                    _disturb(session.xcom[chance.choice("ab")], chance)
            end = chance.random()
            if end < 0.5:
                attempt.complete(turn)
            elif end < 0.9:
                attempt.fail(Broken())
        if chance.random() < 0.7:
            _deliver(store, f"{name}-worker-{number}", session.xcom["a"])
        if chance.random() < 0.5:
            requeue_all(store.database, name, "a")
        if chance.random() < 0.6:
            run.end("failed")


def _disturb(queue: Any, chance: random.Random) -> None:
    number = chance.randrange(100)
    with contextlib.suppress(IndexError):
        chance.choice(
            [
                lambda: queue.push(number),
                lambda: queue.extend([number, [number], {"n": number}]),
                lambda: queue.appendleft(number),
                queue.pop,
                queue.pop,
                queue.popright,
                lambda: queue.insert(1, "inserted"),
                queue.rotate,
                queue.reverse,
                lambda: queue.set("only fine"),
                queue.clear,
            ]
        )()


def delayed(store: Store, name: str) -> None:
    """Delay values at their push and by failed deliveries, and let some of them become due."""
    queue = store.session(name).xcom["files"]
    queue.retry_after = [600, 3600]
    queue.extend(["a", "b"])
    for wait in (700, 0):
        queue.push(f"late by {wait}", delay=600)
        run = store.session(f"{name}-worker-{wait}").run().start()
        with contextlib.suppress(Broken), run.attempt("load"):
            queue.pop()
            raise Broken
        let_pass(store, wait)
    queue.pop()
    queue.push("much later", delay=7200)
    queue.push("soon", delay=0.000_01)


SESSIONS: dict[str, Callable[[Store, str], object]] = {
    "moved": moved_and_back,
    "orphans": orphans,
    "poisoned": poisoned,
    "by-hand": by_hand,
    "mended": mended,
    "delayed": delayed,
    "steps": steps,
    "forked": forked,
    "running": still_running,
    **{f"random-{seed}": partial(random_session, seed=seed) for seed in range(4)},
}
"""How each hostile session is made."""


def rich(store: Store, command: Commands) -> None:
    """Make a session of each kind of attempt and step, and of values that were replaced, dropped, dead, and back."""
    poisoned(store, "etl")
    orders = store.session("etl").xcom["orders"]
    orders.extend(["a", "b", "c"])
    command("replace", "etl/orders#3", '"better"', "--reason", "a typo")
    command("drop", "etl/orders#2", "--reason", "spoiled")
    command("queue", "etl", "orders", "--pause", "--max-deliveries", "3")
    with contextlib.suppress(ValueError), store.session("etl").prepare(RunSpec(task="all", path=["all"])) as run:
        run.task("extract", int)
        with run.attempt("clean") as attempt:
            attempt.step("page 1", lambda: {"rows": 7})
            attempt.complete("clean")
        clean = run.completed("clean")
        assert clean is not None
        run.give_back(clean, "its input changed")
        for _ in range(2):
            with contextlib.suppress(ValueError), run.attempt("load") as attempt:
                attempt.xcom["orders"].pop()
                attempt.step("page 1", lambda: [1, 2])
                attempt.step("charge", lambda: "paid", once=True)
                attempt.step("page 2", int, "no row")
        with contextlib.suppress(KeyboardInterrupt), run.attempt("wait"):
            raise KeyboardInterrupt
        raise ValueError("done")
