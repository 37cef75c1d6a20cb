"""What does exactly once in one's own tables cost?

`step.transaction` begins a step, commits what its function inserts into a user's table together with a row that names
the step, and completes the step: three commits. By hand there are two, with SQLAlchemy as well: the insert in the
user's database, and a row in another one that says that it is done. After a kill between the two, it is inserted twice.
A transaction step of DBOS' data source commits the insert with a row of its own, and records the step.

`push(connection=)` puts a value into a queue in the transaction of an insert, in the store's database. The baseline
inserts a row into a plain table in its place.
"""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any
from unittest import mock

import sqlalchemy as sa

from benchmarks import peers
from benchmarks.contest import new_folder
from benchmarks.harness import Contestant, Effort, Race
from benchmarks.on_postgres import AS_USUAL
from benchmarks.queues import SMALL
from benchmarks.report import Answer, at_least, at_most, ratios
from tests.support import postgres
from zrb_store import open_store
from zrb_store.attempt import Attempt
from zrb_store.store import Store

HAND, OURS, PLAIN, DBOS = "by hand", "zrb-store", "`step`, may insert twice", "DBOS data source"
STEP, PUSH = "step", "push"
OPERATIONS = {STEP: "`step.transaction`", PUSH: "`push(connection=)`"}

_ORDERS = "CREATE TABLE orders (number INTEGER, data TEXT)"
_DONE = "CREATE TABLE done (number INTEGER PRIMARY KEY, result TEXT)"
_INSERT = sa.text("INSERT INTO orders VALUES (:number, 'three pens')")
_IS_DONE = sa.text("INSERT INTO done VALUES (:number, '1')")

Place = Callable[[str], str]
"""Returns the URL of an empty database by its name."""


def engine_of(stack: ExitStack, url: str, pragmas: list[str], *tables: str) -> sa.Engine:
    """Return a user's engine for a database, with these tables."""
    engine = sa.create_engine(url)
    stack.callback(engine.dispose)

    def prepare(connection: Any, _: Any) -> None:
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}")

    sa.event.listen(engine, "connect", prepare)
    with engine.begin() as connection:
        for table in tables:
            connection.exec_driver_sql(table)
    return engine


def insert(connection: sa.Connection, number: int) -> int:
    """Do the work of one step."""
    connection.execute(_INSERT, {"number": number})
    return 1


def by_hand(shop: sa.Engine, state: sa.Engine) -> Callable[[int], object]:
    """Return two transactions: the insert, and that it is done."""

    def twice(number: int) -> None:
        with shop.begin() as connection:
            insert(connection, number)
        with state.begin() as connection:
            connection.execute(_IS_DONE, {"number": number})

    return twice


def turns(operation: Callable[[int], object], times: int, name: str) -> Contestant:
    """Return a turn that runs an operation so many times, with a new number each time."""
    numbers = itertools.count(1)

    def take_turn() -> dict[str, float]:
        began = time.perf_counter()
        for number in itertools.islice(numbers, times):
            operation(number)
        return {name: (time.perf_counter() - began) / times}

    return take_turn


def new_attempt(stack: ExitStack, location: str) -> tuple[Store, Attempt]:
    """Return an attempt of a live run in a new store."""
    store = stack.enter_context(open_store(location))
    return store, stack.enter_context(store.session("benchmark").run()).begin("work")


def dbos_steps(stack: ExitStack, place: Place, pragmas: list[str], times: int) -> Contestant:
    """Return a turn of `times` transaction steps of one DBOS workflow, timed inside of it."""
    from dbos import DBOS as Dbos
    from dbos import SQLAlchemyDatasource

    def prepare(connection: Any, _: Any) -> None:
        if type(connection).__module__ == "sqlite3":
            for pragma in pragmas:
                connection.execute(f"PRAGMA {pragma}")

    sa.event.listen(sa.Engine, "connect", prepare)
    stack.callback(sa.event.remove, sa.Engine, "connect", prepare)
    Dbos(config={"name": "benchmark", "system_database_url": place("dbos"), "log_level": "ERROR"})
    shop = SQLAlchemyDatasource.create(place("dbos_shop"))
    with shop.engine.begin() as connection:
        connection.exec_driver_sql(_ORDERS)
    numbers = itertools.count(1)

    def insert_in_session(number: int) -> int:
        shop.sql_session().execute(_INSERT, {"number": number})
        return 1

    def transaction_steps() -> float:
        began = time.perf_counter()
        for number in itertools.islice(numbers, times):
            shop.run_tx_step(
                {"isolation_level": "READ COMMITTED"} if "postgres" in str(shop.engine.url) else None,
                insert_in_session,
                number,
            )
        return time.perf_counter() - began

    workflow = Dbos.workflow()(transaction_steps)
    Dbos.launch()
    stack.callback(Dbos.destroy)
    return lambda: {STEP: workflow() / times}


def race_steps(place: Place, pragmas: list[str], effort: Effort) -> Race:
    """Race steps whose shop is another database than the store's."""
    times = 10
    with ExitStack() as stack:
        _, attempt = new_attempt(stack, place("store"))
        _, plain = new_attempt(stack, place("plain"))
        shops = [engine_of(stack, place(f"shop_{number}"), pragmas, _ORDERS) for number in range(3)]
        state = engine_of(stack, place("state"), pragmas, _DONE)

        def ours(number: int) -> object:
            return attempt.step.transaction(shops[1], f"step {number}", insert, number)

        def insert_alone(number: int) -> int:
            with shops[2].begin() as connection:
                return insert(connection, number)

        contestants = {
            HAND: turns(by_hand(shops[0], state), times, STEP),
            OURS: turns(ours, times, STEP),
            PLAIN: turns(lambda number: plain.step(f"step {number}", insert_alone, number), times, STEP),
        }
        if peers.installed("dbos"):
            contestants[DBOS] = dbos_steps(stack, place, pragmas, times)
        return Race(contestants, effort(25, 5), effort(8, 3))


def race_pushes(place: Place, pragmas: list[str], effort: Effort) -> Race:
    """Race pushes in the transaction of an insert, in the database of the store."""
    times = 10
    outbox = "CREATE TABLE outbox (number INTEGER PRIMARY KEY, data TEXT)"
    into_outbox = sa.text("INSERT INTO outbox VALUES (:number, :data)")
    with ExitStack() as stack:
        locations = [place("hand"), place("own")]
        (_, _), (store, _) = [new_attempt(stack, location) for location in locations]
        hand, own = (engine_of(stack, location, pragmas, _ORDERS, outbox) for location in locations)
        queue = store.session("inbox").xcom["orders"]

        def insert_twice(number: int) -> None:
            with hand.begin() as connection:
                insert(connection, number)
                connection.execute(into_outbox, {"number": number, "data": str(SMALL)})

        def push(number: int) -> None:
            with own.begin() as connection:
                insert(connection, number)
                queue.push(SMALL, connection=connection)

        contestants = {HAND: turns(insert_twice, times, PUSH), OURS: turns(push, times, PUSH)}
        return Race(contestants, effort(25, 5), effort(8, 3))


def races_on_files(synchronous: str, effort: Effort) -> tuple[Race, Race]:
    """Race on SQLite, with the same durability for all; with FULL, users' files and DBOS are as they come."""
    pragmas = ["journal_mode=WAL", "synchronous=NORMAL"] if synchronous == "NORMAL" else []
    with ExitStack() as stack:
        stack.enter_context(mock.patch.dict("os.environ", ZRB_STORE_DURABILITY=synchronous.lower()))

        def place(name: str) -> str:
            return f"sqlite:///{new_folder(stack)}/{name}.db"

        return race_steps(place, pragmas, effort), race_pushes(place, pragmas, effort)


def races_on_a_server(effort: Effort) -> tuple[Race, Race]:
    """Race on PostgreSQL, with a database for each; every commit waits for the disk."""
    with ExitStack() as stack:
        stack.enter_context(mock.patch.dict(postgres.SETTINGS, AS_USUAL))
        server = stack.enter_context(postgres.private_server())
        admin = stack.enter_context(server.connect())

        def place(name: str) -> str:
            admin.execute(f"CREATE DATABASE {name}".encode())
            return server.database_url(name)

        return race_steps(place, [], effort), race_pushes(place, [], effort)


def run(effort: Effort) -> Answer:
    """Run the races."""
    answer = Answer()
    places: dict[str, Callable[[Effort], tuple[Race, Race]]] = {
        "SQLite, NORMAL": functools.partial(races_on_files, "NORMAL"),
        "SQLite, FULL": functools.partial(races_on_files, "FULL"),
    }
    if postgres.available():
        places["PostgreSQL"] = races_on_a_server
    for where, run_races in places.items():
        steps, pushes = run_races(effort)
        answer.add(f"{where}:", "", *ratios(steps, {STEP: OPERATIONS[STEP]}, HAND))
        answer.add(*ratios(pushes, {PUSH: OPERATIONS[PUSH]}, HAND))
        answer.goals.append(
            at_most(f"{OPERATIONS[STEP]}, x two transactions by hand, {where}", 1.3, steps.ratio(STEP, OURS, HAND))
        )
        faster = steps.ratio(STEP, DBOS, OURS) if DBOS in steps.contestants else None
        answer.goals.append(at_least(f"{OPERATIONS[STEP]} faster than DBOS' data source, {where}", 1, faster))
        answer.goals.append(
            at_most(f"{OPERATIONS[PUSH]}, x a plain INSERT, {where}", 1.3, pushes.ratio(PUSH, OURS, HAND))
        )
    return answer
