"""One zrb session from its start to its end, and what the user is told about it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from zrb_store.plugin import attach, attempts, compat
from zrb_store.plugin.notes import warn

if TYPE_CHECKING:
    from zrb_store.plugin.recorder import Recorder


async def run(exec_root_tasks: Callable[[Any, Any], Any], task: Any, session: Any) -> Any:
    """Run the main task of a zrb session as zrb does, stored if it is to be stored."""
    if not attach.wanted(task, session):
        return await exec_root_tasks(task, session)
    with attempts.Outside() as outside:
        try:
            recorder = attach.attach(task, session, outside.attempt)
        except attach.Finished as finished:
            session.get_task_status(task).mark_as_completed()
            session.terminate()
            return finished.result
        if recorder is None:
            return await exec_root_tasks(task, session)
        return await _conduct(recorder, exec_root_tasks, task, session)


async def _conduct(recorder: Recorder, exec_root_tasks: Callable[[Any, Any], Any], task: Any, session: Any) -> Any:
    from zrb_store.plugin.signals import signals

    signals.begin(recorder)
    failure: BaseException | None = None
    result = None
    try:
        result = await exec_root_tasks(task, session)
    except BaseException as error:  # noqa: BLE001 - raised again below, when the run has been ended
        failure = error
    # zrb swallows a cancellation until 2.45: the asyncio task still knows of it.
    interrupted = signals.received or attempts.is_cancelled()
    interrupted = interrupted or isinstance(failure, (asyncio.CancelledError, KeyboardInterrupt))
    await recorder.settle()
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


def _how_to_resume(recorder: Recorder, outcome: str) -> str:
    name = recorder.run.session
    if recorder.zrb_session.task_path:
        return f"session {name} {_PAST[outcome]}; `{compat.cli.name} xcom resume {name}` runs what is left of it"
    return (
        f"session {name} {_PAST[outcome]}; start this program again with ZRB_STORE_SESSION={name} to run what is left"
    )


_PAST = {"failed": "failed", "interrupted": "was interrupted"}
