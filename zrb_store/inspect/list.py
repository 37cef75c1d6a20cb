"""The sessions of `list`, each with the status that readers see, its runs, and its number of completed tasks."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import NamedTuple, TypedDict, Unpack

from zrb_store.db.engine import Database
from zrb_store.db.transaction import Transaction
from zrb_store.inspect import incomplete
from zrb_store.inspect.header import as_seen, header
from zrb_store.inspect.queues import holders_of
from zrb_store.local_time import Since, beginning
from zrb_store.names import NamePattern
from zrb_store.process import Projects
from zrb_store.queries import lease, sessions
from zrb_store.queries.clock import now_micros
from zrb_store.queries.dead_queues import dead_queues
from zrb_store.queries.holders import Holder
from zrb_store.queries.last_errors import LastError, last_errors
from zrb_store.queries.list import Chosen, TaskCounts, count_sessions, matching_sessions, runs_by_session, task_counts
from zrb_store.queries.runs import acknowledged_at, last_started, with_last_signs
from zrb_store.queries.waits import Wait, awaited, may_continue, parked
from zrb_store.records import HALTED, JsonObject, RunRecord, SessionRecord, by_key, iso, pick

STATUSES = ("open", "running", "stale", "waiting", "completed", "failed", "interrupted")
_SHOWN_AS = {"running": {"running", "stale"}, "interrupted": {"interrupted", "stale"}}
"""As what readers may see a stored status: a stale session is stored as running, or as interrupted if reclaimed."""
_PAGE = 100  # sessions whose runs and tasks are read by one statement each
_LEAST = 10  # as many of them if fewer are asked for: some may not be what was asked for


@dataclass(frozen=True)
class SessionSummary:
    """One session in a list."""

    session: SessionRecord  # with the status that readers see
    runs: list[RunRecord]
    tasks: int  # how many tasks it is known to have; of a consumer, how many deliveries
    done: int  # how many of them have completed or were skipped
    holders: list[Holder]  # what holds values of its queues and belongs to other sessions
    dead: int  # how many values of its queues are dead
    reason: str | None  # why it failed, was interrupted or is stale, if that is known, or what it waits for
    moment: int  # when all this was read, in microseconds

    @property
    def owner(self) -> RunRecord | None:
        """The run that is working on the session, or was when it died; None if the session is not running."""
        return last_started(self.runs) if self.session.status in ("running", "stale") else None

    @property
    def took(self) -> int | None:
        """How long the session's runs have worked, in microseconds; None if there was no run."""
        if not self.runs:
            return None
        until = self.moment if self.session.status == "running" else None
        return sum(max(0, lease.worked_until(run, until) - run.started_at) for run in self.runs)

    def to_json(self) -> JsonObject:
        """Return it as `list --format json` shows it, if it was read with its holders, dead values and reason."""
        owner, took = self.owner, self.took if self.session.status != "stale" else None
        return {
            **header(self.session),
            "started_at": iso(self.runs[0].started_at) if self.runs else None,
            "seconds": None if took is None else took / 1_000_000,
            "task_counts": {"done": self.done, "total": self.tasks},
            "owner": None if owner is None else {"host": owner.host, "pid": owner.pid},
            "held_by": [pick(each, "attempt", "status") for each in self.holders],
            "dead": self.dead,
            "acknowledged_at": iso(acknowledged_at(self.runs)),
            "reason": self.reason,
        }


class Conditions(TypedDict, total=False):
    """Which sessions a list has, and what is read of them."""

    statuses: Collection[str] | None  # as readers see them
    name: NamePattern | None
    task: str | None  # the main task
    projects: Projects | None
    since: Since | None  # last started or ended, or created, within this length of time, or since then
    before: str | None  # only sessions that come after the session of this name in this order
    roots: bool  # leave out child sessions
    limit: int | None
    with_holders: bool  # read who holds values of them, how many are dead, and why they did not complete


@contextmanager
def summaries(database: Database, **conditions: Unpack[Conditions]) -> Iterator[Iterator[SessionSummary]]:
    """Read the sessions that meet every given condition, in the order of their last start or end, as of one moment.

    The latest is the first. Memory stays flat.
    """
    with database.snapshot() as transaction:
        moment = now_micros(transaction)
        limit, before = conditions.get("limit"), conditions.get("before")
        chosen, unsure = _chosen(conditions, moment)
        after = None if before is None else sessions.get(transaction, before).id
        size = _PAGE if limit is None else min(max(limit, _LEAST), _PAGE)
        found = (
            _in_pages(transaction, chosen, after, size)
            if unsure and limit is not None
            else matching_sessions(transaction, chosen, before=after, limit=limit)
        )
        dead: Counter[int] = Counter()
        for each in dead_queues(transaction) if conditions.get("with_holders") else ():
            dead[each.session_id] += each.dead
        every = _summarized(transaction, found, moment, conditions.get("with_holders", False), dead, size)
        if unsure:
            statuses = conditions.get("statuses") or ()
            every = itertools.islice((each for each in every if each.session.status in statuses), limit)
        yield every


def _in_pages(transaction: Transaction, chosen: Chosen, after: int | None, size: int) -> Iterator[SessionRecord]:
    """Yield sessions like `matching_sessions`, but read no more pages of this size than somebody asks for."""
    while page := list(matching_sessions(transaction, chosen, before=after, limit=size)):
        yield from page
        after = page[-1].id


def _chosen(conditions: Conditions, moment: int) -> tuple[Chosen, Collection[str]]:
    """Return what SQL can tell of the conditions, and the stored statuses of sessions of which only a run tells it."""
    statuses, since = conditions.get("statuses"), conditions.get("since")
    wanted = set(statuses or ())
    perhaps = {stored for stored, shown in _SHOWN_AS.items() if shown & wanted}
    chosen = Chosen(
        None if statuses is None else wanted - _SHOWN_AS.keys() - {"stale"} | perhaps,
        conditions.get("name"),
        conditions.get("task"),
        conditions.get("projects"),
        None if since is None else beginning(since, moment),
        conditions.get("roots", False),
    )
    return chosen, {stored for stored in perhaps if not _SHOWN_AS[stored] <= wanted}


def count(database: Database, **conditions: Unpack[Conditions]) -> int:
    """Count the sessions that meet every given condition."""
    with database.snapshot() as transaction:
        moment = now_micros(transaction)
        chosen, unsure = _chosen(conditions, moment)
        if not unsure:
            return count_sessions(transaction, chosen)
        sure = set(chosen.statuses or ()) - set(unsure)
        certain = count_sessions(transaction, replace(chosen, statuses=sure))
        others = matching_sessions(transaction, replace(chosen, statuses=unsure))
        every = _summarized(transaction, others, moment, False, {}, _PAGE)
        return certain + sum(each.session.status in (conditions["statuses"] or ()) for each in every)


def list_sessions(database: Database, **conditions: Unpack[Conditions]) -> list[SessionSummary]:
    """Return the sessions that meet every given condition, as `summaries` reads them."""
    with summaries(database, **conditions) as found:
        return list(found)


def halted(database: Database, project: str, task: str | None, since: Since | None) -> list[SessionRecord]:
    """Return the sessions that zrb ran in a project and that ended without completing, the one that ended first first.

    None of them is a child session. With `since`, they ended within this length of time, or since this time.
    """
    found = list_sessions(database, statuses=HALTED, task=task, projects=Projects((project,)), roots=True)
    ended = []
    for each in found:
        last = each.runs[-1]
        at, tick = each.session.ended_at, each.session.ended_tick
        if at is None or tick is None:  # it is stale
            at, tick = lease.worked_until(last, None), last.started_tick
        if each.session.path and (since is None or at >= beginning(since, each.moment)):
            ended.append((tick, each.session))
    return [session for _, session in sorted(ended, key=lambda each: each[0])]


def ready(database: Database, project: str) -> list[SessionRecord]:
    """Return the waiting sessions of a project that a start continues; the one that was created first comes first."""
    with database.snapshot() as transaction:
        chosen = Chosen(["waiting"], projects=Projects((project,)))
        found = sorted(matching_sessions(transaction, chosen), key=lambda each: each.id)
        waits = by_key(parked(transaction, [each.id for each in found]), lambda wait: wait.session)
    return [each for each in found if may_continue(waits.get(each.name, []))]


class _Notes(NamedTuple):
    """What a list says of sessions on request: why they did not complete, and who holds their values."""

    errors: Mapping[int, LastError]  # of last runs, by id
    waits: Mapping[str, Sequence[Wait]]
    holders: Mapping[int, Sequence[Holder]]

    def why(
        self, transaction: Transaction, session: SessionRecord, runs: Sequence[RunRecord], moment: int
    ) -> str | None:
        """Return why a session did not complete, if that is known, or what it waits for."""
        if session.name in self.waits:
            return awaited(self.waits[session.name])
        if not runs:
            return None
        last = runs[-1]
        if session.status == "completed" and last.error and last.id in self.errors:
            return self.errors[last.id].text()  # a step of its script failed
        if session.status not in HALTED:
            return None
        died = lease.how_it_died(transaction, last, moment) if last.ended_at is None else None
        return incomplete.reason(session, runs, self.errors.get(last.id), died)

    def held_elsewhere(self, session: SessionRecord) -> list[Holder]:
        """Return what holds values of a session and belongs to others."""
        return [each for each in self.holders.get(session.id, []) if each.session != session.name]


def _notes(
    transaction: Transaction, page: Sequence[SessionRecord], runs: Mapping[int, Sequence[RunRecord]], moment: int
) -> _Notes:
    waiting = parked(transaction, [each.id for each in page if each.status == "waiting"])
    return _Notes(
        last_errors(transaction, [own[-1].id for own in runs.values()]),
        by_key(waiting, lambda wait: wait.session),
        by_key(holders_of(transaction, [each.id for each in page], moment), lambda holder: holder.home_id),
    )


def _with_signs(transaction: Transaction, runs: Mapping[int, Sequence[RunRecord]]) -> dict[int, list[RunRecord]]:
    """Return runs by session, those that were lost with the last sign of life of their process."""
    lost = [run for own in runs.values() for run in own if run.status == "lost"]
    signs = {run.id: run for run in with_last_signs(transaction, lost)}
    return {session_id: [signs.get(run.id, run) for run in own] for session_id, own in runs.items()}


def _progress(session: SessionRecord, counts: TaskCounts) -> tuple[int, int]:
    """Return how many tasks a session has, and how many of them are done; of a consumer, deliveries."""
    if counts.deliveries:
        return counts.deliveries, counts.delivered
    # A skipped task with an attempt that was not given back has failed or runs, or is counted as completed.
    done = counts.completed + len(_skipped(session) - counts.kept)
    return max(counts.attempted, len(session.tasks)), done


def _skipped(session: SessionRecord) -> set[str]:
    return {task for task, state in session.tasks.items() if state == "skipped"}


def _summarized(
    transaction: Transaction,
    found: Iterator[SessionRecord],
    moment: int,
    with_holders: bool,
    dead: Mapping[int, int],
    size: int,
) -> Iterator[SessionSummary]:
    while page := list(itertools.islice(found, size)):
        ids = [session.id for session in page]
        runs = runs_by_session(transaction, ids)
        seen_runs = _with_signs(transaction, runs)
        counts = task_counts(transaction, ids, [session.id for session in page if _skipped(session)])
        notes = _notes(transaction, page, runs, moment) if with_holders else _Notes({}, {}, {})
        for session in page:
            own, counted = seen_runs.get(session.id, []), counts.get(session.id, TaskCounts())
            seen = as_seen(transaction, session, own, moment)
            tasks, done = _progress(session, counted)
            reason = notes.why(transaction, seen, own, moment) if with_holders else None
            if counted.deliveries:
                reason = reason and f"{reason} ({done:,} of {tasks:,} completed)"
            elsewhere = notes.held_elsewhere(session)
            yield SessionSummary(seen, own, tasks, done, elsewhere, dead.get(session.id, 0), reason, moment)
