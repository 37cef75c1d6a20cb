"""The tasks of a zrb session: their names in the store, their roles, and how they depend on each other (`Graph`).

`code_of` is a digest of what a task runs: its action and its templates, as a person wrote them.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Iterable
from types import CodeType, FunctionType, MethodType, NoneType
from typing import TYPE_CHECKING, Any
from zlib import crc32

from zrb_store.names import storable_name
from zrb_store.plugin import compat
from zrb_store.plugin.compat import AnyTask, Session
from zrb_store.records import kind_of
from zrb_store.wings import wing_of_class

if TYPE_CHECKING:
    from zrb_store.inspect.workflow import Workflow


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

    def kind(self, task: AnyTask) -> str:
        """Return `check`, `server` (a task with a readiness check), `fallback` or `task`."""
        return kind_of(
            is_check=task in self._checks, has_checks=bool(task.readiness_checks), is_fallback=task in self._fallbacks
        )

    def is_volatile(self, queue: str) -> bool:
        """Whether zrb fills this queue with values that are worthless in another process."""
        if queue in self._tasks_by_queue:
            # Results of readiness checks stay in memory.
            return self._checks.issuperset(self._tasks_by_queue[queue])
        base, dash, kind = queue.rpartition("-")
        if dash and kind in ("pid", "usage"):
            fills = compat.is_llm_task if kind == "usage" else compat.is_cmd_task
            return any(map(fills, self._tasks_by_queue.get(base, ())))
        if queue.startswith("_yolo_") or queue == "_global_subagents":
            return True
        return queue in _CHAT and any(map(compat.is_llm_task, self.names))

    def workflow(self, main: AnyTask) -> Workflow:
        """Describe the tasks and their order, by name."""
        from zrb_store.inspect.workflow import Node, Workflow

        nodes = []
        for task, name in self.names.items():
            upstreams, successors, checks, fallbacks = (
                [self.names[other] for other in dict.fromkeys(others) if other in self.names]
                for others in (task.upstreams, task.successors, task.readiness_checks, task.fallbacks)
            )
            may_run = compat.condition(task)
            compares = wing_of_class(type(task)) is not None
            nodes.append(Node(name, upstreams, successors, checks, fallbacks, may_run, compares))
        return Workflow(nodes, self.names[main])


# Queues of zrb's chat: which tools may run without asking, what was asked, which workflows are loaded.
_CHAT = ("yolo", "ask_trigger", "_llm_loaded_workflow_name")


_PARTS = ("_action", "_cmd", "_envs", "_execute_condition", "_message", "_system_prompt")
_PLAIN = frozenset({str, bytes, bool, int, float, NoneType})
_VERSION = "{}.{}:".format(*sys.version_info)  # which bytecode depends on


def code_of(task: AnyTask) -> str | None:
    """Return a digest of what a task runs. That of another version of Python cannot be compared."""
    action = compat.action_of(task)
    try:
        found = 0 if action.__module__.startswith("zrb.") else _digest(action, 0)  # of a class of the user's
        for name in _PARTS:
            if (part := getattr(task, name, None)) is not None:
                found = _digest(part, crc32(name.encode(), found))
    except Exception:  # noqa: BLE001 - it is made of the user's objects, and only a plan needs it
        return None
    return f"{_VERSION}{found:08x}"


def has_changed(task: AnyTask, code: str | None) -> bool:
    """Whether a task runs something else than what had this digest, as far as is known."""
    return code is not None and code.startswith(_VERSION) and code != code_of(task)


def _digest(value: Any, found: int) -> int:
    """Continue a digest with what a person wrote of a value."""
    kind = type(value)
    parts: Iterable[Any]
    if kind is FunctionType:
        function = inspect.unwrap(value) if "__wrapped__" in value.__dict__ else value
        parts = getattr(function, "__code__", None), value.__defaults__, value.__kwdefaults__
    elif kind is CodeType:
        plain = [one for one in value.co_consts if type(one) in _PLAIN]  # most are
        parts = [one for one in value.co_consts if type(one) not in _PLAIN]
        found = crc32(repr((value.co_names, plain)).encode(errors="replace"), crc32(value.co_code, found))
    elif kind is tuple or kind is list:
        parts = value
    elif kind is MethodType or kind is functools.partial:
        parts = (value.__func__,) if kind is MethodType else (value.func, value.args, value.keywords)
    elif kind is dict:
        parts = *value, *value.values()
    elif kind is frozenset:  # its order is another one in each process
        parts = sorted(map(repr, value))
    elif kind in _PLAIN:
        return crc32(repr(value).encode(errors="replace"), found)
    else:  # such as a template or a variable of zrb
        fields = getattr(value, "__dict__", {}).items()
        parts = kind.__qualname__, *((name, one) for name, one in fields if isinstance(one, (str, dict, FunctionType)))
    for part in parts:
        found = _digest(part, found)
    return found
