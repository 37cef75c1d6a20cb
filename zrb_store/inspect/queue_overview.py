"""The queues that somebody may have to look at: of all sessions, those with held or dead values, and all inboxes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from zrb_store.db.engine import Database
from zrb_store.inspect.holders import HeldBy, holders_of
from zrb_store.names import full_name
from zrb_store.queries import lease
from zrb_store.queries.clock import now_micros
from zrb_store.queries.queue_overview import (
    HeldValues,
    QueueState,
    held_values,
    queue_states,
    queues_of_open_sessions,
    queues_with_dead,
)
from zrb_store.records import iso

MOST = 500
"""The most queues that are shown of each kind."""


class QueueOverview(NamedTuple):
    """The queues of a store.

    Attributes:
        queues: Their shapes, those with dead values first, then those with held ones.
        are_all: Whether there are no others that have dead or held values or belong to an open session.
        moment: When they were read, in microseconds.
    """

    queues: list[dict[str, Any]]
    are_all: bool
    moment: int


def queue_overview(database: Database) -> QueueOverview:
    """Read, as of one moment, the queues with held or dead values, and those of sessions that have had no run."""
    with database.snapshot() as transaction:
        moment = now_micros(transaction)
        dead, inboxes = queues_with_dead(transaction, MOST + 1), queues_of_open_sessions(transaction, MOST + 1)
        held: dict[int, list[HeldValues]] = {}
        for each in held_values(transaction):
            held.setdefault(each.queue_id, []).append(each)
        ids = list(dict.fromkeys([*dead[:MOST], *list(held)[:MOST], *inboxes[:MOST]]))
        states = queue_states(transaction, ids)
        homes = list({state.session_id for state in states})
        steps: dict[int, list[HeldBy]] = {}
        for holder in holders_of(transaction, homes, moment):
            if holder.step_of is not None:
                steps.setdefault(holder.home_id, []).append(holder)
        shapes = []
        for state in states:
            own = held.get(state.queue_id, [])
            holders = [(each, lease.state_of_process(transaction, each.run, moment)) for each in own]
            shapes.append(_shape(state, holders, steps.get(state.session_id, [])))
    shapes.sort(key=lambda shape: (not shape["dead"], not shape["held"], shape["session"], shape["queue"]))
    return QueueOverview(shapes, max(len(dead), len(held), len(inboxes)) <= MOST, moment)


def _shape(state: QueueState, held: Sequence[tuple[HeldValues, str]], steps: Sequence[HeldBy]) -> dict[str, Any]:
    return {
        "session": state.session,
        "queue": state.queue,
        "status": state.status,
        "max_deliveries": state.max_deliveries,
        "live": state.live,
        "oldest_at": iso(state.oldest_at),
        "held": sum(each.values for each, _ in held),
        "held_by": [
            {
                "attempt": full_name(each.session, each.task, each.number),
                "values": each.values,
                "since": iso(each.since),
                "state": process,
            }
            for each, process in held
        ],
        # Of the session's queues together: which of them a step holds values of is not read.
        "steps_of_session": [{"attempt": each.name, "since": iso(each.since), "state": each.state} for each in steps],
        "dead": state.dead,
        "died_at": iso(state.died_at),
    }
