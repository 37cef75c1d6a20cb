"""What `resume --plan` tells of agents: what becomes of each step of an LLM task; of others it is not known."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from zrb_store.agents.kinds import KINDS
from zrb_store.agents.step import AgentStep
from zrb_store.inspect.resume import Decision
from zrb_store.plugin import compat
from zrb_store.plugin.compat import AnyTask
from zrb_store.queries.steps import StepRecord


def plan_steps(
    decision: Decision,
    known: Sequence[StepRecord],
    task: AnyTask | None,
    inputs: Mapping[str, Any],
    survived: Collection[int],
) -> tuple[Decision, list[str]]:
    """Add to the decision about a task what becomes of its known steps, and say what is paid again."""
    if task is not None and compat.is_llm_task(task):
        from zrb_store.agents.llm_tasks.planned import plan_agent
        from zrb_store.agents.runtime.changes import paid

        starts_over = not decision.steps and any(one.is_done for one in known)
        over = decision.reason if starts_over else None
        planned = plan_agent(known, task, inputs, over, survived)
        pairs = zip(known, planned, strict=True)
        again, _ = paid([one for one, step in pairs if one.is_done and step.action == "made-again"])
        notes = [f"{decision.task}: a resume repeats {again}"] * bool(again)
        return replace(decision, agent_steps=tuple(planned)), notes
    if decision.steps and any(one.is_done and one.kind in KINDS and AgentStep.of(one).agent for one in known):
        later = "whether its agents of `durable()` use their steps again is known when they run"
        return decision, [f"{decision.task}: {later}"]
    return decision, []
