"""The hooks: methods of zrb's classes, replaced once per process."""

from __future__ import annotations

import functools
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from zrb_store.plugin import attempts, commands, compat, conduct, given_inputs, output, web, zrb_attributes
from zrb_store.plugin.attach import is_to_be_stored, recorder_of
from zrb_store.plugin.patches import Patches

if TYPE_CHECKING:
    from zrb.task.any_task import AnyTask

# The context whose template is being rendered: zrb gives templates the session's context, not the task's.
_rendering: ContextVar[Any] = ContextVar("zrb_store_rendering", default=None)


def install() -> None:
    """Hook zrb's classes and register `zrb xcom`. If that fails, leave zrb as it was."""
    patches = Patches()
    try:
        _hook_session(patches)
        _hook_contexts(patches)
        _hook_execution(patches)
        given_inputs.hook_runs(patches)
        _hook_triggers(patches)
        output.hook_commands(patches)
        compat.render_plain_cmd(patches)
        compat.spare_our_settings(patches)
        commands.hook_command_line(patches)
        web.hook_web_server(patches)
    except BaseException:
        patches.undo()
        raise


# Every wrapper passes on unknown parameters: a later release may add some.


def _hook_session(patches: Patches) -> None:
    session: Any = compat.Session
    register = session._register_single_task
    final_result = session.final_result.fget

    @functools.wraps(register)
    def register_single_task(self: Any, task: AnyTask, *args: Any, **kwargs: Any) -> Any:
        attempts.wrap_action(task)
        return register(self, task, *args, **kwargs)

    @functools.wraps(final_result)
    def cheap_final_result(self: Any) -> Any:
        recorder = recorder_of(self)
        # zrb's state logger asks at every tick: before the main task is done there is no result to read.
        if recorder is not None and not recorder.has_result():
            return None
        return final_result(self)

    patches.put(session, "_register_single_task", register_single_task)
    patches.put(session, "final_result", property(cheap_final_result))


def _hook_contexts(patches: Patches) -> None:
    context: Any = compat.Context
    render = context.render

    def xcom_of_task(self: Any) -> Any:
        recorder = recorder_of(self.session) if zrb_attributes.VIEW in self.__dict__ else None
        # Not `_shared_ctx.xcom`: while a template of this context is rendered, that asks this context.
        return self._shared_ctx._xcom if recorder is None else recorder.xcom_of(self)

    @functools.wraps(render)
    def render_for_task(self: Any, template: Any, *args: Any, **kwargs: Any) -> Any:
        token = _rendering.set(self)
        try:
            return render(self, template, *args, **kwargs)
        finally:
            _rendering.reset(token)

    def shared_xcom(self: Any) -> Any:
        ctx = _rendering.get()
        return ctx.xcom if ctx is not None and ctx._shared_ctx is self else self._xcom

    patches.put(context, "xcom", property(xcom_of_task))
    patches.put(context, "render", render_for_task)
    patches.put(compat.SharedContext, "xcom", property(shared_xcom))
    # No release has it yet.
    if not hasattr(context, "task_name"):
        patches.put(context, "task_name", property(lambda self: self._task_name))
    if not hasattr(compat.SharedContext, "task_name"):
        patches.put(compat.SharedContext, "task_name", property(_task_name_in_template))


def _task_name_in_template(self: Any) -> str:
    ctx = _rendering.get()
    return attempts.task_name_of_action() if ctx is None or ctx._shared_ctx is not self else str(ctx._task_name)


def _hook_execution(patches: Patches) -> None:
    exec_root_tasks = compat.BaseTask.exec_root_tasks

    @functools.wraps(exec_root_tasks)
    async def stored_exec_root_tasks(self: Any, session: Any, *args: Any, **kwargs: Any) -> Any:
        def stock(task: Any, session: Any) -> Any:
            return exec_root_tasks(task, session, *args, **kwargs)

        return await conduct.run_session(stock, self, session)

    patches.put(compat.BaseTask, "exec_root_tasks", stored_exec_root_tasks)


def _hook_triggers(patches: Patches) -> None:
    trigger: Any = compat.BaseTrigger
    callback: Any = compat.Callback
    fanout = trigger._fanout_and_trigger_callback
    async_run = callback.async_run

    @functools.wraps(fanout)
    async def fanout_outside(self: Any, session: Any, *args: Any, **kwargs: Any) -> Any:
        # The callback inherits the context of the push, but is no part of that attempt: when the trigger's attempt is
        # given back, a handled event must not come back.
        if recorder_of(session) is None:
            return await fanout(self, session, *args, **kwargs)
        with attempts.outside_attempts():
            return await fanout(self, session, *args, **kwargs)

    @functools.wraps(async_run)
    async def async_run_named(self: Any, parent_session: Any, session: Any, *args: Any, **kwargs: Any) -> Any:
        # Name the session of an event before the callback publishes the name.
        parent = recorder_of(parent_session)
        if parent is not None and is_to_be_stored(self._task, session):
            session._name = parent.next_child()
            setattr(session, zrb_attributes.CHILD, session._name)
        return await async_run(self, parent_session, session, *args, **kwargs)

    compat.remember_trigger_check(patches)
    patches.put(trigger, "_fanout_and_trigger_callback", fanout_outside)
    patches.put(callback, "async_run", async_run_named)
