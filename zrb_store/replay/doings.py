"""What an attempt did, in a form in which it can be compared with its replay."""

from __future__ import annotations

from collections import Counter
from typing import Literal

from zrb_store import codec
from zrb_store.db.transaction import Transaction
from zrb_store.queries import attempts
from zrb_store.queries.steps import of_attempt
from zrb_store.records import AttemptRecord, JsonValue
from zrb_store.replay import queries


def doings(transaction: Transaction, attempt: AttemptRecord) -> JsonValue:
    """Return how an attempt ended, its result, and what it and each of its steps took and pushed, by queue."""
    result = attempts.stored_result(transaction, attempt)
    steps = of_attempt(transaction, attempt.id)
    same = Counter(key.name for key in steps)
    names = {key: key.name if same[key.name] == 1 else f"{key.kind} {key.name}" for key in steps}
    return {
        "status": attempt.status,
        "error": None if attempt.error_type is None else f"{attempt.error_type}: {attempt.error_message}",
        "result": None if result is None else codec.to_json(result),
        **_handled(transaction, attempt, attempt.id),
        "steps": {names[key]: {**_handled(transaction, attempt, step.id)} for key, step in steps.items()},
    }


def _handled(transaction: Transaction, attempt: AttemptRecord, attempt_id: int) -> dict[str, JsonValue]:
    found: dict[str, dict[str, list[JsonValue]]] = {"takes": {}, "pushes": {}}
    whats: tuple[Literal["taken", "pushed"], ...] = ("taken", "pushed")
    for what, by_queue in zip(whats, found.values(), strict=True):
        # Not by tick: where a step began, or another task, there is one more.
        for each in sorted(queries.handled(transaction, what, attempt_id), key=lambda each: each.seq):
            is_result = each.place == (attempt.result_queue_id, attempt.result_seq)
            queue = each.queue if each.session == attempt.session else f"{each.session}/{each.queue}"
            if what == "taken" or not is_result:
                by_queue.setdefault(queue, []).append(codec.to_json(each.data))
    return {name: {**by_queue} for name, by_queue in found.items()}
