"""What a resume runs and what it skips, and why: decided from a description of the tasks, without zrb."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from zrb_store.errors import InvalidName, TaskNotFound
from zrb_store.names import nearest
from zrb_store.records import AttemptRecord


@dataclass(frozen=True)
class Node:
    """One task of a workflow. Other tasks stand for themselves by their names.

    Attributes:
        name: Its name in the store.
        upstreams: Are done, or skipped, before it starts.
        successors: Start when it has completed.
        checks: Its readiness checks: it is a server then.
        fallbacks: Start when it has failed for good.
        condition: Whether its condition holds, None if it is asked when its turn comes.
    """

    name: str
    upstreams: Sequence[str] = ()
    successors: Sequence[str] = ()
    checks: Sequence[str] = ()
    fallbacks: Sequence[str] = ()
    condition: bool | None = True

    @property
    def off(self) -> bool:
        """Whether its condition never holds."""
        return self.condition is False


@dataclass(frozen=True)
class Step:
    """What becomes of one task.

    Attributes:
        task: Its name in the store.
        action: `run` or `skip`. A task with a condition is asked first, and runs only if it holds then.
        reason: `completed`; or how the last attempt ended: `failed`, `interrupted`, `lost` (its process died, or it
            was given back), `never-started`; or why the task runs although it may have completed: `forced` (named by
            --from), `downstream-of:TASK`, `readiness` (a check, or a server kept by one), `not-restorable` while
            something that runs needs it. A `fallback` runs if another task fails, and always if something starts it.
            `condition`: the task has never started, and its condition decides whether it will. To `skip` it means that
            the condition never holds, or that the session has completed without the task.
    """

    task: str
    action: str
    reason: str


def role_of(*, is_check: bool, has_checks: bool, is_fallback: bool) -> str:
    """`check`, `server` (kept by a check), `fallback` or `task`."""
    if is_check:
        return "check"
    if has_checks:
        return "server"
    return "fallback" if is_fallback else "task"


class Workflow:
    """The tasks of a session, and what comes after what.

    Attributes:
        nodes: Every task by name, in order of registration.
        main: Name of the main task.
    """

    def __init__(self, nodes: Iterable[Node], main: str) -> None:
        self.nodes = {node.name: node for node in nodes}
        self.main = main
        self._after: dict[str, list[str]] = {name: [] for name in self.nodes}
        self._starters: dict[str, list[str]] = {name: [] for name in self.nodes}
        self._owners: dict[str, list[str]] = {name: [] for name in self.nodes}
        self._checked: dict[str, list[str]] = {name: [] for name in self.nodes}
        for node in self.nodes.values():
            for upstream in node.upstreams:
                self._after[upstream].append(node.name)
                self._starters[node.name].append(upstream)
            for started in () if node.off else (*node.successors, *node.checks):
                self._starters[started].append(node.name)
            for check in node.checks:
                self._checked[check].append(node.name)
            for fallback in node.fallbacks:
                self._owners[fallback].append(node.name)

    def role(self, name: str) -> str:
        """`check`, `server` (kept by a check), `fallback` or `task`."""
        return role_of(
            is_check=bool(self._checked[name]),
            has_checks=bool(self.nodes[name].checks),
            is_fallback=bool(self._owners[name]),
        )

    def order(self) -> list[str]:
        """Every task: after its upstreams, before what it starts."""
        found: dict[str, None] = {}
        entered: set[str] = set()
        waiting = [(name, False) for name in reversed(self.nodes) if name != self.main] + [(self.main, False)]
        while waiting:
            name, left = waiting.pop()
            node = self.nodes[name]
            if left:
                found[name] = None
            elif name not in entered:
                entered.add(name)
                started = (*node.checks, *node.successors, *node.fallbacks)
                waiting += [(other, False) for other in reversed(started)]
                waiting.append((name, True))
                waiting += [(other, False) for other in reversed(node.upstreams)]
        return list(found)

    def reached(self) -> set[str]:
        """The tasks that run when nothing fails and every condition that can hold does."""
        found = self._with_upstreams()
        more = True
        while more:
            new = [name for name in self.nodes if name not in found and self._starts(name, found)]
            found.update(new)
            more = bool(new)
        return {name for name in found if not self.nodes[name].off}

    def _with_upstreams(self) -> set[str]:
        found: set[str] = set()
        waiting = [self.main]
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                waiting += self.nodes[name].upstreams
        return found

    def _starts(self, name: str, found: set[str]) -> bool:
        # zrb tries a task when any of these is done, whatever it is registered for, and starts it if all its upstreams
        # are done or skipped; a task that completes has its fallbacks skipped.
        return any(starter in found for starter in self._starters[name]) and all(
            upstream in found or any(owner in found and not self.nodes[owner].off for owner in self._owners[upstream])
            for upstream in self.nodes[name].upstreams
        )

    def downstream(self, name: str) -> list[str]:
        """Every task that may read what this one made: those that follow it, directly or not."""
        found: dict[str, None] = {}
        waiting = [name]
        while waiting:
            current = waiting.pop()
            following = [*self._after[current], *self.nodes[current].successors, *self._checked[current]]
            new = [other for other in following if other not in found and other != name]
            found.update(dict.fromkeys(new))
            waiting += new
        return list(found)

    def runs_if_fails(self, name: str) -> list[str]:
        """The tasks that a fallback is for."""
        return self._owners[name]


def decide(
    workflow: Workflow, records: Sequence[AttemptRecord], forced: str | None = None, *, finished: bool = False
) -> list[Step]:
    """Decide for each task.

    Args:
        workflow: The tasks.
        records: Every attempt of the session, oldest first.
        forced: Task to run again with everything downstream of it, completed or not.
        finished: Whether the session has completed: nothing runs then, unless forced.

    Returns:
        Every task, in an order in which they can run.

    Raises:
        TaskNotFound: There is no task `forced`.
        InvalidName: No resume starts it.
    """
    standing = {record.task: record for record in records if record.stands}
    last = {record.task: record for record in records}

    def unfinished(name: str) -> str:
        if name not in last:
            asked = workflow.nodes[name].condition is None and (name in reached or ended)
            return "condition" if asked else "never-started"
        status = last[name].status
        # A running one is of a dead process, a completed one was given back.
        return "lost" if status in ("running", "completed") else status

    ended = finished and forced is None
    reached = set() if ended else workflow.reached()
    again = _again(workflow, reached, forced)

    def reason(name: str) -> str:
        role = workflow.role(name)
        if name in again and name in reached:
            return again[name]
        # What was marked by hand is not run again, whatever it is.
        if name in standing and (role == "task" or standing[name].role == "manual" or ended):
            return "completed"
        if workflow.nodes[name].off:
            return "condition"
        if role == "fallback":
            return "fallback"
        return "readiness" if role != "task" and name in reached else unfinished(name)

    reasons = {name: reason(name) for name in workflow.order()}
    running = {name for name in reached if reasons[name] != "completed"}
    lacking = {name for name, record in standing.items() if name in reached - running and not record.restorable}
    while needed := {name for name in lacking if running.intersection(workflow.downstream(name))}:
        reasons.update(dict.fromkeys(needed, "not-restorable"))
        running |= needed
        lacking -= needed
    return [Step(name, "run" if name in running else "skip", why) for name, why in reasons.items()]


def to_give_back(steps: Sequence[Step], records: Sequence[AttemptRecord]) -> list[tuple[int, str]]:
    """The completed attempts whose tasks run again, newest first, each with the reason.

    Those of checks, servers and fallbacks stand until these start again: a condition or a success may prevent it.
    """
    late = ("readiness", "fallback")
    again = {step.task: step.reason for step in steps if step.action == "run" and step.reason not in late}
    return [(record.id, again[record.task]) for record in reversed(records) if record.stands and record.task in again]


def _again(workflow: Workflow, reached: set[str], forced: str | None) -> dict[str, str]:
    if forced is None:
        return {}
    if forced not in workflow.nodes:
        raise TaskNotFound(f"there is no task {forced!r} here{nearest(forced, workflow.nodes)}")
    if forced not in reached:
        owners = workflow.runs_if_fails(forced)
        why = f"it is a fallback, and runs only if {' or '.join(owners)} fails" if owners else "nothing starts it"
        if workflow.nodes[forced].off:
            why = "its condition never holds"
        raise InvalidName(f"no resume runs {forced}: {why}")
    after = dict.fromkeys(workflow.downstream(forced), f"downstream-of:{forced}")
    return {**after, forced: "forced"}
