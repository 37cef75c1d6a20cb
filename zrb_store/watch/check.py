"""The alerts of `check`: failed, stale and late sessions, dead values and overdue tasks."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import NamedTuple

from zrb_store.db.engine import Database
from zrb_store.db.transaction import Transaction
from zrb_store.inspect.advice import look_for_runs
from zrb_store.local_time import Since, beginning, rounded
from zrb_store.process import Projects
from zrb_store.queries import attempts, lease
from zrb_store.queries.clock import now_micros
from zrb_store.queries.dead_queues import dead_queues, why_dead
from zrb_store.queries.last_errors import last_errors
from zrb_store.queries.list import runs_by_session
from zrb_store.queries.runs import acknowledged_at, newest_result, with_last_signs
from zrb_store.queries.waits import parked
from zrb_store.records import RunRecord, SessionRecord, by_key
from zrb_store.watch import alert
from zrb_store.watch.alert import Alert
from zrb_store.watch.queries import (
    last_completion,
    not_done,
    unresolved_failures,
    with_deliveries,
    with_failed_step,
)

_PAGE = 100  # sessions whose runs and errors are read by one statement each


def alerts(
    database: Database,
    max_ages: Mapping[str, timedelta],
    *,
    projects: Projects | None = None,
    since: Since | None = None,
    here: str | None = None,
    program: str = "zrb-store",
) -> list[Alert]:
    """Return what somebody has to look at, as of one moment, the last event first.

    The newest result of a task may have its `max_ages`. A session is left out if a newer one of the same project and
    main task has completed since it failed; one that takes deliveries, if any such session has, or if nothing is left
    of the values on which it failed. With `since`, earlier events are left out. The remedies are commands of a program,
    run in the folder `here`.
    """
    with database.snapshot() as transaction:
        moment = now_micros(transaction)
        overdue = _overdue(transaction, max_ages, moment, projects, program)
        queues = dead_queues(transaction, projects)
        why = why_dead(transaction, [each.id for each in queues]) if queues else {}
        dead = (alert.of_dead_values(each, why.get(each.id), program) for each in queues)
        first = None if since is None else beginning(since, moment)
        halted = _sessions(transaction, moment, projects, here)
        every = itertools.chain(overdue, dead, _with_failed_step(transaction, projects), halted)
        chosen = (each for each in every if first is None or each.at is None or each.at >= first)
        return sorted(chosen, key=lambda each: (each.at is not None, -(each.at or 0)))


def _overdue(
    transaction: Transaction, max_ages: Mapping[str, timedelta], moment: int, projects: Projects | None, program: str
) -> Iterator[Alert]:
    folder = projects.folders[0] if projects is not None and projects.folders else None
    for task, length in max_ages.items():
        max_age = length // timedelta(microseconds=1)
        found = newest_result(transaction, task, projects)
        attempt = None if found is None else attempts.by_id(transaction, found[1])
        why = "no completed session has a result of it"
        if attempt is not None:
            age = moment - (attempt.ended_at or 0)
            if age <= max_age:
                continue
            why = f"the newest result is {rounded(age)} old (session {attempt.session}), over {rounded(max_age)}"
        yield Alert(
            event="overdue",
            what=f"task {task}",
            why=why,
            at=None,
            remedy=look_for_runs(task, program),
            session=None if attempt is None else attempt.session,
            project=folder,
            task=task,
        )


def _with_failed_step(transaction: Transaction, projects: Projects | None) -> Iterator[Alert]:
    """Yield the sessions that completed although a step failed, unless one of their task has completed since."""
    found = with_failed_step(transaction, projects)
    errors = last_errors(transaction, [run_id for _, run_id in found])
    for session, run_id in found:
        last = last_completion(transaction, str(session.task), session.project)
        if last is None or last.session_id == session.id:
            yield alert.of_failed_step(session, errors.get(run_id))


def _sessions(transaction: Transaction, moment: int, projects: Projects | None, here: str | None) -> Iterator[Alert]:
    last_of_task = functools.cache(functools.partial(last_completion, transaction))

    def was_done_since(session: SessionRecord, last_run: RunRecord | None, *, is_worker: bool) -> bool:
        """Whether a session of the same project and main task has completed since this one failed or was last seen.

        That of a worker need not be newer than this one.
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

    found = not_done(transaction, projects)
    while page := list(itertools.islice(found, _PAGE)):
        runs = runs_by_session(transaction, [session.id for session in page])
        last_runs = {session_id: own[-1] for session_id, own in runs.items()}
        workers = with_deliveries(transaction, [session.id for session in page])
        left = [
            session
            for session in page
            if not was_done_since(session, last_runs.get(session.id), is_worker=session.id in workers)
        ]
        waiting = parked(transaction, [each.id for each in left if each.status == "waiting"])
        waits = by_key(waiting, lambda wait: wait.session)
        ids = [last_runs[each.id].id for each in left if each.id in last_runs]
        errors, unresolved = last_errors(transaction, ids), unresolved_failures(transaction, ids)
        for session in left:
            own, last = runs.get(session.id, []), last_runs.get(session.id)
            status = lease.status_of(transaction, session.status, last, moment)
            is_resolved = last is not None and last.error is None and unresolved.get(last.id) == 0
            if status == "running" or acknowledged_at(own) or (status == "failed" and is_resolved):
                continue
            late = [each for each in waits.get(session.name, []) if each.is_late]
            if status == "waiting" and not late:
                continue
            own = with_last_signs(transaction, own) if status == "stale" else own
            error = None if last is None else errors.get(last.id)
            how = lease.how_it_died(transaction, last, moment) if last is not None and last.ended_at is None else None
            seen = replace(session, status=status, ended_at=late[0].deadline if late else session.ended_at)
            yield alert.of_session(transaction, seen, own, error, how, here, late)


class AlertGroup(NamedTuple):
    """Alerts of one kind whose reasons differ only in names and numbers."""

    alerts: list[Alert]  # the first ones
    size: int
    why: str  # the reason, with `...` for what differs


_SPECIFIC = re.compile(r"""\S*[\d'"/.]\S*""")  # words that name one file, value or number
_KEPT = 3  # alerts of a group: there may be many thousands


def grouped(every: Iterable[Alert]) -> list[AlertGroup]:
    """Group alerts, the first of each group in their order."""
    groups: dict[tuple[str | None, ...], AlertGroup] = {}
    for each in every:
        why = each.shown_reason()
        key = (each.event, each.project, each.task, each.queue, _SPECIFIC.sub("...", why))
        known = groups.get(key, AlertGroup([], 0, why))
        words = zip(known.why.split(), why.split(), strict=True)  # they differ only in what is specific
        common = " ".join(word if word == other else "..." for word, other in words)
        groups[key] = AlertGroup([*known.alerts, each][:_KEPT], known.size + 1, common)
    return list(groups.values())
