"""Takes hold of zrb: methods are replaced on its classes, once per process."""

from __future__ import annotations

import functools
import inspect
import sys
from contextvars import ContextVar
from typing import Any

from zrb_store.plugin import attempts, commands, compat, conduct
from zrb_store.plugin.attach import CHILD, recorder_of, wanted

# Typed loosely, since their methods are replaced.
Session: Any = compat.Session
Context: Any = compat.Context
SharedContext: Any = compat.SharedContext
BaseTask: Any = compat.BaseTask

# The context whose template is rendered: zrb hands templates the session's context, not the task's.
_rendering: ContextVar[Any] = ContextVar("zrb_store_rendering", default=None)

_known_classes: set[type[Any]] = set()
_hooked_triggers: set[type[Any]] = set()


def install() -> None:
    """Hook zrb's classes and register `zrb xcom`."""
    _hook_session()
    _hook_contexts()
    _hook_execution()
    commands.hook_command_line()
    compat.render_plain_cmd()
    compat.spare_our_settings()


def _hook_session() -> None:
    register = Session._register_single_task
    final_result = Session.final_result.fget

    @functools.wraps(register)
    def register_single_task(self: Any, task: Any) -> None:
        attempts.wrap_action(task)
        _hook_trigger(task)
        register(self, task)

    @functools.wraps(final_result)
    def cheap_final_result(self: Any) -> Any:
        recorder = recorder_of(self)
        # Asked for at every tick of zrb's state logger: before the main task is done there is none to read.
        if recorder is not None and not recorder.has_result():
            return None
        return final_result(self)

    Session._register_single_task = register_single_task
    Session.final_result = property(cheap_final_result)


def _hook_contexts() -> None:
    render = Context.render

    def xcom_of_task(self: Any) -> Any:
        recorder = recorder_of(self.session) if "_zrb_store_view" in self.__dict__ else None
        # Not `_shared_ctx.xcom`: while a template of this context is rendered, that asks this context.
        return self._shared_ctx._xcom if recorder is None else recorder.xcom_of(self)

    @functools.wraps(render)
    def render_for_task(self: Any, template: str) -> Any:
        token = _rendering.set(self)
        try:
            return render(self, template)
        finally:
            _rendering.reset(token)

    def shared_xcom(self: Any) -> Any:
        ctx = _rendering.get()
        return ctx.xcom if ctx is not None and ctx._shared_ctx is self else self._xcom

    Context.xcom = property(xcom_of_task)
    Context.render = render_for_task
    SharedContext.xcom = property(shared_xcom)
    # The seed documents ctx.task_name; no release has it.
    Context.task_name = property(lambda self: self._task_name)
    SharedContext.task_name = property(_task_name_in_template)


def _task_name_in_template(self: Any) -> str:
    ctx = _rendering.get()
    return attempts.task_name_of_action() if ctx is None or ctx._shared_ctx is not self else str(ctx._task_name)


def _hook_execution() -> None:
    exec_root_tasks = BaseTask.exec_root_tasks

    @functools.wraps(exec_root_tasks)
    async def stored_exec_root_tasks(self: Any, session: Any) -> Any:
        return await conduct.run(exec_root_tasks, self, session)

    BaseTask.exec_root_tasks = stored_exec_root_tasks


def _hook_trigger(task: Any) -> None:
    """Hook zrb's BaseTrigger when the first trigger is met: newer releases do not import it before."""
    if type(task) in _known_classes:
        return
    _known_classes.add(type(task))
    module = sys.modules.get("zrb.task.base_trigger")
    if module is None or module.BaseTrigger in _hooked_triggers or not isinstance(task, module.BaseTrigger):
        return
    trigger = module.BaseTrigger
    _hooked_triggers.add(trigger)
    compat.remember_trigger_check(trigger)
    fanout = trigger._fanout_and_trigger_callback

    @functools.wraps(fanout)
    async def fanout_outside(self: Any, session: Any) -> Any:
        # It inherits the context of the push: giving the trigger's attempt back must not bring a handled event back.
        if recorder_of(session) is None:
            return await fanout(self, session)
        with attempts.Outside():
            return await fanout(self, session)

    assert inspect.iscoroutinefunction(fanout)
    trigger._fanout_and_trigger_callback = fanout_outside
    _hook_callback()


def _hook_callback() -> None:
    """Name the session of an event before the callback publishes that name."""
    callback: Any = sys.modules["zrb.callback.callback"].Callback
    async_run = callback.async_run

    @functools.wraps(async_run)
    async def async_run_named(self: Any, parent_session: Any, session: Any) -> Any:
        parent = recorder_of(parent_session)
        if parent is not None and wanted(self._task, session):
            session._name = parent.next_child()
            setattr(session, CHILD, session._name)
        return await async_run(self, parent_session=parent_session, session=session)

    callback.async_run = async_run_named
