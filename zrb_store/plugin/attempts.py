"""An attempt around every action that zrb runs."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from zrb_store.plugin import compat
from zrb_store.plugin.attach import recorder_of

if TYPE_CHECKING:
    from zrb_store.plugin.recorder import Recorder

# The context whose action runs: an override that calls super() must not begin a second attempt.
_inside: ContextVar[Any] = ContextVar("zrb_store_inside", default=None)

_seen: set[type[Any]] = set()


def wrap_action(task: Any) -> None:
    """Wrap the action of every class that a task is of, once per class.

    The classes and not the task: a copied task would carry the wrapper of the old one.
    """
    cls = type(task)
    if cls in _seen:
        return
    for base in cls.__mro__:
        if base not in _seen:
            _seen.add(base)
            action = base.__dict__.get(compat.ACTION)
            if inspect.isfunction(action) and not getattr(action, "__isabstractmethod__", False):
                setattr(base, compat.ACTION, _wrapped(action))


def _wrapped(action: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    @functools.wraps(action)
    async def attempt_action(self: Any, ctx: Any) -> Any:
        recorder = _recorder_for(self, ctx)
        if recorder is None:
            _hide_url(ctx)
            result = action(self, ctx)
            return await result if inspect.isawaitable(result) else result
        return await _attempt(recorder, action, self, ctx)

    return attempt_action


def _recorder_for(task: Any, ctx: Any) -> Recorder | None:
    if _inside.get() is ctx or not isinstance(ctx, compat.Context):
        return None
    session: Any = ctx.session
    recorder = recorder_of(session)
    # An action run by hand with another task's context is part of that task's attempt.
    if recorder is None or session._context.get(task) is not ctx or recorder.is_open(task):
        return None
    return recorder


async def _attempt(recorder: Recorder, action: Callable[[Any, Any], Any], task: Any, ctx: Any) -> Any:
    from zrb_store.xcom import current_attempt

    with recorder.stopping():
        recorder.refuse_if_ended()
        done = recorder.restore(task)
        if done is not None:
            ctx.log_info(f"Completed before as {done.name}: its stored result is used")
            return recorder.restored(task, done)
        attempt = recorder.begin(task)
    outer = _inside.get(), current_attempt.get()
    _inside.set(ctx)
    current_attempt.set(attempt)
    ctx._zrb_store_view = recorder.view(attempt)
    _export(ctx, recorder.url, attempt.token)
    try:
        result = action(task, ctx)
        if inspect.isawaitable(result):
            result = await result
        with recorder.stopping():
            recorder.refuse_if_ended()
            recorder.complete(attempt, task, result)
    except BaseException as error:
        with recorder.stopping(error):
            recorder.fail(attempt, task, error)
        raise
    finally:
        # Not by token: a generator closed elsewhere ends in another context.
        _inside.set(outer[0])
        current_attempt.set(outer[1])
    return result


def _export(ctx: Any, url: str, token: str) -> None:
    """Tell the commands of a CmdTask which attempt they belong to; a zrb among them is a session of its own."""
    ctx.env["ZRB_STORE_URL"] = url
    _hide_url(ctx)
    ctx.env["ZRB_STORE_ATTEMPT"] = token
    ctx.env.pop("ZRB_STORE_SESSION", None)


def _hide_url(ctx: Any) -> None:
    """Keep the store's password out of zrb's debug output, which has the whole environment of a command."""
    url = ctx.env.get("ZRB_STORE_URL", "") if isinstance(ctx, compat.Context) else ""
    if "://" in url:
        from zrb_store.masking import mask_word

        if mask_word(url) != url:
            ctx.env["ZRB_STORE_URL"] = _StoreUrl(url)


class _StoreUrl(str):
    """The URL as commands get it; its repr, which zrb prints, has no password."""

    __slots__ = ()

    def __repr__(self) -> str:
        from zrb_store.masking import mask_word

        return repr(mask_word(str(self)))


class Outside:
    """No attempt: what runs inside belongs to none, even if it was started by one.

    Attributes:
        attempt: The attempt that it was started in.
    """

    def __enter__(self) -> Outside:
        from zrb_store.xcom import current_attempt

        self._inside = _inside.get()
        self.attempt = current_attempt.get()
        _inside.set(None)
        current_attempt.set(None)
        return self

    def __exit__(self, *_: object) -> None:
        from zrb_store.xcom import current_attempt

        _inside.set(self._inside)
        current_attempt.set(self.attempt)


def task_name_of_action() -> str:
    """The name of the task whose action runs.

    Raises:
        AttributeError: None runs, so that the template that asks for it is wrong.
    """
    ctx = _inside.get()
    if ctx is None:
        raise AttributeError("ctx.task_name is known inside a task only")
    return str(ctx._task_name)


def is_cancelled() -> bool:
    """Whether the running asyncio task was asked to stop."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
