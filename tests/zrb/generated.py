"""Run generated workflows that die at generated places, and plan and resume them: `python generated.py FIRST COUNT`.

This runs in the environment of one release. Each line of the output names a workflow in which other tasks ran than had
been planned.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import random
import signal
import sys
import threading
from collections import Counter
from types import SimpleNamespace
from typing import Any

import zrb_store.plugin
from zrb_store import ZrbStoreError, open_store
from zrb_store.inspect.resume import ResumeOptions
from zrb_store.operations.mark import mark
from zrb_store.plugin import compat
from zrb_store.plugin.graph import Graph
from zrb_store.plugin.resume import ResumeRequest, ZrbResumer

assert zrb_store.plugin is not None  # imported for its side effects
decided: Counter[str] = Counter()


class Workflow:
    """Tasks of every kind, each referring only to earlier ones. Some of them die in the first run.

    Attributes:
        ran: The tasks that ran since the list was last cleared.
        mended: Whether tasks no longer die.
    """

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.ran: list[str] = []
        self.mended = False
        self.tasks: list[Any] = []
        count = self.dice.randint(2, 8)
        for number in range(count):
            self.tasks.append(self._task(f"t{number}", self._fallbacks(number), self._checks(number)))
        upstreams = self._some(0.5) or self.tasks[-1:]
        self.main = self._new_task(f"main-{seed}", upstream=upstreams, successor=self._some(0.1, without=upstreams))
        compat.cli.add_task(self.main)

    def _some(self, share: float, without: list[Any] | None = None) -> list[Any]:
        return [task for task in self.tasks if task not in (without or []) and self.dice.random() < share]

    def _fallbacks(self, number: int) -> list[Any]:
        return [self._new_task(f"f{number}", upstream=self._some(0.1))] if self.dice.random() < 0.2 else []

    def _checks(self, number: int) -> list[Any]:
        return [self._new_task(f"c{number}")] if self.dice.random() < 0.15 else []

    def _task(self, name: str, fallbacks: list[Any], checks: list[Any]) -> Any:
        upstreams = self._some(0.4)
        more: dict[str, Any] = {"readiness_check": checks, "readiness_check_delay": 0} if checks else {}
        condition = self.dice.random()
        if condition < 0.2:
            more["execute_condition"] = False if condition < 0.1 else lambda ctx: True
        successors = self._some(0.15, without=upstreams)
        return self._new_task(name, upstream=upstreams, successor=successors, fallback=fallbacks, **more)

    def _new_task(self, name: str, **more: Any) -> Any:
        death = self.dice.choice(["", "", "", "", "", "raise", "raise", "cancel", "kill"])
        result: Any = threading.Lock() if self.dice.random() < 0.3 else name
        wait = self.dice.choice([0, 0, 0.01])

        async def action(ctx: Any) -> Any:
            self.ran.append(name)
            await asyncio.sleep(wait)
            if death and not self.mended:
                if death == "kill":
                    os.kill(os.getpid(), signal.SIGKILL)
                raise ValueError(name) if death == "raise" else asyncio.CancelledError
            return result

        return compat.BaseTask(name=name, action=action, retries=self.dice.choice([0, 0, 1]), retry_period=0, **more)

    def describe(self) -> str:
        """Return every task with the tasks that it refers to."""
        parts = []
        for task in [self.main, *self.tasks]:
            kinds = ("upstreams", "successors", "fallbacks", "readiness_checks")
            refers = {kind: [other.name for other in getattr(task, kind)] for kind in kinds if getattr(task, kind)}
            parts.append(f"{task.name}{'' if compat.condition(task) else f'({compat.condition(task)})'}: {refers}")
        return "; ".join(parts)


def first_run(workflow: Workflow, name: str) -> None:
    """Run the workflow in its own process, which may be killed."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    try:
        session = compat.Session(shared_ctx=compat.SharedContext(args=[]), root_group=compat.cli)
        session.set_main_task(workflow.main)
        record: Any = SimpleNamespace(name=name)  # there is no such session yet
        setattr(session, compat.RESUMED, ResumeRequest(record, Graph(session), ResumeOptions()))
        workflow.main.run(session)
    finally:
        os._exit(0)


def differences(workflow: Workflow, name: str, forced: str | None) -> list[str]:
    """Plan and resume a session, and return how the two differ."""
    resumer = ZrbResumer()
    with open_store(read_only=True) as store:
        record = store.session(name).record()
        steps = resumer.plan(store, record, ResumeOptions(forced))
    planned = {step.task for step in steps if step.action == "run"}
    decided.update(step.action for step in steps)
    workflow.ran.clear()
    with contextlib.redirect_stdout(io.StringIO()):
        resumer.accept()
        resumer.run()
    with open_store(read_only=True) as store:
        status = store.session(name).status
    found = [] if status == "completed" else [f"it ended {status}"]
    # Older releases may start a server twice, when two of its upstreams complete at once.
    ran = set(workflow.ran)
    return found if planned == ran else [*found, f"planned {sorted(planned)}, ran {sorted(ran)}"]


def mark_one(workflow: Workflow, name: str) -> None:
    """Mark a task completed by hand."""
    with open_store(read_only=True) as store, contextlib.suppress(ZrbStoreError):
        steps = ZrbResumer().plan(store, store.session(name).record(), ResumeOptions())
        task = workflow.dice.choice([step.task for step in steps])
        with open_store() as writable:
            mark(writable.database, name, task)


def check(seed: int) -> list[str]:
    """Run a workflow, resume it, and run it again from one of its tasks; return the differences from the plans."""
    workflow = Workflow(seed)
    name = f"session-{seed}"
    first_run(workflow, name)
    workflow.mended = True
    if workflow.dice.random() < 0.3:
        mark_one(workflow, name)
    found = [f"resume: {one}" for one in differences(workflow, name, None)]
    found += [f"once more: {one}" for one in differences(workflow, name, None)]
    task = workflow.dice.choice([workflow.main, *workflow.tasks]).name
    # A task that nothing starts is refused.
    with contextlib.suppress(ZrbStoreError):
        found += [f"from {task}: {one}" for one in differences(workflow, name, task)]
    return [f"{seed}: {one} [{workflow.describe()}]" for one in found]


if __name__ == "__main__":
    first, count = map(int, sys.argv[1:])
    for number in range(first, first + count):
        for line in check(number):
            print(line)
    print(f"checked {count}: {decided['run']} to run, {decided['skip']} to skip")
