"""The database's clock, and the ticks that order what happens in a store."""

from __future__ import annotations

from typing import NamedTuple

from zrb_store.db.core import bindparam, literal, sa, statement, t
from zrb_store.db.dialect import next_tick, now, tick
from zrb_store.db.transaction import Executor, Transaction


@statement
def _now() -> sa.Select[int]:
    return sa.select(now())


_LATEST = 2**63 - 1


def given_moment() -> sa.BindParameter[int]:
    """Return the time of the moment that a statement gets by its parameters."""
    return bindparam("moment", type_=sa.BigInteger)


def given_tick() -> sa.BindParameter[int]:
    """Return the tick of that moment."""
    return bindparam("tick", type_=sa.BigInteger)


def now_given(what: str) -> dict[str, sa.BindParameter[int]]:
    """Return what a statement writes to say that something happens at that moment: `WHAT_at` and `WHAT_tick`."""
    return {f"{what}_at": given_moment(), f"{what}_tick": given_tick()}


class Moment(NamedTuple):
    """A moment of a store: the time that people read, and the tick that decides what came before what.

    A moment that was given as a time has no tick, and is compared by the clock.
    """

    at: int
    tick: int | None

    @property
    def params(self) -> dict[str, int | None]:
        """The parameters of a statement that writes this moment."""
        return {"moment": self.at, "tick": self.tick}

    @property
    def bounds(self) -> dict[str, int]:
        """The parameters of a statement that compares with this moment (`by_then` and `later`)."""
        return {
            "moment": self.at if self.tick is None else _LATEST,
            "tick": _LATEST if self.tick is None else self.tick,
            "time": self.at,  # for delays, which end by the clock
        }

    def includes(self, at: int | None, when: int | None) -> bool:
        """Whether something that has this time and this tick had happened by then."""
        if self.tick is None:
            return at is not None and at <= self.at
        return when is not None and when <= self.tick


def by_then(table: sa.FromClause, what: str) -> sa.ColumnElement[bool]:
    """Return the condition that what the columns `WHAT_at` and `WHAT_tick` say had happened by the given moment."""
    return sa.and_(table.c[f"{what}_tick"] <= given_tick(), table.c[f"{what}_at"] <= given_moment())


def later(table: sa.FromClause, what: str) -> sa.ColumnElement[bool]:
    """Return the condition that what the columns `WHAT_at` and `WHAT_tick` say happened after the given moment."""
    return sa.or_(table.c[f"{what}_tick"] > given_tick(), table.c[f"{what}_at"] > given_moment())


@statement
def _draw(dialect_name: str) -> sa.sql.dml.ReturningUpdate[int, int] | sa.Select[int, int]:
    if dialect_name != "sqlite":
        return sa.select(now(), next_tick())
    return sa.update(t.clock).values(tick=t.clock.c.tick + literal(2)).returning(now(), t.clock.c.tick - literal(1))


def draw(transaction: Transaction) -> Moment:
    """Draw the next tick, and read the clock: the moment of the changes that follow in the transaction.

    Call this after all locks are taken. Otherwise a value could seem taken before it was pushed, or by two at once.
    """
    return Moment(*transaction.execute(_draw(transaction.dialect_name))[0])


def now_micros(executor: Executor) -> int:
    """Read the database's clock, in microseconds since 1970 UTC: for leases, and for ages that people give."""
    return int(executor.execute(_now())[0][0])


@statement
def _latest_tick() -> sa.Select[int]:
    return sa.select(tick())


def latest(transaction: Transaction) -> int:
    """Return a tick that is at least as high as all that the store has drawn."""
    highest: int = transaction.execute(_latest_tick())[0][0]
    return highest


_MARGIN = 1000  # an even number of ticks that other processes may draw on PostgreSQL while this one sets the sequence


@statement
def _advance(dialect_name: str) -> sa.Update | sa.TextClause:
    wanted = bindparam("wanted", type_=sa.BigInteger)
    if dialect_name == "sqlite":
        return sa.update(t.clock).where(t.clock.c.tick < wanted).values(tick=wanted)
    behind = sa.text("SELECT setval('zrb_tick', :wanted) FROM zrb_tick WHERE last_value < :wanted")
    return behind.bindparams(wanted)


def advance(transaction: Transaction, highest: int) -> None:
    """Let the next tick be higher than this one, which a row was given that comes from another store."""
    transaction.execute(_advance(transaction.dialect_name), {"wanted": highest + _MARGIN + highest % 2})
