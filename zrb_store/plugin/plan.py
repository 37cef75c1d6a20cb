"""What a resume runs and what it skips, and why. The plan that is shown is the plan that is carried out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from zrb_store.errors import TaskNotFound
from zrb_store.names import nearest
from zrb_store.plugin.graph import Graph
from zrb_store.records import AttemptRecord


@dataclass(frozen=True)
class Step:
    """One task of a resume.

    Attributes:
        task: Its name in the store.
        action: `run` or `skip`.
        reason: `completed`, `failed`, `interrupted`, `lost`, `never-started`, `downstream-of:TASK`, `forced`,
            `readiness`, `fallback` (skipped unless its task fails) or `not-restorable`.
    """

    task: str
    action: str
    reason: str


def plan(graph: Graph, main: Any, records: Sequence[AttemptRecord], forced: str | None = None) -> list[Step]:
    """Decide for each task.

    Args:
        graph: The tasks.
        main: The main task.
        records: Every attempt of the session, oldest first.
        forced: Task to run again with everything downstream of it, completed or not.

    Raises:
        TaskNotFound: There is no task `forced`.
    """
    last = {record.task: record for record in records}
    standing = {record.task: record for record in records if record.stands}
    again = _again(graph, forced)
    reasons = {graph.name(task): _reason(graph, task, last, standing, again) for task in graph.reached(main)}
    _need(graph, standing, reasons)
    return [
        Step(
            name,
            "skip" if reasons.get(name, "fallback") in ("completed", "fallback") else "run",
            reasons.get(name, "fallback"),
        )
        for name in graph.names
    ]


def _again(graph: Graph, forced: str | None) -> dict[str, str]:
    if forced is None:
        return {}
    try:
        task = graph.task(forced)
    except KeyError:
        raise TaskNotFound(f"there is no task {forced!r} here{nearest(forced, graph.names)}") from None
    after = {graph.name(other): f"downstream-of:{forced}" for other in graph.downstream(task)}
    return {**after, forced: "forced"}


def _reason(
    graph: Graph, task: Any, last: dict[str, AttemptRecord], standing: dict[str, AttemptRecord], again: dict[str, str]
) -> str:
    name = graph.name(task)
    role = graph.role(task)
    if name in again:
        return again[name]
    if role in ("check", "server"):
        return "readiness"
    if name in standing and role != "fallback":
        return "completed"
    if name not in last:
        return "never-started"
    # A completed attempt that was given back is as good as lost.
    status = last[name].status
    return status if status in ("failed", "interrupted") else "lost"


def _need(graph: Graph, standing: dict[str, AttemptRecord], reasons: dict[str, str]) -> None:
    """Run what is completed but cannot be restored, as long as something that runs comes after it."""
    changed = True
    while changed:
        changed = False
        for task in graph.tasks:
            name = graph.name(task)
            if reasons.get(name) != "completed" or standing[name].restorable:
                continue
            if any(reasons.get(graph.name(other)) not in (None, "completed") for other in graph.downstream(task)):
                reasons[name] = "not-restorable"
                changed = True
