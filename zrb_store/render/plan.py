"""The plan of a resume in words, as a terminal and a page draw it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from operator import attrgetter
from typing import NamedTuple

from zrb_store.inspect.resume import Decision, PlannedResume
from zrb_store.render.document import Column, Table
from zrb_store.render.format import counted


class PlanRow(NamedTuple):
    """What a resume does with a task, or with one of its steps, and why."""

    name: str
    action: str
    reason: str
    is_step: bool = False


def plan_rows(
    decisions: Iterable[Decision], why: Callable[[Decision], str] = attrgetter("reason")
) -> Iterator[PlanRow]:
    """Yield a row of each task, and after it one of each of its steps that it compares."""
    for decision in decisions:
        yield PlanRow(decision.task, decision.action, why(decision) + _kept(decision))
        for step in decision.agent_steps:
            reason = "" if step.action == "reused" and step.reason == "completed" else f": {step.reason}"
            yield PlanRow(step.id, step.action.replace("-", " "), f"{step.step}{reason}", is_step=True)


def plan_table(plan: PlannedResume, title: str) -> Table:
    """Return a table of what a resume does with each task, and with each of its steps that it compares."""
    rows = [(f"  {row.name}" if row.is_step else row.name, *row[1:3]) for row in plan_rows(plan.tasks, plan.why)]
    return Table((Column("task"), Column("action"), Column("reason", status=True)), rows, title)


def _kept(decision: Decision) -> str:
    return f", {counted(decision.steps, 'step')} kept" if decision.action == "run" and decision.steps else ""
