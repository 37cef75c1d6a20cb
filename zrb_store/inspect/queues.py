"""Queues as `queue` and the page of queues show them: what they allow, who holds their values, which need attention."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from zrb_store.db.engine import Database
from zrb_store.db.transaction import Transaction
from zrb_store.inspect.value import find_queue
from zrb_store.names import NamePattern
from zrb_store.queries import lease, queues, sessions
from zrb_store.queries.clock import now_micros
from zrb_store.queries.holders import (
    Halted,
    Hold,
    Holder,
    each_held,
    held_values,
    holding_steps,
    unfinished_sessions,
)
from zrb_store.queries.queues import QueueRules
from zrb_store.records import JsonObject, by_key, pick


def queue_rules(database: Database, session: str, queue: str) -> QueueRules:
    with database.snapshot() as transaction:
        queue_id = find_queue(transaction, sessions.get(transaction, session), queue)
        return queues.rules(transaction, queue_id)


def holders_of(transaction: Transaction, session_ids: Sequence[int], moment: int) -> list[Holder]:
    """Return what holds values of some sessions: first running attempts, then completed steps, the oldest first.

    A step is named if its task has not completed and its session does not run. Values of the step's own session are not
    counted, since nothing else waits for them.
    """
    running = {(each.home_id, each.attempt): (each, run) for each, run in held_values(transaction, session_ids)}
    found = [each._replace(status=lease.state_of_process(transaction, run, moment)) for each, run in running.values()]
    return found + holding_steps(transaction, session_ids, _halted(transaction, moment))


def _halted(transaction: Transaction, moment: int) -> Halted:
    """Return the sessions whose steps may hold values."""
    found = {}
    for session_id, name, status, run in unfinished_sessions(transaction):
        of = lease.status_of(transaction, status, run, moment)
        if of != "running":
            found[session_id] = name, f"step of {'an' if of == 'interrupted' else 'a'} {of} session"
    return found


@contextmanager
def all_holds(database: Database) -> Iterator[tuple[Iterator[Hold], int]]:
    """Read every value of the store that is held, the oldest hold first, and the moment at which this is so."""
    with database.snapshot() as transaction:
        moment = now_micros(transaction)
        found = each_held(transaction, _halted(transaction, moment))
        yield (
            (
                each._replace(status=each.status or lease.state_of_process(transaction, run, moment))
                for each, run in found
            ),
            moment,
        )


@dataclass(frozen=True, slots=True)
class QueueSummary:
    """A queue in an overview."""

    state: queues.QueueState
    held: list[Holder]  # by running attempts
    steps: list[Holder]  # completed steps that hold values of the session's queues; of which of them is not read
    reason: str | None  # the error of the last death

    @property
    def held_count(self) -> int:
        """How many values running attempts hold."""
        return sum(each.values for each in self.held)

    def to_json(self) -> JsonObject:
        """Return it as `queues?format=json` of a page shows it."""
        state = self.state
        return {
            **pick(state, "session", "queue", "status", "max_deliveries", "paused_at", "live", "oldest_at"),
            "held": self.held_count,
            "held_by": [pick(each, "attempt", "values", "since", "status") for each in self.held],
            "steps_of_session": [pick(each, "attempt", "since", "status") for each in self.steps],
            **pick(state, "dead", "died_at"),
            "reason": self.reason,
        }


def queue_overview(
    database: Database, pattern: NamePattern | None = None, first: int = 0, most: int = 500
) -> tuple[list[QueueSummary], int]:
    """Read, as of one moment, the queues with held or dead values, and those of sessions that have had no run.

    Their name SESSION/QUEUE may have to match a pattern. Return some, beginning with the one of this place, and how
    many there are. Those with dead values are the first, then come those with held ones.
    """
    from zrb_store.queries.dead_queues import dead_queues, why_dead

    with database.snapshot() as transaction:
        moment = now_micros(transaction)
        dead = {each.id for each in dead_queues(transaction)}
        held = by_key(held_values(transaction), lambda each: each[0].queue_id)
        every = queues.queue_states(transaction, {*dead, *held, *queues.queues_of_open_sessions(transaction)})
        chosen = [each for each in every if pattern is None or pattern.matches(f"{each.session}/{each.queue}")]
        chosen.sort(key=lambda each: (each.queue_id not in dead, each.queue_id not in held))
        states = chosen[first : first + most]
        why = why_dead(transaction, [each.queue_id for each in states if each.queue_id in dead])
        session_ids = list({state.session_id for state in states})
        holding = holding_steps(transaction, session_ids, _halted(transaction, moment))
        steps = by_key(holding, lambda each: each.home_id)
        found = []
        for state in states:
            by = [
                each._replace(status=lease.state_of_process(transaction, run, moment))
                for each, run in held.get(state.queue_id, [])
            ]
            found.append(QueueSummary(state, by, steps.get(state.session_id, []), why.get(state.queue_id)))
    return found, len(chosen)
