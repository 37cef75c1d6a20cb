"""The tasks that completed in earlier runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zrb_store.plugin.graph import Graph
from zrb_store.records import AttemptRecord
from zrb_store.resume_plan import Decision, Reruns, decide, reruns
from zrb_store.run import Run

if TYPE_CHECKING:
    from zrb.task.any_task import AnyTask


class CompletedTasks:
    """The completed attempts of earlier runs that stand for their tasks in this one.

    Attributes:
        decisions: What was decided on each task as the run started.
        goes_on: Whether a task had run before.
    """

    def __init__(self, graph: Graph, main: AnyTask, forced: str | None, *, repeat_once: bool) -> None:
        """Begin with none.

        Args:
            graph: The session's tasks.
            main: Its main task.
            forced: Name of a task that runs again with everything downstream of it.
            repeat_once: Whether completed steps that were declared `once` may run again with them.
        """
        self._graph = graph
        self._main = main
        self._forced = forced
        self._repeat_once = repeat_once
        self._standing: dict[str, AttemptRecord] = {}
        self.decisions: list[Decision] = []
        self.goes_on = False

    def choose_reruns(self, known: list[AttemptRecord]) -> Reruns:
        """Note what has completed, and choose what is given back because it runs again.

        `Run.start` calls this in the transaction that takes the lease.

        Args:
            known: Every attempt of the session, the oldest first.

        Raises:
            TaskNotFound: There is no task of the name `forced`.
            InvalidArgument: No resume starts it.
        """
        decisions = decide(self._graph.workflow(self._main), known, self._forced)
        self.decisions = decisions
        self.goes_on = bool(known)
        chosen = reruns(decisions, known, repeat_once=self._repeat_once)
        given_back = dict(chosen.attempts)
        rerun = {record.task for record in known if record.id in given_back}
        self._standing = {record.task: record for record in known if record.stands and record.task not in rerun}
        return chosen

    def find(self, task: AnyTask, run: Run) -> AttemptRecord | None:
        """Return the completed attempt whose result a task has; None if the task must run.

        An attempt that stands although its task is about to run (a check, a server, a fallback) is given back.

        Raises:
            LeaseLost: Another process has taken the session over.
        """
        name = self._graph.task_name(task)
        standing = self._standing.get(name)
        if standing is None:
            return None
        role = self._graph.role(task)
        if role == "task" or standing.role == "manual":
            return standing
        del self._standing[name]
        if role != "check":
            run.give_back(standing, role if role == "fallback" else "readiness")
        return None
