"""The alerts of `check`: failed and stale sessions, dead values and overdue tasks."""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import replace
from datetime import timedelta

from zrb_store.db.engine import Database
from zrb_store.db.transaction import Transaction
from zrb_store.inspect import alert
from zrb_store.inspect.alert import Alert
from zrb_store.process import Projects
from zrb_store.queries import attempts, lease
from zrb_store.queries.clock import now_micros
from zrb_store.queries.list import runs_by_session
from zrb_store.queries.notify import last_errors
from zrb_store.queries.runs import newest_result
from zrb_store.queries.stats import Completion, dead_queues, last_completion, not_done, with_deliveries
from zrb_store.records import Damage, RunRecord, SessionRecord

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

    The newest result of a task may have its `max_ages`. A session is left out if a newer one of the same project and
    main task has completed since it failed; one that takes deliveries, if any such session has. The remedies are
    commands of a program, run in the folder `here`.
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
    last_of_task = functools.cache(functools.partial(last_completion, transaction))
    found = not_done(transaction, projects)
    while page := list(itertools.islice(found, _PAGE)):
        runs = runs_by_session(transaction, [session.id for session in page])
        last_runs = {session_id: own[-1] for session_id, own in runs.items()}
        workers = with_deliveries(transaction, [session.id for session in page])
        left = [
            session
            for session in page
            if not _was_done_since(
                last_of_task, transaction, session, last_runs.get(session.id), is_worker=session.id in workers
            )
        ]
        errors = last_errors(transaction, [last_runs[each.id].id for each in left if each.id in last_runs])
        for session in left:
            own, last = runs.get(session.id, []), last_runs.get(session.id)
            status = lease.status_of(transaction, session.status, last, moment)
            if status == "running":
                continue
            damage.note(f"session {session.name}", session.damage)
            error = None if last is None else errors.get(last.id)
            how = lease.how_it_died(transaction, last, moment) if last is not None and last.ended_at is None else None
            yield alert.of_session(replace(session, status=status), own, error, how, here)


def _was_done_since(
    last_of_task: Callable[[str, str | None], Completion | None],
    transaction: Transaction,
    session: SessionRecord,
    last_run: RunRecord | None,
    *,
    is_worker: bool,
) -> bool:
    """Whether a session of the same project and main task has completed since this one failed or was last seen.

    That of a worker need not be newer than this one. `last_of_task` remembers what it has found.
    """
    if session.task is None:
        return False
    since = session.ended_tick
    if since is None:
        since = session.created_tick if last_run is None else last_run.started_tick
    last = last_of_task(session.task, session.project)
    if last is not None and last.tick > since and not is_worker and last.session_id < session.id:
        last = last_completion(transaction, session.task, session.project, after_id=session.id)
    return last is not None and last.tick > since
