"""How a run ends, judged by the attempts that failed and by zrb's own states."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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
            task: Name of the task.
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
            error: What zrb's engine raised.
            interrupted: Whether SIGINT, SIGTERM or a cancellation ended it.
        """
        done = (main.is_completed or main.is_skipped) and not self._failed and not self._exited
        if error is not None and not isinstance(error, STOPPING):
            return "failed"
        if done and not (interrupted and self._stopped):
            return "completed"
        return "interrupted" if interrupted and not self._exited else "failed"
