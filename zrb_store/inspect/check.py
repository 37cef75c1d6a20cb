"""What `check` shows: what failed, went stale, is dead in a queue or is overdue."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Generator, Iterator, Mapping
from dataclasses import replace
from datetime import timedelta

from zrb_store.db.engine import Database
from zrb_store.db.transaction import Transaction
from zrb_store.inspect import alert
from zrb_store.inspect.alert import Alert
from zrb_store.inspect.value import Damage
from zrb_store.process import Projects
from zrb_store.queries import attempts, lease
from zrb_store.queries.clock import now_micros
from zrb_store.queries.list import matching_sessions, runs_by_session
from zrb_store.queries.on_failure import last_errors
from zrb_store.queries.runs import newest_result
from zrb_store.queries.stats import Completion, dead_queues, last_completion, not_done, with_deliveries
from zrb_store.records import RunRecord, SessionRecord

_PAGE = 100  # sessions whose runs and errors are read by one statement each


@contextlib.contextmanager
def alerts(
    database: Database,
    max_ages: Mapping[str, timedelta],
    damage: Damage,
    *,
    projects: Projects | None = None,
    here: str | None = None,
    program: str = "zrb-store",
) -> Iterator[Iterator[Alert]]:
    """Read what somebody has to look at, as of one moment.

    A session is left out if a newer one of the same project and main task has completed since it failed. Workers that
    take deliveries stand in for each other: such a session is left out if any of them has completed since.

    The context manager gives an iterator, which can be used within the block.

    Args:
        max_ages: By task, how old its newest result may be.
        projects: Look only at these projects.
        here: The folder in which the remedies are run; None if that is not known.
        program: `zrb-store` or `zrb xcom`, for the remedies.
    """
    with database.snapshot() as transaction:
        moment = now_micros(transaction)
        # It is closed at the end of the block, although the caller need not read it to its end.
        with contextlib.closing(_sessions(transaction, moment, damage, projects, here)) as sessions:
            overdue = _overdue(transaction, max_ages, moment, projects, program)
            dead = (
                alert.of_dead_values(each.session, each.project, each.queue, each.dead, each.at, program)
                for each in dead_queues(transaction, projects)
            )
            yield itertools.chain(overdue, dead, sessions)


def has_sessions(database: Database, projects: Projects) -> bool:
    """Whether any session belongs to these projects."""
    with database.snapshot() as transaction:
        return next(matching_sessions(transaction, projects=projects, limit=1), None) is not None


def _overdue(
    transaction: Transaction, max_ages: Mapping[str, timedelta], moment: int, projects: Projects | None, program: str
) -> Iterator[Alert]:
    folder = projects.folders[0] if projects is not None and projects.folders else None
    for task, length in max_ages.items():
        max_age = length // timedelta(microseconds=1)
        found = newest_result(transaction, task, projects)
        attempt = None if found is None else attempts.by_id(transaction, found[1])
        newest = None if found is None or attempt is None else (found[0], attempt.ended_at or 0)
        if newest is None or moment - newest[1] > max_age:
            yield alert.of_overdue_task(task, newest, moment, max_age, folder, program)


def _sessions(
    transaction: Transaction, moment: int, damage: Damage, projects: Projects | None, here: str | None
) -> Generator[Alert]:
    successors = _Successors(transaction)
    found = not_done(transaction, projects)
    while page := list(itertools.islice(found, _PAGE)):
        runs = runs_by_session(transaction, [session.id for session in page])
        last_runs = {session_id: own[-1] for session_id, own in runs.items()}
        workers = with_deliveries(transaction, [session.id for session in page])
        left = [
            session
            for session in page
            if not successors.has_any(session, last_runs.get(session.id), worker=session.id in workers)
        ]
        errors = last_errors(transaction, [last_runs[each.id].id for each in left if each.id in last_runs])
        for session in left:
            own, last = runs.get(session.id, []), last_runs.get(session.id)
            status = lease.status_of(transaction, session, last, moment)
            if status == "running":
                continue
            damage.note(f"session {session.name}", session.damage)
            error = None if last is None else errors.get(last.id)
            how = lease.how_it_died(transaction, last, moment) if last is not None and last.ended_at is None else None
            yield alert.of_session(replace(session, status=status), own, error, how, here)


class _Successors:
    """The sessions that completed in the place of one that did not. Each task is looked up once, as far as possible."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self._last: dict[tuple[str, str | None], Completion | None] = {}

    def has_any(self, session: SessionRecord, last_run: RunRecord | None, *, worker: bool) -> bool:
        """Whether a session of the same project and main task has completed since this one failed or was last seen."""
        if session.task is None:
            return False
        since = session.finished_tick
        if since is None:
            since = session.created_tick if last_run is None else last_run.started_tick
        task = session.task, session.project
        if task not in self._last:
            self._last[task] = last_completion(self._transaction, *task)
        last = self._last[task]
        if last is not None and last.tick > since and not worker and last.session_id < session.id:
            last = last_completion(self._transaction, *task, after_id=session.id)
        return last is not None and last.tick > since
