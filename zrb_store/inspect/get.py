"""The values that `get` and `last` show: one of a queue, or the result of a task or a step, or a part of one."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import timedelta

from zrb_store import codec
from zrb_store.codec.display import PAIRS, by_segment, key_segment, segment_of
from zrb_store.codec.json_text import size_of
from zrb_store.db.engine import Database
from zrb_store.db.rows import note
from zrb_store.db.transaction import Transaction
from zrb_store.errors import InvalidArgument, TaskNotFound, ValueNotFound
from zrb_store.inspect.value import each_with_acts, find_queue, find_value
from zrb_store.local_time import rounded
from zrb_store.names import nearest
from zrb_store.process import Projects, current_project
from zrb_store.queries import attempts, history, sessions, show
from zrb_store.queries.clock import now_micros
from zrb_store.queries.history import Value
from zrb_store.queries.queues import queue_ids
from zrb_store.queries.runs import newest_result
from zrb_store.records import AttemptRecord, JsonObject, JsonValue, SessionRecord, pick


@dataclass(frozen=True)
class StepResult:
    """The result of a completed step."""

    step: AttemptRecord
    size: int
    content: JsonValue

    @property
    def id(self) -> str:
        """SESSION/TASK/NUMBER#ATTEMPT."""
        return f"{self.step.session}/{self.step.name}"

    def to_json(self) -> JsonObject:
        """Return it as `get --result --format json` shows it."""
        step = pick(self.step, "step", "restorable")
        return {"id": self.id, **step, "size": self.size, "value": self.content, **pick(self.step, "ended_at")}


def get_value(database: Database, session: str, queue: str, seq: int | None) -> Value:
    """Return a value of a queue, whatever its state, by its number; without one, the newest live value."""
    with database.snapshot() as transaction:
        record = sessions.get(transaction, session)
        queue_id = find_queue(transaction, record, queue)
        if seq is None:
            seq = history.first_of_last(transaction, queue_id, 1, only="live")
            if seq is None:
                raise ValueNotFound(f"queue {queue!r} of session {session} has no live value; --seq N shows others")
        return _noted(find_value(transaction, record, queue, queue_id, seq))


def get_result(database: Database, session: str, task: str) -> Value | StepResult:
    """Return the stored result of a task's completed attempt, whether or not it was taken, or of a completed step.

    A step is named by its id TASK/NUMBER; a task whose name looks so goes first.
    """
    with database.snapshot() as transaction:
        record = sessions.get(transaction, session)
        standing = attempts.in_effect(transaction, record.id, task)
        if standing is not None:
            return _result(transaction, record, standing)
        known = {each.task for each in show.attempted_tasks(transaction, record.id)} | set(record.tasks)
        step = None if task in known else show.newest_of_step(transaction, record.id, task)
        if step is not None:
            return _step_result(transaction, step)
        known.update(each.task for each in show.step_counts(transaction, record.id))
        if task not in known:
            raise TaskNotFound(f"session {session} has no task {task!r}{nearest(task, known)}")
        raise ValueNotFound(f"task {task!r} of session {session} has not completed")


def last_result(
    database: Database,
    task: str,
    *,
    max_age: timedelta | None,
    any_project: bool,
    of: str | None,
) -> Value:
    """Return the newest result of a task, which need not be the main one, in a completed session of this project."""
    project = None if any_project else current_project()
    with database.snapshot() as transaction:
        found = newest_result(transaction, task, None if project is None else Projects((project,)), of)
        where = "" if project is None else f" in project {project} (--any-project looks in all)"
        if found is None:
            sessions_of = "no completed session" if of is None else f"no completed session of {of!r}"
            raise ValueNotFound(f"{sessions_of} has a result of task {task!r}{where}")
        name, attempt_id = found
        attempt = attempts.by_id(transaction, attempt_id)
        session = sessions.get(transaction, name)
        if attempt is None or attempt.ended_at is None:
            raise ValueNotFound(f"the newest result of task {task!r} was deleted meanwhile")
        age = now_micros(transaction) - attempt.ended_at
        if max_age is not None and age > (most := max_age // timedelta(microseconds=1)):
            raise ValueNotFound(
                f"the newest result of task {task!r}{where} is of session {name}, "
                f"{rounded(age)} old, older than {rounded(most)}"
            )
        return _result(transaction, session, attempt)


def _noted(value: Value) -> Value:
    if codec.problem_of(value.record.data):
        note(f"value {value.id} (data)")
    return value


def _result(transaction: Transaction, session: SessionRecord, attempt: AttemptRecord) -> Value:
    """Return the stored result of an attempt, whether or not it was taken."""
    found, queue_id, seq = None, attempt.result_queue_id, attempt.result_seq
    if queue_id is not None and seq is not None:
        names = {known: name for name, known in queue_ids(transaction, session.name).items()}
        found = history.of_value(transaction, queue_id, seq, session.name, names.get(queue_id, attempt.task))
    if found is None:
        raise ValueNotFound(f"{attempt.session}/{attempt.name} completed without a result")
    return _noted(next(each_with_acts(transaction, session, [found])))


def _step_result(transaction: Transaction, step: AttemptRecord) -> StepResult:
    """Return the stored result of a step, whose newest attempt is given."""
    name = f"step {step.step} ({step.session}/{step.name})"
    if step.status != "completed":
        raise ValueNotFound(f"{name} has not completed: it is {step.status}")
    if not step.in_effect:
        raise ValueNotFound(f"{name} has completed, and was given back")
    data = attempts.stored_result(transaction, step)
    if data is None:
        raise ValueNotFound(f"{name} completed without a result")
    if codec.problem_of(data):
        note(f"attempt {step.session}/{step.name} (result)")
    return StepResult(step, size_of(data), codec.to_json(data))


_SEGMENT = re.compile(r"""\.([^.\[\]"']+)|\[(-?\d+)\]|\[("(?:[^"\\]|\\.)*")\]|\['([^']*)'\]""")


def part(tree: JsonValue, path: str) -> JsonValue:
    """Return the part of a value at a path such as `$.rows[0].name`, or raise InvalidArgument or ValueNotFound."""
    here = "$"
    for segment in _segments(path):
        here += key_segment(segment)
        try:
            tree = _inner(tree, segment)
        except (IndexError, KeyError):
            raise ValueNotFound(f"the value has no part {here}") from None
    return tree


def _inner(tree: JsonValue, segment: str | int) -> JsonValue:
    """Return the part of a value that one segment leads to."""
    while type(tree) is dict and "$" in tree:
        tag, tree = tree["$"], tree.get("v")
        if tag in PAIRS:
            return by_segment(tree)[segment_of(segment)]
    if type(tree) is list and type(segment) is int:
        return tree[segment]
    if type(tree) is dict and type(segment) is str:
        return tree[segment]
    raise KeyError(segment)


def _segments(path: str) -> list[str | int]:
    segments: list[str | int] = []
    place = 1
    while place < len(path):
        match = _SEGMENT.match(path, place)
        if match is None:
            break
        name, index, quoted, single = match.groups()
        try:
            segments.append(int(index) if index else json.loads(quoted) if quoted else name or single)
        except ValueError:  # not JSON, or more digits than Python reads
            break
        place = match.end()
    if path[:1] != "$" or place < len(path):
        raise InvalidArgument(f"""{path!r} is not a path: write it as $.rows[0].name or $["odd name"]""")
    return segments
