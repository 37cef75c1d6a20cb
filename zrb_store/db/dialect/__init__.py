"""The parts of statements that differ between the two databases, and how a statement notices an upgrade.

`hooks.py` has the other differences in the use of a store, and `sqlite.py` and `postgresql.py` implement it. The
differences in migrations are in `db/migrate.py`, those in what the databases report about themselves in `db/schema.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zrb_store.db import REVISION, REVISION_SQL
from zrb_store.db.core import bindparam, compiling, exists, literal, sa, statement, t
from zrb_store.names import NamePattern


def now() -> sa.ColumnElement[int]:
    """Return the database's clock, in microseconds since 1970, as of the evaluation rather than the transaction."""
    return compiling.Expression(
        sa.BigInteger(),
        sqlite="(zrb_now() / 1000)",
        postgresql="CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)",
    )


def tick() -> sa.ColumnElement[int]:
    """Return the tick of a change of a queue: it comes after the last event, and before the next one."""
    sqlite = "(SELECT tick FROM zrb_clock)"
    return compiling.Expression(sa.BigInteger(), sqlite=sqlite, postgresql="nextval('zrb_tick')")


def next_tick() -> sa.ColumnElement[int]:
    """Return the tick of an event: an attempt begins or ends. A trigger advances SQLite's clock (`tables.py`)."""
    sqlite = "(SELECT tick + 1 FROM zrb_clock)"
    return compiling.Expression(sa.BigInteger(), sqlite=sqlite, postgresql="nextval('zrb_tick')")


def new_id(table: str) -> sa.ColumnElement[int]:
    """Return an id for a new row of a table: higher than those that there are, and part of it random.

    If ids were consecutive, a process that has the store open while it is restored from a copy, and counts from there,
    would take the rows of others for those that it knows.
    """
    return compiling.Expression(
        sa.BigInteger(),
        sqlite=f"((SELECT coalesce(max(id), 0) FROM {table}) + 1 + (random() & 268435455))",
        postgresql=_POSTGRESQL_ID.format(table),
    )


def new_ids(table: str, order: sa.ColumnElement[int]) -> sa.ColumnElement[int]:
    """Return ids as `new_id` gives them, for several rows of one statement, in the order of a column."""
    first = f"(SELECT coalesce(max(id), 0) + (random() & 268435455) FROM {table})"  # the same for all rows
    sqlite = f"({first} + row_number() OVER (ORDER BY {{0}}))"
    return compiling.Expression(sa.BigInteger(), order, sqlite=sqlite, postgresql=_POSTGRESQL_ID.format(table))


_POSTGRESQL_ID = "(nextval('{0}_id_seq') * 268435456 + CAST(floor(random() * 268435456) AS BIGINT))"


def byte_length(text: sa.ColumnElement[str]) -> sa.ColumnElement[int]:
    """Return the size of a text in bytes, as UTF-8."""
    # SQLite has octet_length only since 3.43. Its length() counts characters, and only up to a NUL.
    sqlite = "length(CAST({0} AS BLOB))"
    return compiling.Expression(sa.Integer(), text, sqlite=sqlite, postgresql="octet_length({0})")


# These are SQL, because SQLAlchemy leaves out the names of tables in what an UPDATE returns on SQLite.
_OF_VALUE = "{0}.queue_id = zrb_value.queue_id AND {0}.seq = zrb_value.seq"
_MORE = f"SELECT 1 FROM zrb_chunk AS more WHERE {_OF_VALUE.format('more')} AND more.number = 1"
_FIRST = f"SELECT chunk.data FROM zrb_chunk AS chunk WHERE {_OF_VALUE.format('chunk')} AND chunk.number = 0"
_IN_ORDER = (
    f"SELECT chunk.data, chunk.number FROM zrb_chunk AS chunk WHERE {_OF_VALUE.format('chunk')} ORDER BY chunk.number"
)
_TEXT = "CASE WHEN zrb_value.data = '' THEN coalesce(({0}), '') ELSE zrb_value.data END"


def short_text() -> sa.ColumnElement[str]:
    """Return the text of a value of `zrb_value`, or nothing if that takes more than a look (`queries/chunks.py`)."""
    return compiling.Expression(
        sa.Text(),
        sqlite=_TEXT.format(f"{_FIRST} AND NOT EXISTS ({_MORE})"),
        postgresql="zrb_value.data",  # even if no value has chunks, to look for them would take 6 us more
    )


def whole_text() -> sa.ColumnElement[str]:
    """Return the text of a value of `zrb_value`, however long it is."""
    # SQLite has an ORDER BY in group_concat() only since 3.44.
    sqlite = f"SELECT group_concat(in_order.data, '') FROM ({_IN_ORDER}) AS in_order"
    postgresql = f"SELECT string_agg(in_order.data, '' ORDER BY in_order.number) FROM ({_IN_ORDER}) AS in_order"
    return compiling.Expression(sa.Text(), sqlite=_TEXT.format(sqlite), postgresql=_TEXT.format(postgresql))


def schema_is_unchanged() -> sa.Exists:
    """Return a condition for each statement that writes outside a transaction: nobody has upgraded the store since."""
    return exists(t.version.c.version_num == literal(REVISION))


def revision_of(driver: Any) -> str | None:
    """Return the current revision of the schema, as a driver's connection sees it."""
    rows = driver.execute(REVISION_SQL).fetchall()
    return str(rows[0][0]) if rows else None


def insert_if_absent(dialect_name: str, table: sa.Table) -> sa.Insert:
    """Return an INSERT that does nothing if a unique column already has the value."""
    from sqlalchemy.dialects import postgresql, sqlite

    if dialect_name == "sqlite":
        return sqlite.insert(table).on_conflict_do_nothing()
    return postgresql.insert(table).on_conflict_do_nothing()


def bytewise(dialect_name: str, column: sa.ColumnElement[str]) -> sa.ColumnElement[str]:
    """Return a text column that sorts by bytes on both databases. PostgreSQL would sort by the server's language."""
    return column if dialect_name == "sqlite" else column.collate("C")


def matches(dialect_name: str, column: sa.ColumnElement[str], pattern: NamePattern) -> sa.ColumnElement[bool]:
    """Return the condition that a name matches a pattern, at least as far as the database can tell.

    SQLite reads only the names that begin as the pattern does. So does PostgreSQL, if its language is C: then it
    derives the range from the LIKE itself.
    """
    if dialect_name != "sqlite":
        return column.like(pattern.like, escape="\\")
    condition: sa.ColumnElement[bool] = column.op("GLOB", is_comparison=True)(pattern.glob)
    if not pattern.prefix or not pattern.prefix.isascii():  # no name of a session has other characters
        return condition
    following = pattern.prefix[:-1] + chr(ord(pattern.prefix[-1]) + 1)
    return sa.and_(column >= pattern.prefix, column < following, condition)


def among(dialect_name: str, column: sa.ColumnElement[Any], name: str) -> sa.ColumnElement[bool]:
    """Return the condition that a column is one of the numbers, or texts, in a JSON list: the parameter `name`."""
    listed = bindparam(name, type_=sa.Text)
    if dialect_name == "sqlite":
        return column.in_(sa.select(sa.func.json_each(listed).table_valued("value").c.value))
    item = sa.func.json_array_elements_text(sa.cast(listed, sa.JSON)).table_valued("value").c.value
    items = sa.select(sa.cast(item, sa.BigInteger) if isinstance(column.type, sa.Integer) else item)
    # As an array they are looked up in an index; with IN, the planner might read the whole table.
    return column == sa.any_(sa.func.array(items.scalar_subquery()))


def among_few(dialect_name: str, column: sa.ColumnElement[int], name: str) -> sa.ColumnElement[bool]:
    """Return the same for a few numbers, in the form that costs PostgreSQL least if they are seldom looked at."""
    if dialect_name == "sqlite":
        return among(dialect_name, column, name)
    # Beside a subquery that reads JSON, a pop from a queue that nobody else uses would take a tenth longer.
    listed = sa.func.translate(bindparam(name, type_=sa.Text), literal("[]"), literal("{}"))
    return column == sa.any_(sa.cast(listed, sa.ARRAY(sa.BigInteger)))


def numbered_insert(
    dialect_name: str, columns: dict[str, sa.ColumnElement[Any]], where: Sequence[sa.ColumnElement[bool]], *, left: bool
) -> sa.sql.dml.ReturningInsert[int, int]:
    """Return a statement that inserts a value at the end (or the beginning) of queue `:queue_id`.

    It returns the value's seq and the time of the push. SQLite has one writer at a time, so the next number can be
    found from the rows. PostgreSQL uses a counter, whose row is locked until the commit, so that values are numbered in
    the order in which their transactions commit, which a sequence would not ensure.
    """
    names = ["queue_id", "seq", *columns]
    if dialect_name == "sqlite":
        source = sa.select(t.queue.c.id, _beyond(left), *columns.values()).where(
            t.queue.c.id == bindparam("queue_id"), *where
        )
    else:
        counter = _move_counter(literal(1), left).where(*where).cte("counter")
        source = sa.select(counter.c.id, counter.c.seq, *columns.values())
    return sa.insert(t.value).from_select(names, source).returning(t.value.c.seq, t.value.c.pushed_at)


@statement
def reserve(dialect_name: str, *, left: bool) -> sa.Select[int]:
    """Return a statement that reserves `:count` numbers in queue `:queue_id` and returns the lowest."""
    count = bindparam("count", type_=sa.BigInteger)
    if dialect_name == "sqlite":
        first = _beyond(left) - count + 1 if left else _beyond(left)
        return sa.select(first).where(t.queue.c.id == bindparam("queue_id"))
    counter = _move_counter(count, left).cte("counter")
    return sa.select(counter.c.seq if left else counter.c.seq - count + 1)


def _beyond(left: bool) -> sa.ColumnElement[int]:
    """Return SQLite's expression for the number one below (or above) every seq that the queue has or ever had."""
    edge = sa.func.min if left else sa.func.max
    rows = sa.select(edge(t.value.c.seq)).where(t.value.c.queue_id == t.queue.c.id).scalar_subquery()
    if left:
        return sa.func.min(sa.func.coalesce(rows, literal(1)), t.queue.c.low) - literal(1)
    return sa.func.max(sa.func.coalesce(rows, literal(0)), t.queue.c.high) + literal(1)


def _move_counter(count: sa.ColumnElement[int], left: bool) -> sa.sql.dml.ReturningUpdate[int, int]:
    """Return PostgreSQL's statement that takes `count` numbers and returns the last one."""
    moved = {"low": t.queue.c.low - count} if left else {"high": t.queue.c.high + count}
    edge = t.queue.c.low if left else t.queue.c.high
    return (
        sa.update(t.queue)
        .where(t.queue.c.id == bindparam("queue_id"))
        .values(moved)
        .returning(t.queue.c.id, edge.label("seq"))
    )
