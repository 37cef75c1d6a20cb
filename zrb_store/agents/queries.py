"""Statements on the steps of agents: what was paid, what was decided about calls, and answers for `stats`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from zrb_store.agents.kinds import APPROVAL, BUDGET, MODEL_REQUEST, TOOL_CALL
from zrb_store.db.core import bindparam, is_one_of, literal, sa, statement, t
from zrb_store.db.rows import sound
from zrb_store.db.transaction import Executor, Row, Transaction
from zrb_store.queries import attempts
from zrb_store.records import AttemptRecord


@statement
def _paid_since() -> sa.Select[int, str, str | None]:
    return (
        sa.select(t.attempt.c.ended_tick, t.attempt.c.kind, t.attempt.c.result)
        .select_from(t.attempt.join(t.session))
        .where(
            *(t.session.c.name == bindparam("session"), t.attempt.c.step_of.is_not(None)),
            *(t.attempt.c.status == literal("completed"), t.attempt.c.run_id.is_not(None)),
            *(t.attempt.c.ended_tick > bindparam("since"), is_one_of(t.attempt.c.kind, MODEL_REQUEST, BUDGET)),
        )
        .order_by(t.attempt.c.ended_tick)
    )


def paid_since(executor: Executor, session: str, tick: int) -> Sequence[Row]:
    """Return the answers that models gave after a moment in the session itself, and the raised budgets.

    Each has its moment, its kind and its result.
    """
    return executor.execute(_paid_since(), {"session": session, "since": tick})


class Decided(NamedTuple):
    """What was decided about a call, or about several."""

    kind: str
    attributes: str | None
    answer: str
    moment: int  # when a person has answered, or a capability has decided


@statement
def _decided() -> sa.Select[*Row]:
    is_its_answer = sa.or_(
        t.value.c.taken_by == t.attempt.c.id,
        sa.and_(
            *(t.attempt.c.status == literal("waiting"), t.value.c.ended_at.is_(None)),
            t.value.c.queue_id.in_(
                sa.select(t.queue.c.id).where(
                    t.queue.c.session_id == t.attempt.c.session_id, t.queue.c.name == t.attempt.c.awaited_queue
                )
            ),
        ),
    )
    answer = sa.func.coalesce(t.value.c.data, t.attempt.c.result)
    moment = sa.func.coalesce(t.value.c.pushed_at, t.attempt.c.ended_at)
    return (
        sa.select(t.attempt.c.kind, t.attempt.c.attributes, answer, moment)
        .select_from(t.attempt.outerjoin(t.value, is_its_answer))
        .where(
            *(t.attempt.c.session_id == bindparam("session_id"), t.attempt.c.kind == literal(APPROVAL)),
            *(t.attempt.c.given_back_at.is_(None), answer.is_not(None)),
        )
        .order_by(t.attempt.c.id.desc())
    )


def decided(executor: Executor, session_id: int) -> list[Decided]:
    """Return what was decided about calls in a session, the latest question first."""
    return list(map(Decided._make, executor.execute(_decided(), {"session_id": session_id})))


class AgentAttempt(NamedTuple):
    """An attempt of a step that asks a model, or a call that the last attempt of a task has begun."""

    record: AttemptRecord
    result: str | None  # encoded; of an answer only
    key: tuple[str | None, str | None]  # the project and the main task of its session
    of: tuple[int, str]  # the session and the task that it is a step of
    last_id: int | None  # the last attempt of that
    last_status: str | None


def agent_attempts(transaction: Transaction, task: str | None, since: int | None) -> Iterator[AgentAttempt]:
    """Yield what models were asked in the sessions of a task, or of all, since a moment, by session and task.

    With them come the calls of tools that the last attempt of a task has begun.
    """
    is_answer, is_call = t.attempt.c.kind == literal(MODEL_REQUEST), t.attempt.c.kind == literal(TOOL_CALL)
    last, other = t.attempt.alias("last"), t.attempt.alias("other")
    of_task = (other.c.session_id == t.attempt.c.session_id, other.c.task == t.attempt.c.step_of)
    newest = sa.select(sa.func.max(other.c.id)).where(*of_task).scalar_subquery()
    found = (
        attempts.selection("arguments", "error_traceback")
        .add_columns(
            sa.case((is_answer, t.attempt.c.result)),
            *(t.session.c.project, t.session.c.task, t.attempt.c.step_of, last.c.id, last.c.status),
        )
        .outerjoin(last, last.c.id == newest)
        .where(t.attempt.c.step_of.is_not(None), sa.or_(is_answer, is_call & (t.attempt.c.parent_id == last.c.id)))
        .order_by(t.attempt.c.session_id, t.attempt.c.step_of)
    )
    found = found if task is None else found.where(t.session.c.task == task)
    found = found if since is None else found.where(t.attempt.c.started_at >= since)

    def answer(row: Row) -> AgentAttempt:
        *columns, result, project, main, step_of, last_id, status = row
        record = attempts.record(tuple(columns))
        return AgentAttempt(record, result, (project, main), (record.session_id, step_of), last_id, status)

    yield from sound(answer, transaction.stream(found))
