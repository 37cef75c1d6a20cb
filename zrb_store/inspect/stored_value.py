"""One stored value with its history, or the stored result of one step, which lies in no queue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from zrb_store import codec
from zrb_store.codec.json_text import size_of
from zrb_store.db.transaction import Transaction
from zrb_store.errors import ValueNotFound
from zrb_store.inspect import by_hand
from zrb_store.inspect.damage import Damage
from zrb_store.inspect.shapes import value_shape
from zrb_store.names import full_name, nearest
from zrb_store.queries import attempts, show, value_history
from zrb_store.queries.value_history import ValueHistory
from zrb_store.records import AttemptRecord, SessionRecord, iso


@dataclass(frozen=True)
class StoredValue:
    """One value of a queue.

    Attributes:
        shape: The value in the shape of `show --format json`.
        data: Its text as it is stored.
        damage: Its damaged columns.
    """

    shape: dict[str, Any]
    data: str
    damage: Damage

    @classmethod
    def from_history(cls, history: ValueHistory, session: str, queue: str) -> StoredValue:
        """Make one from a value's history and the names of its session and queue."""
        damage = Damage()
        value = history.value
        if "data" not in value.damage and codec.problem_of(value.data):
            damage.note(f"value {full_name(session, queue, value.seq)}", (*value.damage, "data"))
        return cls(value_shape(history, session, queue, damage), value.data, damage)


@dataclass(frozen=True)
class StepResult:
    """The result of a completed step.

    Attributes:
        shape: The result in the shape of `get --result --format json`.
        damage: Damaged columns of the step.
    """

    shape: dict[str, Any]
    damage: Damage


def find_queue(transaction: Transaction, session: SessionRecord, queue: str) -> int:
    """Return the id of a session's queue.

    Raises:
        ValueNotFound: The session has no such queue.
    """
    names = show.queue_names(transaction, session.id)
    queue_id = next((each for each, name in names.items() if name == queue), None)
    if queue_id is None:
        raise ValueNotFound(f"session {session.name} has no queue {queue!r}{nearest(queue, names.values())}")
    return queue_id


def find_history(
    transaction: Transaction,
    session: SessionRecord,
    queue: str,
    queue_id: int,
    seq: int,
    damage: Damage | None = None,
) -> ValueHistory:
    """Return the history of a value.

    Args:
        transaction: A snapshot.
        session: Its session.
        queue: Name of its queue.
        queue_id: The queue's id.
        seq: The value's number.
        damage: Collects the damaged rows of what was done by hand.

    Raises:
        ValueNotFound: There is no such value.
    """
    found = value_history.of_value(transaction, queue_id, seq)
    if found is None:
        raise ValueNotFound(f"there is no value {full_name(session.name, queue, seq)}")
    return by_hand.completed(transaction, found, session.name, queue, Damage() if damage is None else damage)


def result_of(transaction: Transaction, session: SessionRecord, attempt: AttemptRecord) -> StoredValue:
    """Return the stored result of an attempt, whether or not it was taken.

    Raises:
        ValueNotFound: The attempt completed without a result.
    """
    found = None
    if attempt.result_queue_id is not None and attempt.result_seq is not None:
        found = value_history.of_value(transaction, attempt.result_queue_id, attempt.result_seq)
    if found is None:
        raise ValueNotFound(f"{attempt.session}/{attempt.name} completed without a result")
    queue = show.queue_names(transaction, session.id).get(found.value.queue_id, attempt.task)
    found = by_hand.completed(transaction, found, session.name, queue, Damage())
    return StoredValue.from_history(found, session.name, queue)


def step_result_of(transaction: Transaction, step: AttemptRecord) -> StepResult:
    """Return the stored result of a step.

    Args:
        transaction: A snapshot.
        step: Its newest attempt.

    Raises:
        ValueNotFound: The step has not completed, or was given back.
    """
    name = f"step {step.step} ({step.session}/{step.name})"
    if step.status != "completed":
        raise ValueNotFound(f"{name} has not completed: it is {step.status}")
    if not step.stands:
        raise ValueNotFound(f"{name} has completed, and was given back")
    data = attempts.stored_result(transaction, step)
    if data is None:
        raise ValueNotFound(f"{name} completed without a result")
    damage = Damage()
    problem = ("result",) if codec.problem_of(data) else ()
    damage.note(f"attempt {step.session}/{step.name}", (*step.damage, *problem))
    return StepResult(
        {
            "id": f"{step.session}/{step.name}",
            "step": step.step,
            "restorable": step.restorable,
            "size": size_of(data),
            "value": codec.to_json(data),
            "completed_at": iso(step.ended_at),
        },
        damage,
    )
