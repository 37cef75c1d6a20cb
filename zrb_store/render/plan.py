"""The plan of a resume as a table."""

from __future__ import annotations

from zrb_store.inspect.resume import Decision, PlannedResume
from zrb_store.render.document import Cells, Column, Table
from zrb_store.render.format import counted


def plan_table(plan: PlannedResume, title: str) -> Table:
    """Return a table of what a resume does with each task, and with each of its steps that it compares."""
    rows: list[Cells] = []
    for decision in plan.tasks:
        rows.append((decision.task, decision.action, plan.why(decision) + _kept(decision)))
        for step in decision.agent_steps:
            reason = "" if step.action == "reused" and step.reason == "completed" else f": {step.reason}"
            rows.append((f"  {step.id}", step.action.replace("-", " "), f"{step.step}{reason}"))
    return Table((Column("task"), Column("action"), Column("reason", status=True)), rows, title)


def _kept(decision: Decision) -> str:
    return f", {counted(decision.steps, 'step')} kept" if decision.action == "run" and decision.steps else ""
