"""What a report shows: a session as `show` and `log` know it, cut to what a page can hold.

It has the shapes of `show --format json` and `log --format json`, and counts what it leaves out
(docs/schema/report.json).
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from zrb_store.db.engine import Database
from zrb_store.inspect.damage import Damage
from zrb_store.inspect.log import log_of
from zrb_store.inspect.run_times import worked_until
from zrb_store.inspect.shapes import value_shape
from zrb_store.inspect.show import SessionDocument, open_session
from zrb_store.inspect.timeline import Span, merged, micros
from zrb_store.queries.value_history import ValueHistory
from zrb_store.records import UNSUCCESSFUL, iso


@dataclass(frozen=True)
class Budget:
    """How much a report holds.

    Attributes:
        values: Bytes of all values together.
        value: Bytes of one value; of a longer one, only the beginning is shown.
        tasks: Bytes of the attempts and steps of all tasks together.
        logged: Bytes of errors and output together.
        error: Characters of an error's message, where it is not told in full.
        lines: Lines of output of one attempt.
    """

    values: int = 2_400_000
    value: int = 64 * 1024
    tasks: int = 700_000
    logged: int = 500_000
    error: int = 400
    lines: int = 200


MOST_VALUES = 100_000
"""More values of one queue are not read."""
_BEGINNING = 2000  # characters that are shown of a value that is too long
_MOST_CHANGES = 500
_PER_VALUE = 48  # bytes that a value takes on a page besides its content
_PER_ATTEMPT = 60


@contextmanager
def describe(
    database: Database, name: str, *, budget: Budget | None = None, damage: Damage | None = None
) -> Iterator[dict[str, Any]]:
    """Describe a session for a report, as of one moment.

    Args:
        database: Where the session is.
        name: Full name of the session.
        budget: How much the description holds.
        damage: Collects damaged rows.

    Raises:
        SessionNotFound: There is no such session.
    """
    budget = budget or Budget()
    damage = Damage() if damage is None else damage
    with open_session(database, name, last=MOST_VALUES, damage=damage, shape=_value_shape) as document:
        log = log_of(document.view)
        described = {
            **{key: document.tree[key] for key in document.tree if key not in ("runs", "tasks", "queues")},
            "read_at": iso(document.read_at),
            "runs": _runs(document, log["runs"]),
            "tasks": _tasks(document, budget),
            "queues": _queues(document, budget),
            "logged": _logged(log["attempts"], budget),
            "changes": list(deque(log["changes"], maxlen=_MOST_CHANGES)),
            "pending": document.pending(),
            "plan": None,
            "damage": None,
        }
        described["work"] = [{"started_at": iso(span.start), "ended_at": iso(span.end)} for span in _work(described)]
        described["damage"] = str(damage) if damage else None
    yield described


def _runs(document: SessionDocument, runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add to each run until when its process is known to have worked."""
    ends = (worked_until(run, document.moment) for run in document.runs)
    return [{**run, "worked_until": iso(end)} for run, end in zip(runs, ends, strict=True)]


def _work(described: dict[str, Any]) -> list[Span]:
    """Return when the session worked: what lies between these spans are pauses."""
    ends = {run["number"]: run["worked_until"] for run in described["runs"]}
    spans = [Span(micros(run["started_at"]), micros(run["worked_until"])) for run in described["runs"]]
    for task in described["tasks"]:
        for attempts in (task["attempts"], *(step["attempts"] for step in task.get("steps", ()))):
            for attempt in attempts:
                start, ended_at = micros(attempt["started_at"]), attempt["ended_at"]
                if ended_at is None or attempt["status"] == "lost":
                    is_running = attempt["status"] == "running"
                    ended_at = described["read_at"] if is_running else ends.get(attempt["run"])
                spans.append(Span(start, max(start, micros(ended_at) if ended_at else start)))
    return merged(spans)


def _value_shape(history: ValueHistory, session: str, queue: str, damage: Damage) -> dict[str, Any]:
    """Return the shape of a value, with the time at which it stopped to be live, and at which its push was undone."""
    undone_at = None if history.pusher is None else history.pusher.undone_at(session)
    return {
        **value_shape(history, session, queue, damage),
        "ended_at": iso(history.value.ended_at),
        "undone_at": iso(undone_at),
    }


class Cut(NamedTuple):
    """The last items that fit in a budget.

    Attributes:
        items: The items.
        left_out: How many come before them.
    """

    items: list[dict[str, Any]]
    left_out: int


def last_within(items: Iterable[tuple[dict[str, Any], int]], room: int) -> Cut:
    """Return the last items that have room together, and at least one.

    Args:
        items: The items with their sizes in bytes.
        room: How many bytes there are.
    """
    kept: deque[tuple[dict[str, Any], int]] = deque()
    used, left_out = 0, 0
    for item, size in items:
        kept.append((item, size))
        used += size
        while used > room and len(kept) > 1:
            used -= kept.popleft()[1]
            left_out += 1
    return Cut([item for item, _ in kept], left_out)


def _length(tree: Any) -> int:
    return len(json.dumps(tree, separators=(",", ":"), ensure_ascii=False))


def _queues(document: SessionDocument, budget: Budget) -> dict[str, Any]:
    queues = {}
    room, remaining = budget.values, len(document.tree["queues"])
    for name, contents in document.tree["queues"].items():
        share = room // remaining
        values = contents["values"]
        cut = last_within(((shape, _value_size(shape)) for shape in _shown(values, budget, share)), share)
        room -= sum(map(_value_size, cut.items))
        remaining -= 1
        earlier = sum(document.earlier.get(name, {}).values())
        queues[name] = {
            "max_deliveries": contents["max_deliveries"],
            "counts": {
                "values": earlier + len(values),
                "live": len(contents["live"]),
                "dead": document.dead.get(name, 0),
            },
            "left_out": earlier + cut.left_out,
            "values": cut.items,
        }
    return queues


def _shown(values: Iterable[dict[str, Any]], budget: Budget, share: int) -> Iterator[dict[str, Any]]:
    most = min(budget.value, max(share // 4, _BEGINNING))
    for shape in values:
        if shape["size"] <= most and (shape["size"] <= _BEGINNING or _length(shape["value"]) <= most):
            yield shape
        else:
            yield {**shape, "value": None, "beginning": _beginning(shape["value"])}


def _beginning(tree: Any) -> str:
    """Return the first characters of a long value, as JSON, or of a text as it is."""
    return tree[:_BEGINNING] if type(tree) is str else json.dumps(tree, ensure_ascii=False)[:_BEGINNING]


def _value_size(shape: dict[str, Any]) -> int:
    content = _length(shape["beginning"] if "beginning" in shape else shape["value"])
    return _PER_VALUE + content + sum(map(_length, shape["returns"]))


def _tasks(document: SessionDocument, budget: Budget) -> list[dict[str, Any]]:
    tasks = []
    room, remaining = budget.tasks, len(document.tree["tasks"])
    for task in document.tree["tasks"]:
        share = room // remaining
        steps = task.get("steps")
        attempts = last_within(
            ((each, _attempt_size(each)) for each in _attempts(task["attempts"], budget)),
            share if steps is None else share // 2,
        )
        used = sum(map(_attempt_size, attempts.items))
        described = {**task, "attempts": attempts.items, "attempts_left_out": attempts.left_out}
        if steps is not None:
            cut = last_within(((each, _step_size(each)) for each in _steps(steps, budget)), share - used)
            used += sum(map(_step_size, cut.items))
            counts = document.steps[task["task"]]
            described |= {"steps": cut.items, "steps_left_out": cut.left_out, "steps_standing": counts.standing}
        tasks.append(described)
        room -= used
        remaining -= 1
    return tasks


def _attempts(attempts: Iterable[dict[str, Any]], budget: Budget) -> Iterator[dict[str, Any]]:
    for attempt in attempts:
        error = attempt["error"]
        message = error and error["message"]
        if message and len(message) > budget.error:
            attempt = {**attempt, "error": {**error, "message": message[: budget.error] + " […]"}}
        yield attempt


def _steps(steps: Iterable[dict[str, Any]], budget: Budget) -> Iterator[dict[str, Any]]:
    for step in steps:
        attempts = list(_attempts(step["attempts"], budget))
        if _length(step["result"]) > _BEGINNING:
            yield {**step, "attempts": attempts, "result": None, "beginning": _beginning(step["result"])}
        else:
            yield {**step, "attempts": attempts}


def _attempt_size(attempt: dict[str, Any]) -> int:
    return _PER_ATTEMPT + (_length(attempt["error"]) if attempt["error"] else 0)


def _step_size(step: dict[str, Any]) -> int:
    result = step.get("beginning", step["result"])
    return _length(step["name"]) + _length(result) + sum(map(_attempt_size, step["attempts"]))


def _logged(attempts: Iterable[dict[str, Any]], budget: Budget) -> dict[str, Any]:
    """Return what the attempts that failed or printed something have to tell."""
    telling = (each for each in attempts if each["error"] or each["output"] or each["status"] in UNSUCCESSFUL)
    cut = last_within(((each, _length(each)) for each in _with_last_lines(telling, budget)), budget.logged)
    return {"attempts": cut.items, "left_out": cut.left_out}


def _with_last_lines(attempts: Iterable[dict[str, Any]], budget: Budget) -> Iterator[dict[str, Any]]:
    for attempt in attempts:
        output = attempt["output"]
        if output and len(output["lines"]) > budget.lines:
            cut = {**output, "lines": output["lines"][-budget.lines :], "truncated": True}
            attempt = {**attempt, "output": cut}
        yield attempt
