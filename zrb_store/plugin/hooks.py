"""The hooks: what the plugin replaces of zrb's classes, once per process.

First it is checked that this zrb has all that the plugin touches (`problems`). Then come the live pages under zrb's own
web server, and the methods. `install` replaces all of them or none.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections import deque
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

import zrb

from zrb_store.masking import leave_out_frames_of
from zrb_store.plugin import attempts, commands, compat, inputs, inputs_read, output
from zrb_store.plugin.attach import recorder_of, where_kept
from zrb_store.plugin.compat import (
    BaseTask,
    BaseTrigger,
    Callback,
    Context,
    DotDict,
    Patches,
    Session,
    SharedContext,
)
from zrb_store.plugin.inputs_read import rendering
from zrb_store.plugin.web import hook_web_server

if TYPE_CHECKING:
    from zrb_store.plugin.ctx_xcom import CtxXcom

P = ParamSpec("P")
R = TypeVar("R")


def problems() -> list[str]:
    """Return what the plugin touches and this zrb lacks, or has in another form."""
    found = [
        problem
        for owner, touched in compat.TOUCHED.items()
        for name, kind in touched.items()
        if isinstance(kind, str) and (problem := _problem_of_class(owner, name, kind))
    ]
    return found or _problems_of_objects()


def _problem_of_class(owner: type | ModuleType, name: str, kind: str) -> str | None:
    value = inspect.getattr_static(owner, name, None)
    if value is None or (getattr(value, "__isabstractmethod__", False) and not inspect.isabstract(owner)):
        return None if kind.startswith("? ") else f"it has no {_shown(owner, name)}"
    kind = kind.removeprefix("? ")
    if kind == "property":
        return None if isinstance(value, property) else f"{_shown(owner, name)} is not a property"
    is_async = kind.startswith("async ")
    expected = kind.removeprefix("async ").strip("()").split(", ")
    if inspect.isfunction(value) and inspect.iscoroutinefunction(value) == is_async:
        parameters = list(inspect.signature(value).parameters.values())
        first = [f"*{one.name}" if one.kind is one.VAR_POSITIONAL else one.name for one in parameters[: len(expected)]]
        variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        required = [one for one in parameters[len(expected) :] if one.kind not in variadic and one.default is one.empty]
        if first == expected and not required:
            return None
    return f"{_shown(owner, name)} is no {'async ' if is_async else ''}def ({', '.join(expected)})"


def _problems_of_objects() -> list[str]:
    shared_ctx = compat.SharedContext(args=[], env={})
    session = compat.Session(shared_ctx=shared_ctx, parent=None, root_group=None)
    task = compat.BaseTask(name="probe", description="", cli_only=True, action=None, retries=0)
    session.set_main_task(task)
    compat.Group(name="probe", description="").add_task(task)
    ctx = vars(session).get("_context", {}).get(task)
    callback = compat.Callback(task=task, input_mapping={})
    made = [(Session, session), (SharedContext, shared_ctx), (Context, ctx), (Callback, callback)]
    found = [
        f"it has no {_shown(owner, name)}"
        for owner, one in made
        for name, kind in compat.TOUCHED[owner].items()
        if isinstance(kind, type) and not isinstance(vars(one).get(name) if one else None, kind)
    ]
    if found:
        return found
    status, queue = session.get_task_status(task), compat.Xcom([1])
    for kind in ("push", "pop"):
        (getattr(queue, f"append_{kind}_callback", None) or getattr(queue, f"add_{kind}_callback"))(print)
    conditions = {  # each by its violation
        "SharedContext.xcom is not its _xcom": shared_ctx.xcom is shared_ctx._xcom,
        "Session.get_task_status does not look into _task_status": session._task_status.get(task) is status,
        "it has no execute_condition": hasattr(task, "execute_condition") or hasattr(task, "_execute_condition"),
        "it has no CFG.INIT_FILE_NAME": isinstance(getattr(compat.CFG, "INIT_FILE_NAME", None), str),
        "Xcom is no deque": isinstance(queue, deque) and list(queue) == [1],
        "it has no Xcom.push_callbacks": getattr(queue, "push_callbacks", None) == [print],
        "it has no Xcom.pop_callbacks": getattr(queue, "pop_callbacks", None) == [print],
        "it has no extract_node": compat.extract_node() is not None,
        "PasswordInput is not secret": hasattr(compat.AnyInput, "is_secret") or _password_is_secret(),
    }
    return [problem for problem, is_ok in conditions.items() if not is_ok]


def _password_is_secret() -> bool:
    from zrb.input.password_input import PasswordInput  # late: only releases before 2.69 need it

    return compat.is_secret(PasswordInput(name="probe"))


def _shown(owner: type | ModuleType, name: str) -> str:
    return f"{owner.__name__.rpartition('.')[2]}.{name}"


# What is called in place of zrb's methods, with the method as it was and its arguments. Unknown parameters are passed
# on, since a later release may add some.


def _final_result(stock: Callable[[Session], R], self: Session) -> R | None:
    recorder = recorder_of(self)
    if recorder is None:
        return stock(self)
    # zrb's state logger asks at every tick: before the main task is done there is no result to read.
    status = self._task_status.get(recorder.main)
    return stock(self) if recorder.fatal is None and status is not None and status.is_completed else None


def _render(stock: Callable[Concatenate[Context, P], R], self: Context, /, *args: P.args, **kwargs: P.kwargs) -> R:
    token = rendering.set(self)
    try:
        return stock(self, *args, **kwargs)
    finally:
        rendering.reset(token)


def _xcom_of_task(self: Context) -> DotDict | CtxXcom:
    recorder = recorder_of(self.session) if compat.VIEW in self.__dict__ else None
    # Not `_shared_ctx.xcom`: while a template of this context is rendered, that asks this context.
    found: DotDict = vars(self._shared_ctx)["_xcom"]
    return found if recorder is None else recorder.xcom_of(self)


def _xcom_of_session(self: SharedContext) -> DotDict:
    ctx = rendering.get()
    return ctx.xcom if ctx is not None and ctx._shared_ctx is self else self._xcom


def _task_name_in_template(self: SharedContext) -> str:
    ctx = rendering.get()
    return attempts.task_name_of_action() if ctx is None or ctx._shared_ctx is not self else str(ctx._task_name)


async def _fanout(
    stock: Callable[Concatenate[BaseTrigger, Session, P], Awaitable[R]],
    self: BaseTrigger,
    session: Session,
    *args: P.args,
    **kwargs: P.kwargs,
) -> R:
    # The callback inherits the context of the push, but is no part of that attempt: when the trigger's attempt is given
    # back, a handled event must not come back.
    outside = contextlib.nullcontext() if recorder_of(session) is None else attempts.outside_attempts()
    with outside:
        return await stock(self, session, *args, **kwargs)


async def _run_callback(
    stock: Callable[Concatenate[Callback, Session, Session, P], Awaitable[R]],
    self: Callback,
    parent_session: Session,
    session: Session,
    *args: P.args,
    **kwargs: P.kwargs,
) -> R:
    # Name the session of an event before the callback publishes the name.
    parent = recorder_of(parent_session)
    if parent is not None and where_kept(self._task, session) == "store":
        session._name = parent.next_child()
        setattr(session, compat.CHILD, session._name)
    return await stock(self, parent_session, session, *args, **kwargs)


def install() -> None:
    """Hook zrb's classes and register `zrb xcom`. If that fails, leave zrb as it was."""
    with Patches() as patches:
        patches.wrap(Session, "_register_single_task", attempts.register_task)
        stock_result = vars(Session)["final_result"].fget
        patches.put(Session, "final_result", property(functools.partial(_final_result, stock_result)))
        patches.put(Context, "xcom", property(_xcom_of_task))
        patches.wrap(Context, "render", _render)
        patches.put(SharedContext, "xcom", property(_xcom_of_session))
        patches.put(Context, "input", property(inputs_read.input_of_task))
        patches.put(SharedContext, "input", property(inputs_read.input_of_session))
        # No release has `task_name` yet.
        if not hasattr(Context, "task_name"):
            patches.put(Context, "task_name", property(lambda self: self._task_name))
        if not hasattr(SharedContext, "task_name"):
            patches.put(SharedContext, "task_name", property(_task_name_in_template))
        patches.wrap(BaseTask, "exec_root_tasks", attempts.run_session)
        patches.wrap(BaseTask, "run", inputs.run)
        patches.wrap(BaseTask, "async_run", inputs.async_run)
        patches.wrap(BaseTrigger, "_fanout_and_trigger_callback", _fanout)
        patches.wrap(Callback, "async_run", _run_callback)
        output.hook_commands(patches)
        compat.hook_some_releases(patches)
        commands.hook_command_line(patches)
        hook_web_server(patches)
        patches.pop_all()
    leave_out_frames_of(Path(zrb.__file__).parent)
