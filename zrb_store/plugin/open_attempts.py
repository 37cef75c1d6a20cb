"""The attempts of a session that are under way.

How a run ends, judged by the attempts that failed and by zrb's own states.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from zrb_store.attempt import Attempt
from zrb_store.errors import AttemptClosed
from zrb_store.plugin import queue as own_push
from zrb_store.plugin.ctx_xcom import CtxXcom
from zrb_store.plugin.graph import Graph
from zrb_store.plugin.messages import text_of_error
from zrb_store.plugin.queue import ZrbXcom, ZrbXcoms, forget_objects_of
from zrb_store.run import Run

if TYPE_CHECKING:
    from zrb.task.any_task import AnyTask
    from zrb.task_status.task_status import TaskStatus


STOPPING = (asyncio.CancelledError, KeyboardInterrupt, GeneratorExit)
"""The exceptions that stop an action rather than fail it."""


class Outcome:
    """How the last attempt of each task ended, if it did not complete."""

    def __init__(self) -> None:
        self._failed: set[str] = set()
        self._stopped: set[str] = set()
        self._exited: set[str] = set()

    def attempt_begins(self, task: str) -> None:
        """Forget how the task's attempt before this one ended."""
        for ended in (self._failed, self._stopped, self._exited):
            ended.discard(task)

    def attempt_ends(self, task: str, role: str, error: BaseException) -> None:
        """Record the exception that ended an attempt.

        Args:
            role: Its role.
            error: What its action raised.
        """
        if isinstance(error, SystemExit):
            self._exited.add(task)
        stopped = isinstance(error, STOPPING)
        # zrb stops servers and checks itself when all else is done.
        if role != "check" and not (stopped and role == "server"):
            (self._stopped if stopped else self._failed).add(task)

    def of_run(self, main: TaskStatus, error: BaseException | None, *, interrupted: bool) -> str:
        """Return how the run ends: `completed`, `failed` or `interrupted`.

        Args:
            main: zrb's status of the main task.
        """
        done = (main.is_completed or main.is_skipped) and not self._failed and not self._exited
        if error is not None and not isinstance(error, STOPPING):
            return "failed"
        if done and not (interrupted and self._stopped):
            return "completed"
        return "interrupted" if interrupted and not self._exited else "failed"


class OpenAttempts:
    """The attempts of a session that are under way."""

    def __init__(self, graph: Graph, run: Run, xcoms: ZrbXcoms, ctx_xcom: CtxXcom) -> None:
        """Begin with none.

        Args:
            run: The run that the attempts belong to.
            xcoms: The session's queues in the store.
            ctx_xcom: `ctx.xcom` of the session.
        """
        self._graph = graph
        self._run = run
        self._xcoms = xcoms
        self._ctx_xcom = ctx_xcom
        self._open: dict[str, Attempt] = {}
        self._working: set[asyncio.Task[Any]] = set()

    def of_task(self, task: AnyTask) -> Attempt | None:
        """Return the task's attempt that is under way, or None."""
        return self._open.get(self._graph.task_name(task))

    def is_open(self, attempt: Attempt) -> bool:
        """Whether this very attempt is under way."""
        return self._open.get(attempt.task) is attempt

    def begin(self, task: AnyTask) -> Attempt:
        """Begin an attempt of a task."""
        own_push.forget()
        attempt = self._run.begin(self._graph.task_name(task), role=self._graph.role(task))
        self._open[attempt.task] = attempt
        working = asyncio.current_task()
        if working is not None:
            self._working.add(working)
        return attempt

    def complete(self, attempt: Attempt, task: AnyTask, result: Any) -> None:
        """Complete an attempt with its result, in one transaction. zrb's own push of the result then does nothing.

        Raises:
            AttemptClosed: The attempt has ended before.
        """
        if self._graph.role(task) == "check":
            attempt.complete()
        else:
            queue = self._ctx_xcom[task.name]
            own = self._xcoms[self._graph.queue_name(task)]
            item = own.encode(result)
            if isinstance(queue, ZrbXcom) and queue.place != own.place:
                # The queue of this name is another session's (Callback.xcom_mapping): it gets the result too.
                queue.bound_to(attempt).append_quietly(result)
            attempt.complete(item, queue=own.name)
            if attempt.result_seq is not None:
                own.remember_object(attempt.result_seq, item, result)
            if isinstance(queue, ZrbXcom):
                own_push.expect(queue.place, result, fresh=True)
        self.close(attempt, stands=True)

    def fail(self, attempt: Attempt, task: AnyTask, error: BaseException) -> None:
        """Write that an attempt of a task ended by the exception that its action raised."""
        status = "interrupted" if isinstance(error, STOPPING) else "failed"
        with contextlib.suppress(AttemptClosed):
            attempt.fail(text_of_error(error, task, attempt), status)

    def close(self, attempt: Attempt, *, stands: bool) -> None:
        """Forget an attempt, which has ended."""
        forget_objects_of(attempt, stands=stands)
        self._open.pop(attempt.task, None)
        working = asyncio.current_task()
        if working is not None:
            self._working.discard(working)

    def cancel(self) -> set[asyncio.Task[Any]]:
        """Cancel every action under way but the current one, and return their asyncio tasks."""
        others = self._working - {asyncio.current_task()}
        for task in others:
            task.cancel()
        return others
