"""Who holds values of a session: running attempts, and completed steps of sessions that do not run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from zrb_store.db.transaction import Transaction
from zrb_store.names import full_name
from zrb_store.queries import lease
from zrb_store.queries.holders import UnfinishedSession, holders, holding_steps, unfinished_sessions


class HeldBy(NamedTuple):
    """What holds values of a session.

    Attributes:
        home_id: The session whose values it holds.
        session: Name of the session of the holder.
        task: Name of the holder's task; of a step, its id.
        number: Its number.
        state: What is known of it. Of a running attempt, its process: `alive`, `dead`, or `lease expired` on another
            machine. Of a step, as in `step of a failed session`.
        step_of: Of a completed step, the task; else None. What such a step holds does not come back by itself.
        since: Of a completed step, since when, in microseconds.
    """

    home_id: int
    session: str
    task: str
    number: int
    state: str
    step_of: str | None = None
    since: int | None = None

    @property
    def name(self) -> str:
        """SESSION/TASK#NUMBER."""
        return full_name(self.session, self.task, self.number)


def holders_of(transaction: Transaction, session_ids: Sequence[int], moment: int) -> list[HeldBy]:
    """Return what holds values of some sessions: first running attempts, then completed steps, the oldest first.

    A step is named if its task has not completed and its session does not run. Values of the step's own session are not
    counted, since nothing else waits for them.

    Args:
        transaction: A snapshot.
        session_ids: The sessions.
        moment: When they are read, in microseconds.
    """
    found = [
        HeldBy(
            each.home_id, each.session, each.task, each.number, lease.state_of_process(transaction, each.run, moment)
        )
        for each in holders(transaction, session_ids)
    ]
    halted = {each.id: each for each in unfinished_sessions(transaction) if _halted(transaction, each, moment)}
    if not halted:
        return found
    for step in holding_steps(transaction, session_ids, list(halted)):
        session = halted[step.session_id]
        status = "stale" if session.status == "running" else session.status
        state = f"step of {'an' if status == 'interrupted' else 'a'} {status} session"
        found.append(HeldBy(step.home_id, session.name, step.task, step.number, state, step.step_of, step.since))
    return found


def _halted(transaction: Transaction, session: UnfinishedSession, moment: int) -> bool:
    return session.status != "running" or not lease.is_live(transaction, session.run, moment)
