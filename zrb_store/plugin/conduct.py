"""Conduct one zrb session from its start to its end, and say how to resume it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from zrb_store import settings
from zrb_store.plugin import attach, attempts, in_memory
from zrb_store.plugin.messages import speaker, warn
from zrb_store.plugin.signals import signals

if TYPE_CHECKING:
    from zrb.task.any_task import AnyTask

    from zrb_store.plugin.recorder import Recorder


async def run_session(exec_root_tasks: Callable[[Any, Any], Any], task: AnyTask, session: Any) -> Any:
    """Run the main task of a zrb session as zrb does, and store the session if it is to be stored."""
    for line in settings.unknown_variables():
        warn(line)
    if not attach.is_to_be_stored(task, session):
        if attach.is_users_run(task, session):
            in_memory.run_in_memory(session)
        return await exec_root_tasks(task, session)
    with attempts.outside_attempts() as outer:
        try:
            recorder = attach.attach(task, session, outer)
        except attach.AlreadyCompleted as completed:
            warn(str(completed))
            session.get_task_status(task).mark_as_completed()
            session.terminate()
            return completed.result
        if recorder is None:
            in_memory.run_in_memory(session)
            return await exec_root_tasks(task, session)
        return await _conduct(recorder, exec_root_tasks, task, session)


async def _conduct(recorder: Recorder, exec_root_tasks: Callable[[Any, Any], Any], task: AnyTask, session: Any) -> Any:
    signals.begin(recorder)
    failure: BaseException | None = None
    result = None
    try:
        result = await exec_root_tasks(task, session)
    except BaseException as error:  # noqa: BLE001 - raised again below, when the run has been ended
        failure = error
    # zrb swallows a cancellation up to and including 2.45, but the asyncio task remembers it.
    interrupted = signals.received or _is_cancelled()
    await recorder.wait_for_actions()
    uncertain = list(recorder.uncertain)
    if uncertain and not interrupted and not isinstance(failure, (SystemExit, KeyboardInterrupt)):
        failure = uncertain.pop(0)  # zrb only knows that a task was cancelled, or fails because of that
    for other in uncertain:
        warn(str(other))
    interrupted = interrupted or isinstance(failure, (asyncio.CancelledError, KeyboardInterrupt))
    outcome = recorder.end(failure, interrupted=interrupted)
    if outcome != "completed" and recorder.fatal is None and session.parent is None:
        warn(_how_to_resume(recorder, outcome))
    stopped = signals.received
    signals.end(recorder)
    if recorder.fatal is not None and stopped and not isinstance(failure, Exception):
        warn(str(recorder.fatal))  # the process ends by its signal, as stock zrb does
    elif recorder.fatal is not None:
        raise recorder.fatal from None
    if failure is not None:
        raise failure
    return result


def _is_cancelled() -> bool:
    """Whether the running asyncio task was asked to stop."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _how_to_resume(recorder: Recorder, outcome: str) -> str:
    name = recorder.run.session
    if recorder.zrb_session.task_path and speaker.can_resume:
        return f"session {name} {_PAST[outcome]}; `{speaker.program} resume {name}` runs what is left of it"
    what = "task" if recorder.zrb_session.task_path else "program"
    return f"session {name} {_PAST[outcome]}; start this {what} again with ZRB_STORE_SESSION={name} to run what is left"


_PAST = {"failed": "failed", "interrupted": "was interrupted"}
