"""Check whether this zrb can be hooked: inspect everything that the plugin touches, and change nothing."""

from __future__ import annotations

import inspect
from collections import deque
from typing import TYPE_CHECKING, Any

from zrb_store.plugin import compat

if TYPE_CHECKING:
    from zrb.task.any_task import AnyTask


def problems() -> list[str]:
    """Return what the plugin touches and this zrb lacks, or has in another form."""
    found = [
        problem
        for owner, touched in compat.TOUCHED.items()
        for name, kind in touched.items()
        if isinstance(kind, str) and (problem := _problem_of_class(owner, name, kind))
    ]
    return found or _problems_of_objects()


def _problem_of_class(owner: Any, name: str, kind: str) -> str | None:
    value = inspect.getattr_static(owner, name, None)
    if value is None or (getattr(value, "__isabstractmethod__", False) and not inspect.isabstract(owner)):
        return None if kind.startswith("? ") else f"it has no {_shown(owner, name)}"
    kind = kind.removeprefix("? ")
    if kind == "property":
        return None if isinstance(value, property) else f"{_shown(owner, name)} is not a property"
    is_async = kind.startswith("async ")
    parameters = kind.removeprefix("async ").strip("()").split(", ")
    right = inspect.isfunction(value) and inspect.iscoroutinefunction(value) == is_async and _takes(value, parameters)
    return None if right else f"{_shown(owner, name)} is no {'async ' if is_async else ''}def ({', '.join(parameters)})"


def _takes(function: Any, expected: list[str]) -> bool:
    """Whether these are the function's first parameters, and it needs no others."""
    parameters = list(inspect.signature(function).parameters.values())
    first = [f"*{one.name}" if one.kind is one.VAR_POSITIONAL else one.name for one in parameters[: len(expected)]]
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    others = parameters[len(expected) :]
    return first == expected and all(one.kind in variadic or one.default is not one.empty for one in others)


def _problems_of_objects() -> list[str]:
    shared_ctx = compat.SharedContext(args=[], env={})
    session = compat.Session(shared_ctx=shared_ctx, parent=None, root_group=None)
    task = compat.BaseTask(name="probe", description="", cli_only=True, action=None, retries=0)
    session.set_main_task(task)
    compat.Group(name="probe", description="").add_task(task)
    made: dict[Any, Any] = {
        compat.Session: session,
        compat.SharedContext: shared_ctx,
        compat.Context: vars(session).get("_context", {}).get(task),
        compat.Callback: compat.Callback(task=task, input_mapping={}),
    }
    found = [
        f"it has no {_shown(owner, name)}"
        for owner, one in made.items()
        for name, kind in compat.TOUCHED[owner].items()
        if isinstance(kind, type) and not isinstance(vars(one).get(name) if one else None, kind)
    ]
    return found or [problem for problem, is_ok in _conditions(shared_ctx, session, task).items() if not is_ok]


def _conditions(shared_ctx: Any, session: Any, task: AnyTask) -> dict[str, bool]:
    """Return whether other conditions hold, each named by its violation."""
    status = session.get_task_status(task)
    queue: Any = compat.Xcom([1])
    for kind in ("push", "pop"):
        (getattr(queue, f"append_{kind}_callback", None) or getattr(queue, f"add_{kind}_callback"))(_conditions)
    return {
        "SharedContext.xcom is not its _xcom": shared_ctx.xcom is shared_ctx._xcom,
        "Session.get_task_status does not look into _task_status": session._task_status.get(task) is status,
        "it has no execute_condition": hasattr(task, "execute_condition") or hasattr(task, "_execute_condition"),
        "it has no CFG.INIT_FILE_NAME": isinstance(getattr(compat.CFG, "INIT_FILE_NAME", None), str),
        "Xcom is no deque": isinstance(queue, deque) and list(queue) == [1],
        "it has no Xcom.push_callbacks": getattr(queue, "push_callbacks", None) == [_conditions],
        "it has no Xcom.pop_callbacks": getattr(queue, "pop_callbacks", None) == [_conditions],
        "it has no extract_node": hasattr(compat.cli, "extract_node") or compat.extract_node_function() is not None,
        "PasswordInput is not secret": hasattr(compat.AnyInput, "is_secret") or _password_is_secret(),
    }


def _password_is_secret() -> bool:
    from zrb.input.password_input import PasswordInput  # late: only releases before 2.69 need it

    return compat.is_secret(PasswordInput(name="probe"))


def _shown(owner: Any, name: str) -> str:
    return f"{owner.__name__.rpartition('.')[2]}.{name}"
