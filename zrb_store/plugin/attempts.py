"""Run every action of zrb's tasks as an attempt."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from zrb_store.plugin import command_environment, compat, in_memory, zrb_attributes
from zrb_store.plugin.attach import recorder_of
from zrb_store.plugin.output import keep_output

if TYPE_CHECKING:
    from zrb.context.any_context import AnyContext
    from zrb.task.any_task import AnyTask

    from zrb_store.plugin.recorder import Recorder
    from zrb_store.queries.owner import Owner

# The context whose action runs. An override that calls super() must not begin a second attempt.
_inside: ContextVar[Any] = ContextVar("zrb_store_inside", default=None)

_seen: set[type[Any]] = set()


def wrap_action(task: AnyTask) -> None:
    """Wrap the action of every class of a task, once per class.

    Not the task's own action: a copied task would carry the wrapper of the original.
    """
    cls = type(task)
    if cls in _seen:
        return
    if compat.is_llm_task(task):
        from zrb_store.plugin.agents import hooks  # late: few processes have LLM tasks

        hooks.install()
    for base in cls.__mro__:
        if base not in _seen:
            _seen.add(base)
            action = base.__dict__.get(compat.ACTION)
            if inspect.isfunction(action) and not getattr(action, "__isabstractmethod__", False):
                setattr(base, compat.ACTION, _wrapped(action))


def _wrapped(action: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    @functools.wraps(action)
    async def attempt_action(self: Any, ctx: AnyContext) -> Any:
        recorder = _recorder_of_action(self, ctx)
        if recorder is not None:
            return await _attempt(recorder, action, self, ctx)
        outer = _inside.get()
        if isinstance(ctx, compat.Context):
            _inside.set(ctx)
            command_environment.hide_url(ctx)
            if in_memory.runs_in_memory(ctx.session):
                command_environment.drop_session(ctx)
        try:
            result = action(self, ctx)
            return await result if inspect.isawaitable(result) else result
        finally:
            _inside.set(outer)

    return attempt_action


def _recorder_of_action(task: AnyTask, ctx: AnyContext) -> Recorder | None:
    if _inside.get() is ctx or not isinstance(ctx, compat.Context):
        return None
    session: Any = ctx.session
    recorder = recorder_of(session)
    # An action run by hand with another task's context is part of that task's attempt.
    if recorder is None or session._context.get(task) is not ctx or recorder.open_attempt(task):
        return None
    return recorder


async def _attempt(recorder: Recorder, action: Callable[[Any, Any], Any], task: AnyTask, ctx: AnyContext) -> Any:
    from zrb_store.xcom.current import current_attempt  # late: imports SQLAlchemy

    outer = _inside.get(), current_attempt.get()
    try:
        with recorder.end_run_on_refusal():
            recorder.refuse_if_ended()
            done = recorder.completed_before(task)
            if done is not None:
                ctx.log_info(f"Completed before as {done.name}: its stored result is used")
                return recorder.restore(task, done)
            attempt = recorder.begin(task)
        _inside.set(ctx)
        current_attempt.set(attempt)
        setattr(ctx, zrb_attributes.VIEW, recorder.view(attempt))
        keep_output(ctx, attempt)
        command_environment.export_attempt(ctx, recorder.url, attempt.token)
        result = action(task, ctx)
        if inspect.isawaitable(result):
            result = await result
        with recorder.end_run_on_refusal():
            recorder.refuse_if_ended()
            recorder.complete(attempt, task, result)
    except BaseException as error:
        # An interrupt may come at any moment, also between the beginning of the attempt and its action.
        begun = recorder.open_attempt(task)
        if begun is not None:
            with recorder.end_run_on_refusal(error):
                recorder.fail(begun, task, error)
        raise
    finally:
        # Not by token: a generator closed elsewhere ends in another context.
        _inside.set(outer[0])
        current_attempt.set(outer[1])
    return result


@contextlib.contextmanager
def outside_attempts() -> Iterator[Owner | None]:
    """Run a block outside of any attempt, even if an attempt started it.

    Yields:
        The attempt that started the block, or None.
    """
    from zrb_store.xcom.current import current_attempt  # late: imports SQLAlchemy

    inside, attempt = _inside.get(), current_attempt.get()
    _inside.set(None)
    current_attempt.set(None)
    try:
        yield attempt
    finally:
        _inside.set(inside)
        current_attempt.set(attempt)


def task_name_of_action() -> str:
    """Return the name of the task whose action runs.

    Raises:
        AttributeError: No action runs: the template that asks for the name is not a task's.
    """
    ctx = _inside.get()
    if ctx is None:
        raise AttributeError("ctx.task_name is known inside a task only")
    return str(ctx._task_name)
