"""Find and create queues, limit their deliveries, pause them, and read what an overview of queues shows."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable
from typing import NamedTuple

from zrb_store.db.columns import QUEUE
from zrb_store.db.core import bindparam, literal, sa, statement, t
from zrb_store.db.dialect import among, insert_if_absent, new_id
from zrb_store.db.rows import fit
from zrb_store.db.transaction import Executor, Row, Transaction, first_column
from zrb_store.errors import SessionNotFound
from zrb_store.queries import sessions
from zrb_store.queries.values import is_dead, is_due
from zrb_store.records import JsonObject, iso


@statement
def named_queue() -> sa.Select[int]:
    """Select the id of queue `:queue` of session `:session`."""
    of_session = sa.select(t.queue.c.id).select_from(t.queue.join(t.session))
    return of_session.where(t.session.c.name == bindparam("session"), t.queue.c.name == bindparam("queue"))


def find_queue(executor: Executor, session_name: str, queue_name: str) -> int | None:
    """Return the id of a queue, or None if no value was ever pushed to it."""
    rows = executor.execute(named_queue(), {"session": session_name, "queue": queue_name})
    return rows[0][0] if rows else None


class FoundQueue(NamedTuple):
    """A queue as those see it who wait while it is paused: consumers, and `pop` from a shell."""

    id: int
    is_paused: bool


@statement
def _named_or_paused() -> sa.Select[int, bool]:
    return named_queue().construct.add_columns(t.queue.c.paused_at.is_not(None))


def find_for_consumer(executor: Executor, session_name: str, queue_name: str) -> FoundQueue | None:
    """Return a queue, or None if no value was ever pushed to it."""
    rows = executor.execute(_named_or_paused(), {"session": session_name, "queue": queue_name})
    return FoundQueue(rows[0][0], bool(rows[0][1])) if rows else None


def being_paused(session_name: str, queue_name: str) -> str:
    """Return the message that a queue is paused."""
    unpause = f"`zrb-store queue {session_name} {shlex.quote(queue_name)} --unpause`"
    return f"queue {queue_name!r} of session {session_name} is paused: {unpause} lets consumers continue"


def create_queue(executor: Executor, session_name: str, queue_name: str) -> int | None:
    """Return the id of a queue, which is created if necessary; None if there is no such session."""
    params = {"session": session_name, "queue": queue_name}
    rows = executor.execute(_create_queue(executor.dialect_name), params)
    return rows[0][0] if rows else find_queue(executor, session_name, queue_name)


def ensure_queue(transaction: Transaction, session_name: str, queue_name: str) -> int:
    """Return the id of a queue. Create the queue, and its session, if they do not exist."""
    found = create_queue(transaction, session_name, queue_name)
    if found is None:
        sessions.create(transaction, session_name)
        found = create_queue(transaction, session_name, queue_name)
    if found is None:
        raise SessionNotFound(sessions.being_removed(session_name))
    return found


@statement
def _create_queue(dialect_name: str) -> sa.sql.dml.ReturningInsert[int]:
    columns = (new_id("zrb_queue"), t.session.c.id, bindparam("queue", type_=sa.Text))
    of_session = sa.select(*columns).where(t.session.c.name == bindparam("session"))
    insert = insert_if_absent(dialect_name, t.queue).from_select(["id", "session_id", "name"], of_session)
    return insert.returning(t.queue.c.id)


@statement
def _queues() -> sa.Select[str, int]:
    return (
        sa.select(t.queue.c.name, t.queue.c.id)
        .select_from(t.queue.join(t.session))
        .where(t.session.c.name == bindparam("session"))
        .order_by(t.queue.c.id)
    )


def queue_ids(executor: Executor, session_name: str) -> dict[str, int]:
    """Return the ids of a session's queues by name, in the order of their first pushes."""
    return dict(executor.execute(_queues(), {"session": session_name}))


RULES = ("id", "max_deliveries", "retry_after", "paused_at")
_RULES = {name: QUEUE[name] for name in RULES}


class QueueRules(NamedTuple):
    """What a queue allows."""

    max_deliveries: int | None = None  # how often it delivers a value at most; None: any number
    # How many microseconds a value is delayed that comes back for the first time, the second ...; the last one repeats.
    retry_after: tuple[int, ...] = ()
    paused_at: int | None = None  # since when consumers wait; None if it is not paused

    def to_json(self) -> JsonObject:
        """Return it as `show --format json` shows it, with seconds."""
        delays = [micros / 1_000_000 for micros in self.retry_after]
        allowed: JsonObject = {"max_deliveries": self.max_deliveries, "retry_after": delays or None}
        return {**allowed, "paused_at": iso(self.paused_at)}


@statement
def _read_rules() -> sa.Select[*Row]:
    of_queue = t.queue.c.id == bindparam("of_queue", type_=t.queue.c.id.type)
    return sa.select(*(t.queue.c[name] for name in RULES)).where(of_queue)


@statement
def _set_rules() -> sa.Update:
    of_queue = t.queue.c.id == bindparam("of_queue", type_=t.queue.c.id.type)
    limit, intervals = bindparam("limit", type_=sa.Integer), bindparam("intervals", type_=sa.Text)
    new = {"max_deliveries": limit, "retry_after": intervals, "paused_at": bindparam("pause", type_=sa.BigInteger)}
    return sa.update(t.queue).where(of_queue).values(new)


def rules(executor: Executor, queue_id: int) -> QueueRules:
    """Return what a queue allows."""
    rows = executor.execute(_read_rules(), {"of_queue": queue_id})
    return rules_of(rows[0]) if rows else QueueRules()


def rules_of(row: Row) -> QueueRules:
    """Return what a queue allows by its columns `RULES`."""
    named = fit("zrb_queue", _RULES, row)
    return QueueRules(named["max_deliveries"], intervals_of(named["retry_after"]), named["paused_at"])


def intervals_of(text: str | None) -> tuple[int, ...]:
    """Return the delays of a queue as they are stored."""
    named = fit("zrb_queue", {"retry_after": QUEUE["retry_after"]}, (text,))
    return tuple(json.loads(named["retry_after"] or "[]"))


def set_rules(executor: Executor, queue_id: int, rules: QueueRules) -> None:
    """Set what a queue allows, in the open transaction. Values that are live stay live."""
    intervals = json.dumps(rules.retry_after) if rules.retry_after else None
    new = {"limit": rules.max_deliveries, "intervals": intervals, "pause": rules.paused_at}
    executor.execute(_set_rules(), {"of_queue": queue_id, **new})


@statement
def _open() -> sa.Select[int]:
    return (
        sa.select(t.queue.c.id)
        .select_from(t.queue.join(t.session))
        .where(t.session.c.status == literal("open"), sessions.is_not_completed())
    )


def queues_of_open_sessions(executor: Executor) -> list[int]:
    """Return the ids of the queues whose session has had no run."""
    return list(map(first_column, executor.execute(_open())))


class QueueState(NamedTuple):
    """What a queue has now."""

    queue_id: int
    session_id: int
    session: str
    status: str  # the stored status of its session
    queue: str
    max_deliveries: int | None  # how often it delivers a value; None for any number
    live: int  # how many values are live
    oldest_at: int | None  # when the oldest of these was pushed, in microseconds
    dead: int  # how many values are dead
    died_at: int | None  # when the last of these died
    paused_at: int | None  # since when consumers wait; None if the queue is not paused


def dead_values() -> sa.Select[int, int, int]:
    """Select the queues that have dead values, how many, and when the last of them died."""
    at = sa.func.max(t.value.c.ended_at).label("at")
    found = sa.select(t.value.c.queue_id, sa.func.count().label("count"), at).where(is_dead())
    return found.with_hint(t.value, "INDEXED BY ix_zrb_value_dead", "sqlite").group_by(t.value.c.queue_id)


@statement
def _states(dialect_name: str) -> sa.Select[*Row]:
    live = (
        sa.select(t.value.c.queue_id, sa.func.count().label("count"), sa.func.min(t.value.c.seq).label("oldest"))
        .where(among(dialect_name, t.value.c.queue_id, "queue_ids"), t.value.c.ended_at.is_(None), is_due())
        .with_hint(t.value, "INDEXED BY ix_zrb_value_live", "sqlite")
        .group_by(t.value.c.queue_id)
        .subquery("live")
    )
    dead = dead_values().where(among(dialect_name, t.value.c.queue_id, "queue_ids")).subquery("dead")
    oldest = t.value.alias("oldest")
    of_session = (t.session.c.id, t.session.c.name, t.session.c.status)
    queue = (t.queue.c.id, *of_session, t.queue.c.name, t.queue.c.max_deliveries)
    count, none = sa.func.coalesce, literal(0)
    return (
        sa.select(*queue, count(live.c.count, none), oldest.c.pushed_at, count(dead.c.count, none), dead.c.at)
        .add_columns(t.queue.c.paused_at)
        .select_from(
            t.queue.join(t.session)
            .outerjoin(live, live.c.queue_id == t.queue.c.id)
            .outerjoin(oldest, sa.and_(oldest.c.queue_id == live.c.queue_id, oldest.c.seq == live.c.oldest))
            .outerjoin(dead, dead.c.queue_id == t.queue.c.id)
        )
        .where(among(dialect_name, t.queue.c.id, "queue_ids"))
        .order_by(t.session.c.name, t.queue.c.name)
    )


def queue_states(executor: Executor, queue_ids: Iterable[int]) -> list[QueueState]:
    """Return what these queues have now, ordered by session and name."""
    params = {"queue_ids": json.dumps(list(queue_ids))}
    return [QueueState(*row) for row in executor.execute(_states(executor.dialect_name), params)]
