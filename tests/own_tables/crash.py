"""Kill and freeze programs that load orders into a user's database, cut their connections: each order is there once.

`make crash` does this five hundred times, `make test` a few times. A program that is frozen for longer than its lease
has a rival, which may take over, and then goes on or is killed. On PostgreSQL, answers to COMMIT are lost on the way.
`python -m tests.own_tables.crash 500` does it alone, and then kills the server of the user's database ten times.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import psycopg
import sqlalchemy as sa

from tests.own_tables.shops import ORDERS, Shop, engine_of, load, load_all, load_orders
from tests.support.forks import fork
from tests.support.places import Files, Places, Schemas
from tests.support.postgres import private_server
from tests.support.proxy import MOMENTS, Proxy, cut, proxy, through
from tests.support.replication import replicated
from tests.support.rows import faults
from zrb_store import AttemptClosed, LeaseLost, SessionBusy, SessionCompleted, Store, StoreUnavailable, open_store
from zrb_store.db.patience import Patience
from zrb_store.testing import POINTS, obey_environment

MANY = 12  # orders that each way of loading them has
DEADLINE = 600.0
REFUSED = 3  # the exit code of a program that has lost its session, or waits for one that is frozen
_OFTEN = ("own_tables", "push", "step_begin", "step_complete", "consume", "complete")
_SELDOM = ("create", "start", "begin", "end")
_POINTS = [point for point in POINTS if point.split(":")[0] in (*_OFTEN, *_SELDOM)]
_EXPECTED = [first + number for first in (1, 101, 201) for number in range(MANY)]


@dataclass
class Loss:
    """Loses every few answers to COMMIT, or the COMMIT itself, on the way between a program and its server."""

    between: Proxy
    generator: random.Random

    def __call__(self) -> None:
        if self.generator.random() < 0.15:
            cut(self.between, self.generator.choice(MOMENTS))


def lose_nothing() -> None:
    """Lose no answer."""


def work(store: Store, engine: sa.Engine, lose: Callable[[], None] = lose_nothing) -> None:
    """Load orders by steps, from a queue, and with a push where that is possible; each is done once."""
    inbox = store.session("inbox").xcom["orders"]

    def load_one(connection: sa.Connection, number: int) -> int:
        lose()
        return load(connection, number)

    with contextlib.suppress(SessionCompleted), store.session("nightly").run() as run:
        if run.completed("load") is None:
            load_orders(run, engine, MANY, load_one)
    with store.session(f"worker-{os.getpid()}-{time.monotonic_ns()}").run() as run:
        for delivery in run.consume(inbox):
            with delivery.transaction(engine) as (connection, number):
                load_one(connection, number)
    if sa.inspect(engine).has_table("zrb_session"):
        push_orders(store, engine, lose)


def push_orders(store: Store, engine: sa.Engine, lose: Callable[[], None]) -> None:
    """Insert orders and push their numbers, in transactions of the user."""
    outbox = store.session("outbox").xcom["orders"]
    for number in range(201, 201 + MANY):
        locked_or_lost = contextlib.suppress(sa.exc.OperationalError, psycopg.OperationalError)
        with locked_or_lost, engine.begin() as connection:
            if connection.dialect.name == "sqlite":
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            else:
                connection.exec_driver_sql("SET LOCAL lock_timeout = '0.3s'")
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({number})")
            if connection.scalar(sa.select(ORDERS.c.id).where(ORDERS.c.number == number)) is None:
                load(connection, number)
                outbox.push(number, connection=connection)
                lose()


class Program(NamedTuple):
    """The program that loads orders, on one store and one shop."""

    location: str
    shop: str
    generator: random.Random

    def start(self, *, testing: str = "", patience: float = 30.0) -> tuple[int, int]:
        """Start it in a child, and return its pid, and a pipe that can be read when it has ended.

        `testing` says where it dies or stops.
        """
        alive, ours = os.pipe()
        seed = self.generator.random()

        def child() -> None:
            os.close(alive)
            os.environ["ZRB_STORE_TESTING"] = testing
            obey_environment()
            Patience.timeout = patience
            logging.disable()
            with contextlib.ExitStack() as stack:
                where = self.shop
                lose: Callable[[], None] = lose_nothing
                options: dict[str, Any] = {"connect_args": {"timeout": min(patience, 5.0)}}
                if where.startswith("postgresql"):
                    folder = Path(re.findall(r"host=([^&]+)", where)[0])
                    between = stack.enter_context(proxy(folder))
                    lose, where, options = Loss(between, random.Random(seed)), through(between.folder, where), {}
                engine = engine_of(where, poolclass=sa.NullPool, **options)
                try:
                    with open_store(self.location) as store:
                        work(store, engine, lose)
                except (LeaseLost, AttemptClosed, SessionBusy, StoreUnavailable):
                    os._exit(REFUSED)

        pid = fork(child)
        os.close(ours)
        return pid, alive

    def run(self, **options: Any) -> int:
        """Run it to its end, and return how it ended."""
        pid, alive = self.start(**options)
        return ended(pid, alive)

    def disturbed(self, at: str | None, usual: float) -> str:
        """Run it, and kill or freeze it at a point or else at a random moment: return what happened."""
        freezes = self.generator.random() < 0.3
        testing = f"{'stop' if freezes else 'crash'}_at={at}" if at else ""
        pid, alive = self.start(testing=testing)
        if not at and not select.select([alive], [], [], self.generator.uniform(0, usual))[0]:
            os.kill(pid, signal.SIGSTOP if freezes else signal.SIGKILL)
        if os.WIFSTOPPED(status := os.waitpid(pid, os.WUNTRACED)[1]):
            return self.thaw(pid, alive)
        os.close(alive)
        code = os.waitstatus_to_exitcode(status)
        assert code in (0, -signal.SIGKILL), code
        return "killed" if code else "completed"

    def thaw(self, pid: int, alive: int) -> str:
        """Let the lease of a frozen program expire, run a rival meanwhile, and let it go on, or kill it."""
        expire_leases(self.location)
        code = self.run(patience=0.3)
        assert code in (0, REFUSED), code
        if self.generator.random() < 0.5:
            os.kill(pid, signal.SIGKILL)
            assert ended(pid, alive) == -signal.SIGKILL
            return "frozen and killed"
        os.kill(pid, signal.SIGCONT)
        code = ended(pid, alive)
        assert code in (0, REFUSED), code
        return "frozen"


def ended(pid: int, alive: int) -> int:
    """Wait until a program ends, and return how."""
    assert select.select([alive], [], [], DEADLINE)[0], f"process {pid} does not end"
    os.close(alive)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def expire_leases(location: str) -> None:
    """Let all leases expire, as if a process had been frozen for long, unless it has frozen with the store's lock."""
    patience = mock.patch.object(Patience, "timeout", 0.3)
    with patience, contextlib.suppress(StoreUnavailable), open_store(location) as store:
        store.database.transact(
            lambda each: each.driver.execute(
                "UPDATE zrb_run SET lease_expires_at = 0, suspected_at = 0 WHERE ended_at IS NULL"
            )
        )


def make(location: str) -> None:
    """Make a store, with orders in a queue."""
    with open_store(location) as store:
        store.session("inbox").xcom["orders"].extend(range(101, 101 + MANY))


def points(generator: random.Random) -> Any:
    """Yield each point again and again, with the visit at which it is meant."""
    while True:
        for point in generator.sample(_POINTS, len(_POINTS)):
            yield f"{point}#{generator.randrange(1, MANY if point.split(':')[0] in _OFTEN else 3)}"


def kill_loaders(stores: Places, shops: Places | None, count: int, seed: int) -> str:
    """Disturb the program `count` times at least, with shops in databases of their own, or in the store's for None."""
    generator = random.Random(seed)
    happened: Counter[str] = Counter()
    began, usual, programs = time.monotonic(), 1.0, 0
    at_points = points(generator)
    while happened.total() - happened["completed"] < count:
        location = stores.new()
        make(location)
        where = location if shops is None else shops.new(empty=True)
        shop = Shop(where, is_store=shops is None)
        expected = _EXPECTED if shops is None else _EXPECTED[: 2 * MANY]
        program = Program(location, where, generator)
        for _ in range(generator.choice((2, 4, 8))):
            what = program.disturbed(next(at_points) if generator.random() < 0.5 else None, usual)
            happened[what] += 1
            assert len(shop.orders()) == len(set(shop.orders()))
            if what == "completed":
                break
        started = time.monotonic()
        assert program.run() == 0
        usual = max(0.2, time.monotonic() - started)
        with open_store(location) as store:
            work(store, shop.engine)  # what a lost COMMIT has left to others
            assert shop.orders() == expected
            assert list(store.session("inbox").xcom["orders"]) == []
            assert sorted(store.session("outbox").xcom["orders"]) == expected[2 * MANY :]
            assert sorted(store.session("nightly").xcom["loaded"]) == expected[:MANY]
            assert faults(store) == []
        shop.engine.dispose()
        programs += 1
    del happened["completed"]
    told = ", ".join(f"{number} {what}" for what, number in sorted(happened.items()))
    took = time.monotonic() - began
    orders = f"{programs} programs that load {len(expected)} orders each"
    return f"{told}, of {orders}, in {took:.0f} s: each order is there once"


def load_until_done(location: str, shop: str, count: int) -> None:
    """Load orders by steps and from a queue, and begin again after each error, until all are loaded."""
    engine = engine_of(shop, poolclass=sa.NullPool)
    with open_store(location) as store:
        inbox = store.session("inbox").xcom["orders"]
        while True:
            with contextlib.suppress(sa.exc.DBAPIError, StoreUnavailable, SessionCompleted):
                load_all(store, engine, count)
            with (
                contextlib.suppress(sa.exc.DBAPIError, StoreUnavailable),
                store.session(f"worker-{time.monotonic_ns()}").run() as run,
            ):
                for delivery in run.consume(inbox):
                    with delivery.transaction(engine) as (connection, number):
                        load(connection, number)
            if not inbox and store.session("nightly").status == "completed":
                return


def fail_over(folder: Path, times: int, seed: int) -> str:
    """Kill the primary server of the user's database while a program loads orders; a standby takes over."""
    generator, began, count = random.Random(seed), time.monotonic(), 60
    with replicated() as servers:
        shop = Shop(servers.url, is_store=False)
        for number in range(times):
            location = str(folder / f"{number}.db")
            with open_store(location) as store:
                store.session("inbox").xcom["orders"].extend(range(101, 101 + count))
            with shop.engine.begin() as connection:
                connection.execute(sa.delete(ORDERS))
            # A fork would keep the servers alive.
            words = [sys.executable, "-m", "tests.own_tables.crash", location, servers.url, str(count)]
            program = subprocess.Popen(words)
            least = generator.randrange(count)
            while len(shop.orders()) <= least:
                assert program.poll() is None
                time.sleep(0.01)
            servers.fail_over()
            assert program.wait(DEADLINE) == 0
            assert shop.orders() == [first + each for first in (1, 101) for each in range(count)]
            with open_store(location) as store:
                assert list(store.session("inbox").xcom["orders"]) == []
                assert faults(store) == []
            servers.rejoin()
        shop.engine.dispose()
    return (
        f"{times} failovers of the user's database in {time.monotonic() - began:.0f} s, while {2 * count} orders are "
        "loaded: each order is there once"
    )


def main(count: int = 500, *, seed: int = random.randrange(10**6)) -> None:
    """Disturb programs in each arrangement, `count` times in all, and kill servers of a user's database."""
    with tempfile.TemporaryDirectory(prefix="zrb-own-tables-") as name, private_server() as server:
        folder = Path(name)

        def files(kind: str) -> Files:
            (folder / kind).mkdir()
            return Files(folder / kind, make_store)

        def schemas(kind: str) -> Schemas:
            return Schemas(server.url, kind, make_store)

        arrangements: dict[str, tuple[Places, Places | None]] = {
            "SQLite beside SQLite": (files("a"), files("b")),
            "SQLite beside PostgreSQL": (files("c"), schemas("d")),
            "PostgreSQL beside SQLite": (schemas("e"), files("f")),
            "all in one SQLite file": (files("g"), None),
            "all in one PostgreSQL": (schemas("h"), None),
        }
        for what, places in arrangements.items():
            print(f"{what}, seed {seed}: {kill_loaders(*places, count // len(arrangements), seed)}", flush=True)
        print(f"seed {seed}: {fail_over(folder, max(1, count // 50), seed)}", flush=True)


def make_store(location: str) -> None:
    """Make an empty store."""
    open_store(location).close()


if __name__ == "__main__":
    if len(sys.argv) == 4:
        load_until_done(sys.argv[1], sys.argv[2], int(sys.argv[3]))
    else:
        main(*map(int, sys.argv[1:2]))
