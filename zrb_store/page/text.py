"""What the text of a page shows, which is complete without JavaScript: rows of attempts, and the lives of values."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

from zrb_store.inspect.agents import agent_note
from zrb_store.inspect.cut import cut_text
from zrb_store.records import UNSUCCESSFUL
from zrb_store.render.format import error_summary, micros_between, preview, size, taker

MOST_ROWS = 300
"""How many rows a table of attempts, runs or changes has in the text."""
MOST_ATTEMPTS = 50
"""How many attempts with errors or output stand there one by one; those before open together."""
MOST_QUEUES = 40
"""How many queues the text has."""
MOST_VALUES = 200
"""Likewise, the values of all queues together; each queue shows its last ones."""
_CONTENT = 300  # characters of a value


class Row(NamedTuple):
    """An attempt, a step, or a task without attempts."""

    name: str
    status: str
    is_step: bool = False
    run: int | None = None
    started_at: str | None = None
    took: int | None = None
    note: str = ""


class Rows(NamedTuple):
    """The rows that are shown.

    Attributes:
        items: The rows.
        left_out: How many attempts and steps are not shown.
    """

    items: list[Row]
    left_out: int


def rows(described: dict[str, Any]) -> Rows:
    """Return the rows of the timeline."""
    found: list[Row] = []
    left_out = 0
    share = max(1, MOST_ROWS // max(1, len(described["tasks"])))
    for task in described["tasks"]:
        own = list(_task_rows(task, described["read_at"]))
        steps = [_step_row(step, described["read_at"]) for step in task.get("steps", ())]
        left_out += task["attempts_left_out"] + task.get("steps_left_out", 0)
        for part in (own, steps):
            left_out += max(0, len(part) - share)
            found += part[-share:]
    return Rows(found[:MOST_ROWS], left_out + max(0, len(found) - MOST_ROWS))


def _task_rows(task: dict[str, Any], read_at: str) -> Iterator[Row]:
    for attempt in task["attempts"]:
        yield _row(f"{task['task']}#{attempt['number']}", attempt, attempt["status"], read_at, _error(attempt))
    if not task["attempts"] or task["status"] in ("waiting", "skipped"):
        yield Row(task["task"], task["status"])


def _step_row(step: dict[str, Any], read_at: str) -> Row:
    last = step["attempts"][-1]
    note = agent_note(step["name"], step["result"]) or step["name"]
    if len(step["attempts"]) > 1:
        note += f", {len(step['attempts'])} attempts"
    if error := _error(last):
        note += f": {error}"
    elif "beginning" in step:
        note += f" = {step['beginning'][:_CONTENT]}"
    elif step["result"] is not None:
        note += f" = {preview(step['result'])[:_CONTENT]}"
    return _row(step["id"], last, step["status"], read_at, note)._replace(is_step=True)


def _row(name: str, attempt: dict[str, Any], status: str, read_at: str, note: str) -> Row:
    ended_at = attempt["ended_at"] or (read_at if status == "running" else None)
    took = None if attempt["status"] == "lost" else micros_between(attempt["started_at"], ended_at)
    return Row(name, status, False, attempt["run"], attempt["started_at"], took, note)


def _error(attempt: dict[str, Any]) -> str:
    return cut_text(error_summary(attempt["error"]), _CONTENT) if attempt["error"] else ""


def queues(described: dict[str, Any]) -> list[dict[str, Any]]:
    """Return queues with their names, and the last values of each; `not_shown` counts those before."""
    shown = []
    share = max(5, MOST_VALUES // max(1, len(described["queues"])))
    for name, queue in itertools.islice(described["queues"].items(), MOST_QUEUES):
        values = queue["values"][-share:]
        shown.append({**queue, "name": name, "values": values, "not_shown": queue["counts"]["values"] - len(values)})
    return shown


def content(value: dict[str, Any]) -> str:
    """Return the beginning of a value as a person reads it."""
    if "beginning" in value:
        return f"{value['beginning'][:_CONTENT]} […] {size(value['size'])}"
    text = preview(value["value"])
    return text if len(text) <= _CONTENT else f"{text[:_CONTENT]} […]"


def life(value: dict[str, Any]) -> Iterator[str]:
    """Yield what became of a value, in order."""
    for each in value["returns"]:
        if each["deliveries"] == 0:
            yield each["reason"]  # requeued, and by whom
        else:
            reason = "" if each["reason"] in UNSUCCESSFUL else f": {each['reason']}"
            yield f"taken and given back by {each['taken_by'] or 'a deleted attempt'}{reason}"
    by = taker(value)
    orphaned = ", orphaned" if value["orphaned"] else ""
    if value["state"] == "dead":
        yield f"dead after {value['deliveries']} deliveries"
    else:
        yield f"{value['state']}{f' by {by}' if by else ''}{orphaned}"
