r"""The SQL views, for other programs (docs/reference/sql.md). Nothing in zrb-store reads them.

Their names begin with `zrb_`, as those of the tables do: a schema can be shared, and `pg_dump -t 'zrb_*'` saves both.
Then they are called like the command, `zrb xcom`, and `\dv zrb_xcom*` lists them alone.

No migration knows them. They are made anew at the end of each upgrade (`migrate.make_views`), so that they fit the
tables. A column that is on the page keeps its name and its meaning. New columns come last: PostgreSQL replaces a view,
and keeps the rights on it, only if the others stay where they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy import literal_column
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import ExecutableDDLElement

from zrb_store.db.dialect import whole_text
from zrb_store.db.dialect.compiling import Expression
from zrb_store.db.tables import attempt, queue, returned, run, session, value

Column = sa.ColumnElement[Any]


def iso(time: Column) -> sa.ColumnElement[str]:
    """Return a time as ISO 8601 in UTC with microseconds, such as `2026-11-24T08:00:00.000000Z`."""
    # In two parts, because an interval is multiplied by a float, which has not enough digits for both.
    moment = (
        "timestamp '1970-01-01' + {0} / 1000000 * interval '1 second' + mod({0}, 1000000) * interval '1 microsecond'"
    )
    return Expression(
        sa.Text(),
        time,
        sqlite="(strftime('%Y-%m-%dT%H:%M:%S', {0} / 1000000, 'unixepoch') || printf('.%06dZ', {0} % 1000000))",
        # Whatever language the server has, times compare as bytes.
        postgresql=f'(to_char({moment}, \'YYYY-MM-DD"T"HH24:MI:SS.US"Z"\') COLLATE "C")',
    )


class _CreateView(ExecutableDDLElement):
    inherit_cache = False

    def __init__(self, name: str, select: sa.Select[Any]) -> None:
        self.name = name
        self.select = select


class _DropView(ExecutableDDLElement):
    inherit_cache = False

    def __init__(self, name: str) -> None:
        self.name = name


@compiles(_CreateView)
def _create_view(element: _CreateView, compiler: Any, **_: Any) -> str:
    select = compiler.sql_compiler.process(element.select, literal_binds=True)
    # Only PostgreSQL can replace a view.
    verb = "CREATE" if compiler.dialect.name == "sqlite" else "CREATE OR REPLACE"
    return f"{verb} VIEW {element.name} AS\n{select}"


@compiles(_DropView)
def _drop_view(element: _DropView, compiler: Any, **_: Any) -> str:
    return f"DROP VIEW IF EXISTS {element.name}"


def statements(dialect_name: str) -> Iterator[ExecutableDDLElement]:
    """Yield the statements that make the views, whether or not a store has them already."""
    for name, select in VIEWS.items():
        if dialect_name == "sqlite":
            yield _DropView(name)
        yield _CreateView(name, select)


def _seconds(table: sa.FromClause) -> Column:
    return (sa.cast(table.c.ended_at - table.c.started_at, sa.Double) / literal_column("1000000", sa.Double)).label(
        "seconds"
    )


def _full_name(of: sa.FromClause, name: Column, number: Column) -> Column:
    """Return the expression for `SESSION/NAME#NUMBER`."""
    slash, hash_ = literal_column("'/'", sa.Text), literal_column("'#'", sa.Text)
    return of.c.name + slash + name + hash_ + sa.cast(number, sa.Text)


def _attempt_name(of: sa.FromClause, each: sa.FromClause) -> Column:
    return _full_name(of, each.c.task, each.c.number)


def _at(column: Column) -> Column:
    return iso(column).label(column.name)


def _task_of(each: sa.FromClause) -> Column:
    """Return the expression for the task that an attempt is of; of a step's, the task that the step is of."""
    return sa.func.coalesce(each.c.step_of, each.c.task)


_text: Column = whole_text()
_pusher, _taker, _outer = attempt.alias("pusher"), attempt.alias("taker"), attempt.alias("outer_attempt")
_pusher_session, _taker_session = session.alias("pusher_session"), session.alias("taker_session")

_SESSIONS = sa.select(
    session.c.name.label("session"),
    session.c.status,
    session.c.task,
    session.c.project,
    session.c.fence.label("runs"),
    _at(session.c.created_at),
    _at(session.c.finished_at),
    session.c.inputs,
    session.c.path,
    session.c.parent,
    session.c.forked_from,
    session.c.pinned,
)
_RUNS = sa.select(
    session.c.name.label("session"),
    run.c.number.label("run"),
    run.c.outcome,
    _at(run.c.started_at),
    _at(run.c.ended_at),
    _seconds(run),
    run.c.origin,
    run.c.user.label("user_name"),  # `user` is what PostgreSQL calls its own user
    run.c.host,
    run.c.pid,
    run.c.command,
    run.c.folder,
    run.c.python_version,
    run.c.zrb_version,
    _at(run.c.lease_expires_at),
    run.c.error_type,
    run.c.error_message,
    run.c.error_traceback,
).select_from(run.join(session, session.c.id == run.c.session_id))
_END: list[Column] = [
    attempt.c.status,
    run.c.number.label("run"),
    _at(attempt.c.started_at),
    _at(attempt.c.ended_at),
    _seconds(attempt),
    _at(attempt.c.given_back_at),
    attempt.c.error_type,
    attempt.c.error_message,
    attempt.c.error_traceback,
    attempt.c.restorable,
]
_with_run = attempt.join(session, session.c.id == attempt.c.session_id).outerjoin(run, run.c.id == attempt.c.run_id)
_ATTEMPTS = (
    sa.select(
        _attempt_name(session, attempt).label("attempt"),
        session.c.name.label("session"),
        attempt.c.task,
        attempt.c.number,
        attempt.c.role,
        *_END,
        _text.label("result"),
        attempt.c.id.label("attempt_id"),
    )
    .select_from(
        _with_run.outerjoin(
            value, sa.and_(value.c.queue_id == attempt.c.result_queue_id, value.c.seq == attempt.c.result_seq)
        )
    )
    .where(attempt.c.step_of.is_(None))
)
_STEPS = (
    sa.select(
        _attempt_name(session, attempt).label("attempt"),
        session.c.name.label("session"),
        attempt.c.step_of.label("task"),
        attempt.c.step,
        attempt.c.number,
        attempt.c.once,
        *_END,
        attempt.c.result,
        _attempt_name(session, _outer).label("parent"),
        attempt.c.parent_id,
        attempt.c.id.label("attempt_id"),
    )
    .select_from(_with_run.outerjoin(_outer, _outer.c.id == attempt.c.parent_id))
    .where(attempt.c.step_of.is_not(None))
)


def _count(*conditions: Column) -> Column:
    one = sa.select(sa.func.count()).select_from(value).where(value.c.queue_id == queue.c.id, *conditions)
    return one.scalar_subquery()


_QUEUES = sa.select(
    session.c.name.label("session"),
    queue.c.name.label("queue"),
    _count(value.c.ended_at.is_(None)).label("live"),
    _count(value.c.state == literal_column("'dead'")).label("dead"),
    queue.c.max_deliveries,
).select_from(queue.join(session, session.c.id == queue.c.session_id))
_PLACE: list[Column] = [session.c.name.label("session"), queue.c.name.label("queue"), value.c.seq]
_in_queue = value.join(queue, queue.c.id == value.c.queue_id).join(session, session.c.id == queue.c.session_id)


def _with_pusher(of: sa.Join) -> sa.Join:
    return of.outerjoin(_pusher, _pusher.c.id == value.c.pushed_by).outerjoin(
        _pusher_session, _pusher_session.c.id == _pusher.c.session_id
    )


_pushed_by: list[Column] = [
    _attempt_name(_pusher_session, _pusher).label("pushed_by"),
    _pusher_session.c.name.label("pushed_by_session"),
    _task_of(_pusher).label("pushed_by_task"),
]
_taken_by: list[Column] = [
    _attempt_name(_taker_session, _taker).label("taken_by"),
    _taker_session.c.name.label("taken_by_session"),
    _task_of(_taker).label("taken_by_task"),
]
_VALUES = sa.select(
    *_PLACE,
    value.c.state,
    value.c.type,
    _text.label("value"),
    value.c.size,
    _at(value.c.pushed_at),
    *_pushed_by,
    _at(value.c.ended_at),
    *_taken_by,
    value.c.deliveries,
    value.c.moved_from,
    value.c.orphaned,
    _full_name(session, queue.c.name, value.c.seq).label("id"),
    value.c.pushed_by.label("pushed_by_id"),
    value.c.taken_by.label("taken_by_id"),
).select_from(
    _with_pusher(_in_queue)
    .outerjoin(_taker, _taker.c.id == value.c.taken_by)
    .outerjoin(_taker_session, _taker_session.c.id == _taker.c.session_id)
)
_RETURNS = sa.select(
    session.c.name.label("session"),
    queue.c.name.label("queue"),
    returned.c.seq,
    *_taken_by,
    _at(returned.c.taken_at),
    _at(returned.c.returned_at),
    returned.c.reason,
    returned.c.deliveries,
    returned.c.taken_by.label("taken_by_id"),
).select_from(
    returned.join(queue, queue.c.id == returned.c.queue_id)
    .join(session, session.c.id == queue.c.session_id)
    .outerjoin(_taker, _taker.c.id == returned.c.taken_by)
    .outerjoin(_taker_session, _taker_session.c.id == _taker.c.session_id)
)
_LINEAGE = (
    sa.select(
        *_pushed_by,
        *_taken_by,
        *_PLACE,
        _at(value.c.pushed_at),
        iso(value.c.ended_at).label("taken_at"),
        value.c.pushed_by.label("pushed_by_id"),
        value.c.taken_by.label("taken_by_id"),
    )
    .select_from(
        # The outer joins come last: SQLite may begin with any of the tables before them.
        _with_pusher(
            _in_queue.join(_taker, _taker.c.id == value.c.taken_by).join(
                _taker_session, _taker_session.c.id == _taker.c.session_id
            )
        )
    )
    .where(value.c.state == literal_column("'taken'"))
)

VIEWS: dict[str, sa.Select[Any]] = {
    "zrb_xcom_sessions": _SESSIONS,
    "zrb_xcom_runs": _RUNS,
    "zrb_xcom_attempts": _ATTEMPTS,
    "zrb_xcom_steps": _STEPS,
    "zrb_xcom_queues": _QUEUES,
    "zrb_xcom_values": _VALUES,
    "zrb_xcom_returns": _RETURNS,
    "zrb_xcom_lineage": _LINEAGE,
}
"""The query of each view."""
