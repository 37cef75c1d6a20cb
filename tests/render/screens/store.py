"""A store with long, wide and marked names, whose times are always the same."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import PurePosixPath
from uuid import UUID

import sqlalchemy as sa

from zrb_store import Store
from zrb_store.db.tables import attempt, change, returned, run, session, value
from zrb_store.run import RunSpec

START = datetime(2020, 11, 24, 3, 12, 45, tzinfo=UTC)
REGION = "nightly-warehouse-refresh-eu-west-1-2026-11-24"  # 46 characters
FIFTY = "fifty-columns-are-exactly-as-many-as-this-name-has"
LONG = "a-name-that-is-longer-than-eighty-columns-and-may-therefore-be-wrapped-on-a-small-terminal-2026-11-24"
NAMES = ("etl", REGION, FIFTY, LONG, "inbox", "values", "shared")
WIDE = "毎晩の倉庫更新タスク毎晩の倉庫更新タスク"
MARKED = "cafe\u0301-re\u0301sume\u0301"
COMMANDS = {
    "list": ["list"],
    "failed": ["list", "--failed"],
    "check": ["check"],
    "show": ["show", "etl"],
    "show-wide": ["show", REGION],
    "values": ["show", "values"],
    "inbox": ["show", "inbox"],
    "dead": ["show", "shared"],
    "timeline": ["show", "etl", "--timeline", "--steps"],
    "trace": ["trace", "shared/orders#1"],
    "diff": ["diff", "etl", "values"],
    "log": ["log", "shared"],
    "stats": ["stats"],
    "prune": ["prune", "--older-than", "1d", "--dry-run"],
    "last": ["last", "load", "--any-project", "--format", "table"],
}


@dataclasses.dataclass
class Order:
    """Stored by its fields."""

    id: int
    price: Decimal


class Color(enum.Enum):
    """Stored by its names."""

    RED = 1


VALUES = (
    Decimal("24.90"),
    datetime(2026, 11, 24, 3, 12, 45, tzinfo=UTC),
    UUID(int=7),
    PurePosixPath("/srv/shop/orders 7.csv"),
    (1, "a", Decimal("2.50")),
    {3, 1},
    b"\x00PNG",
    Order(7, Decimal("24.90")),
    Color.RED,
    {"price": Decimal("1.0"), "day": date(2026, 1, 1)},
    "日本語テキスト" * 10,
    "e\u0301" * 60,
)


def fill(store: Store) -> None:
    """Make the sessions of `NAMES`, the first one last."""
    shared = store.session("shared").xcom["orders"]
    shared.max_deliveries = 2
    shared.extend([{"order": 7, "total": Decimal("24.90")}, {"order": 8}])
    store.session("values").xcom["values"].extend(VALUES)
    store.session("values").xcom["load"].push({"total": Decimal("25.10")})
    store.session("inbox").xcom["files"].extend(f"file-{number}.csv" for number in range(1, 2001))
    for _ in range(600):
        store.session("inbox").xcom["files"].pop()
    for name in (LONG, FIFTY):
        store.session(name).xcom["q"].push(1)
    wide = store.session(REGION)
    with wide.prepare(RunSpec(task=WIDE, project="/srv/shop", path=["etl", WIDE])) as its_run:
        its_run.note_tasks({MARKED: "not started", WIDE: "not started", "notify": "skipped"})
        with its_run.attempt(MARKED) as done:
            done.complete(["ann", "bob"])
        with its_run.attempt(WIDE) as done:
            wide.xcom[MARKED].pop()
            done.complete({"rows": 2, "total": Decimal("24.90")})
    for number in range(2):
        _etl(store, broken=not number)
    for number in range(1, 4):
        converter = store.session(f"converter-{number}")
        its_run = converter.prepare(RunSpec(task="convert", project="/srv/shop", path=["convert"]))
        with contextlib.suppress(ValueError), its_run as converting, converting.attempt("convert"):
            raise ValueError(f"cannot parse corrupt-{number}.csv: expected 7 columns, found 6 (separator is ';')")
    store.database.execute(sa.update(session).where(session.c.name == "shared").values(pinned=True))
    _set_times(store)


def _etl(store: Store, *, broken: bool) -> None:
    etl = store.session("etl")
    spec = RunSpec(task="load", project="/srv/shop", path=["etl", "load"])
    with contextlib.suppress(RuntimeError), etl.prepare(spec) as its_run:
        its_run.note_tasks({"extract": "not started", "load": "not started", "notify": "skipped"})
        if its_run.completed("extract") is None:
            with its_run.attempt("extract") as done:
                for page in range(2):
                    done.step(f"page {page}", int, page)
                done.complete([1, 2])
        with its_run.attempt("load") as loading:
            etl.xcom["extract"].pop()
            store.session("shared").xcom["orders"].pop()
            if broken:
                raise RuntimeError("duplicate key value violates unique constraint orders_pkey: Key (id)=(4711) exists")
            loading.complete({"total": Decimal("24.90")})


def _place(table: sa.Table, row_id: sa.ColumnElement[int]) -> sa.ScalarSelect[int]:
    """Return the place of a row among those of its table, from 1: ids are not consecutive."""
    earlier = table.alias()
    return sa.select(sa.func.count(type_=sa.BigInteger)).where(earlier.c.id <= row_id).scalar_subquery()


def _set_times(store: Store) -> None:
    """Let each run begin an hour after the one before and take ten seconds, and each attempt two seconds."""
    start, second = int(START.timestamp()) * 1_000_000, 1_000_000
    hour = 3600 * second
    execute = store.database.execute
    execute(sa.update(session).values(created_at=start + _place(session, session.c.id) * second))
    execute(sa.update(session).where(session.c.ended_at.is_not(None)).values(ended_at=start + 30 * hour))
    began = start + _place(run, run.c.id) * hour
    execute(sa.update(run).values(host="h1", pid=4711, origin="cli", user="ann", folder="/srv/shop", command='["zrb"]'))
    execute(sa.update(run).values(python_version="3.11.7", started_at=began, ended_at=began + 20 * second))
    its_run = _place(run, attempt.c.run_id)
    began = start + its_run * hour + _place(attempt, attempt.c.id) * second
    execute(sa.update(attempt).values(started_at=began, ended_at=began + 2 * second))
    given_back = sa.update(attempt).where(attempt.c.given_back_at.is_not(None))
    execute(given_back.values(given_back_at=start + (its_run + 1) * hour))
    pushed = start + value.c.seq * second
    execute(sa.update(value).values(pushed_at=pushed))
    execute(sa.update(value).where(value.c.ended_at.is_not(None)).values(ended_at=pushed + 8 * hour))
    returned_at = start + returned.c.id * hour
    execute(sa.update(returned).values(taken_at=returned_at, returned_at=returned_at + second))
    execute(sa.update(change).values(at=start, pid=4711, host="h1", user="ann"))


def long_ago() -> timedelta:
    """How long ago all this was."""
    return datetime.now(UTC) - START
