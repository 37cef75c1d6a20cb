"""The tasks of a zrb session: their names in the store, their roles, and how they depend on each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zrb_store.names import storable_name
from zrb_store.plugin import compat
from zrb_store.plugin.compat import AnyTask, Session
from zrb_store.records import role_of

if TYPE_CHECKING:
    from zrb_store.inspect.resume import Workflow


class Graph:
    """The tasks of a zrb session. Tasks that are registered while it runs are added as they appear."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.names: dict[AnyTask, str] = {}  # in the store, in order of registration
        self._used: set[str] = set()
        self._tasks_by_queue: dict[str, list[AnyTask]] = {}
        self._checks: set[AnyTask] = set()
        self._fallbacks: set[AnyTask] = set()
        self.add_new()

    def add_new(self) -> None:
        """Name the tasks that the session has registered since the last call."""
        for task in list(self._session._task_status):
            if task in self.names:
                continue
            self._tasks_by_queue.setdefault(task.name, []).append(task)
            # The order of registration is zrb's walk through the declarations, the same in each process.
            name, number = storable_name(task.name), 1
            while name in self._used:
                number += 1
                name = f"{storable_name(task.name)}~{number}"
            self.names[task] = name
            self._used.add(name)
            self._checks.update(task.readiness_checks)
            self._fallbacks.update(task.fallbacks)

    def task_name(self, task: AnyTask) -> str:
        """Return the task's name in the store."""
        if task not in self.names:
            self.add_new()
        return self.names[task]

    def role(self, task: AnyTask) -> str:
        """Return `check`, `server` (a task with a readiness check), `fallback` or `task`."""
        return role_of(
            is_check=task in self._checks, has_checks=bool(task.readiness_checks), is_fallback=task in self._fallbacks
        )

    def is_volatile(self, queue: str) -> bool:
        """Whether zrb fills this queue with values that are worthless in another process."""
        if queue in self._tasks_by_queue:
            # Results of readiness checks stay in memory.
            return all(task in self._checks for task in self._tasks_by_queue[queue])
        base, dash, kind = queue.rpartition("-")
        if dash and kind in ("pid", "usage"):
            fills = compat.is_llm_task if kind == "usage" else compat.is_cmd_task
            return any(map(fills, self._tasks_by_queue.get(base, ())))
        if queue.startswith("_yolo_") or queue == "_global_subagents":
            return True
        return queue in _CHAT and any(compat.is_llm_task(task) for task in self.names)

    def workflow(self, main: AnyTask) -> Workflow:
        """Describe the tasks and their order, by name."""
        from zrb_store.inspect.resume import Node, Workflow  # late: a first run has nothing to plan

        nodes = []
        for task, name in self.names.items():
            upstreams, successors, checks, fallbacks = (
                [self.names[other] for other in dict.fromkeys(others) if other in self.names]
                for others in (task.upstreams, task.successors, task.readiness_checks, task.fallbacks)
            )
            may_run = compat.condition(task)
            nodes.append(Node(name, upstreams, successors, checks, fallbacks, may_run, compat.is_llm_task(task)))
        return Workflow(nodes, self.names[main])


# Queues of zrb's chat: which tools may run without asking, what was asked, which workflows are loaded.
_CHAT = ("yolo", "ask_trigger", "_llm_loaded_workflow_name")
