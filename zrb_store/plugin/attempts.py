"""Conducts a zrb session from its start to its end, and runs every action of its tasks as an attempt.

A session that is not stored runs in memory, and its `ctx.xcom` behaves as if it were stored.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any, Concatenate, NamedTuple, ParamSpec, TypeVar

from zrb_store import settings
from zrb_store.errors import SchemaAhead, SchemaBehind, SessionWaiting, StoreMissing, StoreUnavailable, ZrbStoreError
from zrb_store.masking import mask_word
from zrb_store.plugin import attach, compat
from zrb_store.plugin.attach import recorder_of
from zrb_store.plugin.compat import Action, AnyContext, AnySession, AnyTask, Session
from zrb_store.plugin.inputs_read import inputs_of, inside, read_of
from zrb_store.plugin.messages import speaker, warn
from zrb_store.plugin.output import keep_output
from zrb_store.plugin.signals import signals
from zrb_store.render.stderr import PROGRAM
from zrb_store.wings import load, wing_of_class

if TYPE_CHECKING:
    from zrb_store.attempt import Attempt
    from zrb_store.plugin.recorder import Recorder
    from zrb_store.queries.attempts import Owner

P = ParamSpec("P")
R = TypeVar("R")


def export_attempt(ctx: AnyContext, url: str, attempt: Attempt) -> None:
    """Tell the commands of a CmdTask which attempt they belong to. A zrb among them runs a session of its own."""
    ctx.env["ZRB_STORE_URL"] = url
    hide_url(ctx)
    ctx.env["ZRB_STORE_ATTEMPT"] = attempt.token
    if attempt.span is not None:
        ctx.env.update(attempt.span.environment)
    ctx.env.pop("ZRB_STORE_SESSION", None)


def hide_url(ctx: AnyContext) -> None:
    """Keep the store's password out of zrb's debug output, which shows the whole environment of a command."""
    url = ctx.env.get("ZRB_STORE_URL", "")
    if "://" in url and mask_word(url) != url:
        ctx.env["ZRB_STORE_URL"] = _StoreUrl(url)


class _StoreUrl(str):
    """The URL as commands get it. Its repr, which zrb prints, has no password."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(mask_word(str(self)))


class XcomsInMemory(compat.DotDict):
    """zrb's own dictionary of its own queues, in which reading a missing name gives an empty queue."""

    def __missing__(self, name: str) -> compat.Xcom:
        queue = self[name] = compat.Xcom([])
        return queue

    def __getattr__(self, name: str) -> Any:
        # copy, pickle and template engines probe for names such as __deepcopy__.
        if name.startswith("_") and name not in self:
            raise AttributeError(f"'DotDict' object has no attribute '{name}'")
        return self[name]


def runs_in_memory(zrb_session: AnySession | None) -> bool:
    """Whether `run_in_memory` was called for a session."""
    shared_ctx = getattr(zrb_session, "shared_ctx", None)
    return isinstance(getattr(shared_ctx, "_xcom", None), XcomsInMemory)


def run_in_memory(zrb_session: AnySession) -> None:
    """Run a session in memory, with missing queues read as empty."""
    if not runs_in_memory(zrb_session):
        shared_ctx = vars(zrb_session.shared_ctx)
        shared_ctx["_xcom"] = XcomsInMemory(shared_ctx["_xcom"])


_seen: set[type[AnyTask]] = set()


def register_task(
    stock: Callable[Concatenate[Session, AnyTask, P], R],
    self: Session,
    task: AnyTask,
    *args: P.args,
    **kwargs: P.kwargs,
) -> R:
    """Register a task as zrb does, by `stock`, and wrap the action of every class of the task, once per class.

    Not the task's own action: a copied task would carry the wrapper of the original.
    """
    if type(task) not in _seen:
        wing = wing_of_class(type(task))
        if wing is not None and wing.task_hooks is not None:
            load(wing.task_hooks)()
    for base in type(task).__mro__:
        if base not in _seen:
            _seen.add(base)
            action = base.__dict__.get(compat.ACTION)
            if inspect.isfunction(action) and not getattr(action, "__isabstractmethod__", False):
                setattr(base, compat.ACTION, _wrapped(action))
    return stock(self, task, *args, **kwargs)


def _wrapped(action: Action) -> Action:
    @functools.wraps(action)
    async def attempt_action(self: AnyTask, ctx: AnyContext) -> Any:
        outer = inside.get()
        if isinstance(ctx, compat.Context):
            recorder = None if outer is ctx else recorder_of(ctx.session)
            # An action run by hand with another task's context is part of that task's attempt.
            is_own = recorder is not None and recorder.zrb_session._context.get(self) is ctx
            if recorder is not None and is_own and recorder.open_attempt(self) is None:
                return await run_attempt(recorder, action, self, ctx)
            inside.set(ctx)
            hide_url(ctx)
            if runs_in_memory(ctx.session):
                ctx.env.pop("ZRB_STORE_SESSION", None)  # a zrb among the commands must not run this session
        try:
            result = action(self, ctx)
            return await result if inspect.isawaitable(result) else result
        finally:
            inside.set(outer)

    return attempt_action


async def run_attempt(recorder: Recorder, action: Action, task: AnyTask, ctx: compat.Context) -> Any:
    """Run an action as an attempt, unless the task has completed: then return its stored result."""
    from zrb_store.xcom import current_attempt

    outer = inside.get(), current_attempt.get()
    attempt: Attempt | None = None
    try:
        with recorder.end_run_on_refusal():
            recorder.refuse_if_ended()
            done = recorder.find_completed(task)
            if done is not None:
                ctx.log_info(f"Completed before as {done.name}: its stored result is used")
                return recorder.restore(task, done)
            attempt = recorder.begin(task, ctx)
        if inputs_of(ctx) is not None:
            read_of(ctx)  # while it is known inside which task this one was started
        inside.set(ctx)
        current_attempt.set(attempt)
        keep_output(ctx, attempt)
        if attempt.span is not None:
            attempt.span.enter()
        export_attempt(ctx, recorder.url, attempt)
        result = action(task, ctx)
        if inspect.isawaitable(result):
            result = await result
        if attempt.parked is not None:  # the action has caught it
            raise attempt.parked
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
        if attempt is not None and attempt.span is not None:
            attempt.span.leave()
            attempt.span.end("interrupted")  # unless its end was recorded
        # Not by token: a generator closed elsewhere ends in another context.
        inside.set(outer[0])
        current_attempt.set(outer[1])
    return result


@contextlib.contextmanager
def outside_attempts() -> Iterator[Owner | None]:
    """Run a block outside of any attempt, and yield the one that started it."""
    from zrb_store.xcom import current_attempt

    ctx, attempt = inside.get(), current_attempt.get()
    inside.set(None)
    current_attempt.set(None)
    try:
        yield attempt
    finally:
        inside.set(ctx)
        current_attempt.set(attempt)


def task_name_of_action() -> str:
    """Return the name of the task whose action runs."""
    ctx = inside.get()
    if ctx is None:  # the template that asks for the name is not a task's
        raise AttributeError("ctx.task_name is known inside a task only")
    return str(ctx._task_name)


async def run_session(
    stock: Callable[Concatenate[AnyTask, Session, P], Awaitable[R]],
    task: AnyTask,
    session: Session,
    *args: P.args,
    **kwargs: P.kwargs,
) -> R | None:
    """Run the main task of a zrb session as zrb does, by `stock`, and store the session if it is to be stored."""
    replay: Callable[[], Awaitable[R]] | None = getattr(session, compat.REPLAYED, None)
    run = replay or functools.partial(stock, task, session, *args, **kwargs)
    for line in settings.unknown_variables():
        warn(line)
    where = attach.where_kept(task, session)
    if where == "memory":
        run_in_memory(session)
    if where != "store":
        return await run()
    in_memory = settings.choice("ZRB_STORE_UNAVAILABLE") == "memory"
    recorder: Recorder | None = None
    with outside_attempts() as outer:
        try:
            recorder = attach.attach(task, session, outer)
        except (StoreUnavailable, StoreMissing, SchemaAhead, SchemaBehind) as error:
            if not in_memory:
                raise
            warn(f"{error}; this run is kept in memory only (ZRB_STORE_UNAVAILABLE=memory)")
            run_in_memory(session)
        if recorder is None:  # not above, where the errors of tasks would come with that of the store
            return await run()
        if recorder.ended:
            session.get_task_status(task).mark_as_completed()
            session.terminate()
            result: R | None = recorder.result
            return result
        return await _conduct(recorder, run)


async def _conduct(recorder: Recorder, run: Callable[[], Awaitable[R]]) -> R:
    """Run zrb's session, then end its run and choose the error to raise."""
    signals.begin(recorder)
    failure: BaseException | None = None
    span = recorder.run.span
    if span is not None:
        span.enter()
    try:
        result = await run()
    except BaseException as error:  # noqa: BLE001 - raised again below, when the run has been ended
        failure = error
    # zrb swallows a cancellation up to and including 2.45, but the asyncio task remembers it.
    current = asyncio.current_task()
    interrupted = signals.received or (current is not None and current.cancelling() > 0)
    await recorder.wait_for_actions()
    failure, interrupted, is_waiting = _ending(recorder, failure, interrupted=interrupted)
    status = recorder.end(None if is_waiting else failure, interrupted=interrupted)
    if span is not None:
        span.leave()
        span.end(status)  # unless the store has recorded its end
    if is_waiting and recorder.fatal is None and status != "interrupted":  # by `stop`
        failure = _waiting_error(recorder, status)
    is_left = status not in ("completed", "waiting") and not hasattr(recorder.zrb_session, compat.REPLAYED)
    if is_left and recorder.fatal is None and recorder.zrb_session.parent is None:
        warn(_last_line(recorder, status))
    stopped = signals.received
    signals.end(recorder)
    if recorder.fatal is not None and stopped and not isinstance(failure, Exception):
        warn(str(recorder.fatal))  # the process ends by its signal, as stock zrb does
    elif recorder.fatal is not None:
        raise recorder.fatal from None
    if failure is not None:
        raise failure
    return result


class _Ending(NamedTuple):
    """How zrb's session ended."""

    failure: BaseException | None
    interrupted: bool
    is_waiting: bool


def _ending(recorder: Recorder, failure: BaseException | None, *, interrupted: bool) -> _Ending:
    """Tell how zrb's session ended. A step whose end is unknown counts before what zrb raised because of it."""
    uncertain = list(recorder.uncertain)
    if uncertain and not interrupted and not isinstance(failure, (SystemExit, KeyboardInterrupt)):
        failure = uncertain.pop(0)  # zrb only knows that a task was cancelled, or fails because of that
    for other in uncertain:
        warn(str(other))
    # A task that waits was cancelled, as zrb sees it.
    is_waiting = bool(recorder.waits) and not interrupted and isinstance(failure, asyncio.CancelledError | None)
    is_cancelled = isinstance(failure, (asyncio.CancelledError, KeyboardInterrupt)) and not is_waiting
    return _Ending(failure, interrupted or is_cancelled, is_waiting)


def _waiting_error(recorder: Recorder, status: str) -> ZrbStoreError:
    """Return the error that ends a run which waits."""
    from zrb_store.inspect import advice
    from zrb_store.queries.waits import parked

    run = recorder.run
    text = advice.waiting(run.session, parked(run.database, [run.session_id]), run.how_started)
    return SessionWaiting(text) if status == "waiting" else ZrbStoreError(f"{text}; and a task failed")


def _last_line(recorder: Recorder, status: str) -> str:
    start, path = recorder.run.how_started, recorder.zrb_session.task_path
    is_registered = path and speaker.program != PROGRAM  # else there is no `zrb xcom`
    return start._replace(path=path if is_registered else ()).last_line(status, program=speaker.program)
