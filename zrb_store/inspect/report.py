"""What a report shows: a session as `show` and `log` know it, cut to what a page can hold.

It has the shapes of `show --format json` and `log --format json`, and counts what it leaves out
(docs/schema/report.json).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from zrb_store.db.engine import Database
from zrb_store.inspect.cut import BEGINNING, Measure, beginning, cut_text, json_length, last_within
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
    """How much a description holds.

    Attributes:
        values: Bytes of all values together.
        value: Bytes of one value; of a longer one, only the beginning is shown.
        tasks: Bytes of the attempts and steps of all tasks together. Half of what the values leave is added.
        logged: Bytes of errors and output together.
        message: Characters of an error's message where it is told in short, and of what somebody did by hand.
        lines: Lines of output of one attempt.
        runs: How many runs are described, the last ones.
        changes: How many changes by hand are described, the last ones.
        most_values: How many values of a queue are read.
        measure: Measures data on the page.
    """

    values: int = 3_900_000
    value: int = 64 * 1024
    tasks: int = 600_000
    logged: int = 300_000
    message: int = 400
    lines: int = 200
    runs: int = 300
    changes: int = 300
    most_values: int = 100_000
    measure: Measure = field(default=json_length)

    def part(self, share: float) -> Budget:
        """Return a smaller budget."""

        def cut(number: int) -> int:
            return max(1, int(number * share))

        return replace(
            self,
            values=cut(self.values),
            value=cut(self.value),
            tasks=cut(self.tasks),
            logged=cut(self.logged),
            runs=cut(self.runs),
            changes=cut(self.changes),
            most_values=cut(self.most_values),
        )


_PER_VALUE = 4  # bytes that a value takes besides its content, if it is like those beside it
_PER_ATTEMPT = 150
_PER_STEP = 100
_MOST_PENDING = 20


def describe(
    database: Database, name: str, *, budget: Budget | None = None, damage: Damage | None = None
) -> dict[str, Any]:
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
    last = budget.most_values
    with open_session(database, name, last=last, damage=damage, shape=_value_shape) as document:
        log = log_of(document.view)
        runs, pending = _runs(document, log["runs"]), document.pending()
        queues, used = _queues(document, budget)
        described = {
            **{key: document.tree[key] for key in document.tree if key not in ("runs", "tasks", "queues")},
            "inputs": _inputs(document.tree["inputs"], budget),
            "read_at": iso(document.read_at),
            "runs": runs[-budget.runs :],
            "runs_left_out": max(0, len(runs) - budget.runs),
            "tasks": _tasks(document, budget, budget.tasks + (budget.values - used) // 2),
            "queues": queues,
            "logged": _logged(log["attempts"], budget),
            "changes": _changes(log["changes"], budget),
            "pending": pending[:_MOST_PENDING],
            "pending_left_out": max(0, len(pending) - _MOST_PENDING),
            "plan": None,
            "damage": None,
        }
        described["work"] = [{"started_at": iso(span.start), "ended_at": iso(span.end)} for span in _work(described)]
        described["damage"] = str(damage) if damage else None
    return described


def _inputs(inputs: Any, budget: Budget) -> Any:
    if type(inputs) is not dict:
        return {}
    return {
        name: value if budget.measure(value) <= BEGINNING else f"{beginning(value)} […]"
        for name, value in inputs.items()
    }


def _runs(document: SessionDocument, runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add to each run until when its process is known to have worked."""
    ends = (worked_until(run, document.moment) for run in document.runs)
    return [
        {**run, "command": [cut_text(word, BEGINNING) for word in run["command"]], "worked_until": iso(end)}
        for run, end in zip(runs, ends, strict=True)
    ]


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
    undone = None if history.pusher is None else history.pusher.undone(session)
    return {
        **value_shape(history, session, queue, damage),
        "ended_at": iso(history.value.ended_at),
        "undone_at": None if undone is None else iso(undone.at),
    }


def _queues(document: SessionDocument, budget: Budget) -> tuple[dict[str, Any], int]:
    """Return the queues, and how many bytes their values take."""
    queues = {}
    room, remaining = budget.values, len(document.tree["queues"])
    for name, contents in document.tree["queues"].items():
        values, share = contents["values"], room // remaining

        def measure(shape: dict[str, Any]) -> int:
            content = budget.measure(shape.get("beginning", shape["value"]))
            return _PER_VALUE + content + (budget.measure(shape["returns"]) if shape["returns"] else 0)

        cut = last_within(_shown(values, budget, share), share, measure)
        room -= cut.used
        remaining -= 1
        earlier = sum(document.earlier.get(name, {}).values())
        counts = {"values": earlier + len(values), "live": len(contents["live"]), "dead": document.dead.get(name, 0)}
        queues[name] = {
            "max_deliveries": contents["max_deliveries"],
            "counts": counts,
            "left_out": earlier + cut.left_out,
            "values": cut.items,
        }
    return queues, min(budget.values, budget.values - room)


def _shown(values: Iterable[dict[str, Any]], budget: Budget, share: int) -> Iterator[dict[str, Any]]:
    """Yield values; of one that takes more than a quarter of the room only its beginning."""
    most = min(budget.value, max(share // 4, BEGINNING))
    for shape in values:
        if shape["size"] <= most and (shape["size"] <= BEGINNING or budget.measure(shape["value"]) <= most):
            yield shape
        else:
            yield {**shape, "value": None, "beginning": beginning(shape["value"])}


def _tasks(document: SessionDocument, budget: Budget, room: int) -> list[dict[str, Any]]:
    def measure_attempt(attempt: dict[str, Any]) -> int:
        return _PER_ATTEMPT + (budget.measure(attempt["error"]) if attempt["error"] else 0)

    def measure_step(step: dict[str, Any]) -> int:
        result = step.get("beginning", step["result"])
        attempts = sum(map(measure_attempt, step["attempts"]))
        return _PER_STEP + budget.measure(step["name"]) + budget.measure(result) + attempts

    tasks = []
    remaining = len(document.tree["tasks"])
    for task in document.tree["tasks"]:
        share, steps = room // remaining, task.get("steps")
        attempts = last_within(
            _attempts(task["attempts"], budget), share if steps is None else share // 2, measure_attempt
        )
        described = {**task, "attempts": attempts.items, "attempts_left_out": attempts.left_out}
        room -= attempts.used
        if steps is not None:
            cut = last_within(_steps(steps, budget), share - attempts.used, measure_step)
            standing = document.steps[task["task"]].standing
            described |= {"steps": cut.items, "steps_left_out": cut.left_out, "steps_standing": standing}
            room -= cut.used
        tasks.append(described)
        remaining -= 1
    return tasks


def _attempts(attempts: Iterable[dict[str, Any]], budget: Budget) -> Iterator[dict[str, Any]]:
    for attempt in attempts:
        error = attempt["error"]
        if error is None or not error["message"]:
            yield attempt
        else:
            yield {**attempt, "error": {**error, "message": cut_text(error["message"], budget.message)}}


def _steps(steps: Iterable[dict[str, Any]], budget: Budget) -> Iterator[dict[str, Any]]:
    for step in steps:
        shape = {**step, "attempts": list(_attempts(step["attempts"], budget))}
        if budget.measure(step["result"]) > BEGINNING:
            shape |= {"result": None, "beginning": beginning(step["result"])}
        yield shape


def _logged(attempts: Iterable[dict[str, Any]], budget: Budget) -> dict[str, Any]:
    """Return what the attempts that failed or printed something have to tell."""
    telling = (each for each in attempts if each["error"] or each["output"] or each["status"] in UNSUCCESSFUL)
    cut = last_within(_with_last_lines(telling, budget), budget.logged, budget.measure)
    return {"attempts": cut.items, "left_out": cut.left_out}


def _with_last_lines(attempts: Iterable[dict[str, Any]], budget: Budget) -> Iterator[dict[str, Any]]:
    for attempt in attempts:
        output = attempt["output"]
        if output is None:
            yield attempt
            continue
        cut = last_within(output["lines"], budget.logged // 4, budget.measure).items[-budget.lines :]
        is_cut = len(cut) < len(output["lines"])
        lines = [{**line, "text": cut_text(line["text"], BEGINNING)} for line in cut]
        yield {**attempt, "output": {**output, "lines": lines, "truncated": output["truncated"] or is_cut}}


def _changes(changes: Iterable[dict[str, Any]], budget: Budget) -> list[dict[str, Any]]:
    last = deque(changes, maxlen=budget.changes)
    return [{**change, "detail": change["detail"] and cut_text(change["detail"], budget.message)} for change in last]
