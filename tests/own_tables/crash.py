"""Kill programs that load orders into a user's database, until they are done: each order is there once.

`make crash` kills five hundred times in each arrangement, `make test` a few times.
"""

from __future__ import annotations

import contextlib
import os
import random
import select
import signal
import time
from collections import Counter
from pathlib import Path

import sqlalchemy as sa

from tests.own_tables.shops import Shop, engine_of, load, load_orders
from tests.support.forks import fork
from tests.support.places import Places
from tests.support.rows import faults
from zrb_store import SessionCompleted, Store, open_store
from zrb_store.testing import crash_at

ORDERS = 12
DEADLINE = 600.0
_POINTS = [f"{change}:{place}" for change in ("own_tables", "push") for place in ("before", "after")]
_POINTS += ["own_tables:inside", "step_begin:after", "step_complete:before", "step_complete:after"]
_POINTS += ["consume:inside", "consume:after", "complete:inside", "complete:after"]


def work(store: Store, engine: sa.Engine) -> None:
    """Load orders by steps; take others from a queue; each is done once, in however many processes."""
    inbox = store.session("inbox").xcom["orders"]
    with contextlib.suppress(SessionCompleted), store.session("nightly").run() as run:
        if run.completed("load") is None:
            load_orders(run, engine, ORDERS)
    with store.session(f"worker-{os.getpid()}-{time.monotonic_ns()}").run() as run:
        for delivery in run.consume(inbox):
            with delivery.transaction(engine) as (connection, number):
                load(connection, number)


def run_killed(location: str, shop: str, generator: random.Random, usual: float) -> int:
    """Run the program in a child that is killed at a point or at a random moment, and return how it ended."""
    point, visit = generator.choice(_POINTS), generator.randrange(1, ORDERS)
    at_a_point = generator.random() < 0.5
    alive, ours = os.pipe()

    def child() -> None:
        os.close(alive)
        engine = engine_of(shop, poolclass=sa.NullPool)
        with open_store(location) as store:
            if at_a_point:
                with crash_at(point, visit=visit, kill=True):
                    work(store, engine)
            else:
                work(store, engine)

    pid = fork(child)
    os.close(ours)
    if not select.select([alive], [], [], DEADLINE if at_a_point else generator.uniform(0, usual))[0]:
        os.kill(pid, signal.SIGKILL)
    os.close(alive)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def make(location: str) -> None:
    """Make a store, with orders in a queue."""
    with open_store(location) as store:
        store.session("inbox").xcom["orders"].extend(range(100, 100 + ORDERS))


def kill_loaders(places: Places, folder: Path, count: int, seed: int, *, alone: bool) -> str:
    """Kill the program `count` times at least; the shop is a file of its own, or with `alone` the store's database."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = random.Random(seed)
    kills: Counter[str] = Counter()
    began, usual, programs = time.monotonic(), 1.0, 0
    expected = [*range(1, ORDERS + 1), *range(100, 100 + ORDERS)]
    while kills.total() < count:
        location = places.new()
        make(location)
        where = location if alone else str(folder / f"shop-{programs}.db")
        shop = Shop(where, is_store=alone)
        for _ in range(generator.choice((2, 4, 8))):
            status = run_killed(location, where, generator, usual)
            if status == 0:
                break
            assert status == -signal.SIGKILL, status
            kills["killed"] += 1
            assert len(shop.orders()) == len(set(shop.orders()))
        started = time.monotonic()
        with open_store(location) as store:
            work(store, shop.engine)
            usual = max(0.2, time.monotonic() - started)
            assert shop.orders() == expected
            assert list(store.session("inbox").xcom["orders"]) == []
            assert sorted(store.session("nightly").xcom["loaded"]) == expected[:ORDERS]
            assert faults(store) == []
        with shop.engine.begin() as connection:
            connection.exec_driver_sql("DROP TABLE orders")
        programs += 1
    return (
        f"{kills.total()} kills of {programs} programs that load {2 * ORDERS} orders each in "
        f"{time.monotonic() - began:.0f} s: each order is there once"
    )
