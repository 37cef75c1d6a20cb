"""Generated workflows that die at generated places, are planned and resumed: `python generated.py FIRST COUNT`.

Runs inside one release's environment. Each line of the output tells where what ran is not what had been planned.
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
from typing import Any

import zrb_store.plugin
from zrb_store import ZrbStoreError, open_store
from zrb_store.cli.resume import Request
from zrb_store.operations.mark import mark_completed
from zrb_store.plugin import attach, compat, resume

assert zrb_store.plugin is not None  # imported for what it does
decided: Counter[str] = Counter()


class Workflow:
    """Tasks of every kind, each referring only to earlier ones; some of them die in the first run.

    Attributes:
        ran: What ran since it was last cleared.
        mended: Whether nothing dies any more.
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
        self.main = self._made(f"main-{seed}", upstream=upstreams, successor=self._some(0.1, without=upstreams))
        compat.cli.add_task(self.main)

    def _some(self, share: float, without: list[Any] | None = None) -> list[Any]:
        return [task for task in self.tasks if task not in (without or []) and self.dice.random() < share]

    def _fallbacks(self, number: int) -> list[Any]:
        return [self._made(f"f{number}", upstream=self._some(0.1))] if self.dice.random() < 0.2 else []

    def _checks(self, number: int) -> list[Any]:
        return [self._made(f"c{number}")] if self.dice.random() < 0.15 else []

    def _task(self, name: str, fallbacks: list[Any], checks: list[Any]) -> Any:
        upstreams = self._some(0.4)
        more: dict[str, Any] = {"readiness_check": checks, "readiness_check_delay": 0} if checks else {}
        condition = self.dice.random()
        if condition < 0.2:
            more["execute_condition"] = False if condition < 0.1 else lambda ctx: True
        successors = self._some(0.15, without=upstreams)
        return self._made(name, upstream=upstreams, successor=successors, fallback=fallbacks, **more)

    def _made(self, name: str, **more: Any) -> Any:
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
        """Every task with what it refers to."""
        parts = []
        for task in [self.main, *self.tasks]:
            kinds = ("upstreams", "successors", "fallbacks", "readiness_checks")
            refers = {kind: [other.name for other in getattr(task, kind)] for kind in kinds if getattr(task, kind)}
            parts.append(f"{task.name}{'' if compat.condition(task) else f'({compat.condition(task)})'}: {refers}")
        return "; ".join(parts)


def first_run(workflow: Workflow, name: str) -> None:
    """Run it in a process of its own, which may be killed."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    try:
        session = compat.Session(shared_ctx=compat.SharedContext(args=[]), root_group=compat.cli)
        setattr(session, attach.NAME, name)
        workflow.main.run(session)
    finally:
        os._exit(0)


def differences(workflow: Workflow, name: str, forced: str | None) -> list[str]:
    """Plan and resume a session, and say where the two differ."""
    with open_store(read_only=True) as store:
        record = store.session(name).record()
        steps = resume.plan_of(store, record, forced)
    planned = {step.task for step in steps if step.action == "run"}
    decided.update(step.action for step in steps)
    workflow.ran.clear()
    with contextlib.redirect_stdout(io.StringIO()):
        resume._resume(Request(record, forced))
    with open_store(read_only=True) as store:
        status = store.session(name).status
    found = [] if status == "completed" else [f"it ended {status}"]
    # Older releases may start a server twice, when two of its upstreams are done at once.
    ran = set(workflow.ran)
    return found if planned == ran else [*found, f"planned {sorted(planned)}, ran {sorted(ran)}"]


def mark_one(workflow: Workflow, name: str) -> None:
    """Mark a task completed that is not."""
    with open_store(read_only=True) as store, contextlib.suppress(ZrbStoreError):
        steps = resume.plan_of(store, store.session(name).record(), None)
        task = workflow.dice.choice([step.task for step in steps])
        with open_store() as writable:
            mark_completed(writable.database, name, task)


def check(seed: int) -> list[str]:
    """A workflow from its first run to one that is run again from one of its tasks."""
    workflow = Workflow(seed)
    name = f"session-{seed}"
    first_run(workflow, name)
    workflow.mended = True
    if workflow.dice.random() < 0.3:
        mark_one(workflow, name)
    found = [f"resume: {one}" for one in differences(workflow, name, None)]
    found += [f"once more: {one}" for one in differences(workflow, name, None)]
    task = workflow.dice.choice([workflow.main, *workflow.tasks]).name
    # What nothing starts is refused.
    with contextlib.suppress(ZrbStoreError):
        found += [f"from {task}: {one}" for one in differences(workflow, name, task)]
    return [f"{seed}: {one} [{workflow.describe()}]" for one in found]


if __name__ == "__main__":
    first, count = map(int, sys.argv[1:])
    for number in range(first, first + count):
        for line in check(number):
            print(line)
    print(f"checked {count}: {decided['run']} to run, {decided['skip']} to skip")
