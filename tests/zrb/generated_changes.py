"""Run workflows that are described on stdin, change inputs of them with `resume --set`, and compare with a full run.

This runs in the environment of one release. Each line of stdin describes a workflow and two sets of inputs. The line of
the answer says which queues differ, how many tasks ran again, and how many of those did the same as before.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import itertools
import json
import os
import signal
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from zrb.input.str_input import StrInput

import zrb_store.plugin
from zrb_store import open_store, step
from zrb_store.inspect.resume import ResumeOptions
from zrb_store.plugin import compat
from zrb_store.plugin.graph import Graph
from zrb_store.plugin.resume import ResumeRequest, ZrbResumer

assert zrb_store.plugin is not None  # imported for its side effects
FAILS = "fails"  # the value of an input with which tasks that say so fail
INPUTS = [
    *(StrInput(name=name, default="0") for name in ("a", "b-c")),
    StrInput(name="made", default=lambda ctx: f"of {ctx.input.a}"),
]
_READ: dict[str, Callable[[Any, str], Any]] = {
    "name": lambda ctx, name: getattr(ctx.input, name.replace("-", "_")),
    "item": lambda ctx, name: ctx.input[name],
    "get": lambda ctx, name: ctx.input.get(name),
    "template": lambda ctx, name: ctx.render("{ctx.input." + name.replace("-", "_") + "}"),
    "whole": lambda ctx, name: dict(ctx.input)[name],
    "session": lambda ctx, name: ctx.session.shared_ctx.input[name],
}


class Workflow:
    """The tasks of one description.

    Attributes:
        did: What each task did when it last ran: what it read, took and gave.
        deadly: The task that kills its process, in the first run.
    """

    def __init__(self, described: dict[str, Any], name: str) -> None:
        self.did: dict[str, Any] = {}
        self.deadly: str | None = None
        self._tasks: list[Any] = []
        for number, task in enumerate(described["tasks"]):
            self._tasks.append(self._task(f"t{number}", task, described["tasks"][:number]))
        self.main = self._new(name, self._tasks, lambda ctx: sorted(map(str, ctx.xcom["shared"])))
        compat.cli.add_task(self.main)

    def _new(self, name: str, upstream: list[Any], act: Any, **more: Any) -> Any:
        async def action(ctx: Any) -> Any:
            await asyncio.sleep(0)
            self.did[name] = act(ctx)
            if name == self.deadly:
                os.kill(os.getpid(), signal.SIGKILL)
            return self.did[name]

        return compat.BaseTask(
            name=name, action=action, upstream=upstream, input=INPUTS, retries=0, retry_period=0, **more
        )

    def _task(self, name: str, described: dict[str, Any], before: list[dict[str, Any]]) -> Any:
        reads, how = described["reads"], _READ[described["how"]]
        takes = [f"t{other}" for other in described["takes"]]

        def act(ctx: Any) -> Any:
            def read() -> list[Any]:
                return [how(ctx, one) for one in reads]

            values = step("read", read) if described["in_step"] else read()
            if described["fails"] and how(ctx, described["fails"]) == FAILS:
                raise ValueError(name)
            taken = [ctx.xcom[other].pop() for other in takes if len(ctx.xcom[other])]
            for number in range(len(values)):
                ctx.xcom["shared"].push([name, number, values, taken])
            ctx.xcom[f"of {name}"].push(values)
            return [name, values, taken]

        more: dict[str, Any] = {}
        if described["condition"]:
            more["execute_condition"] = lambda ctx: _READ["name"](ctx, described["condition"]) != "1"
        if described["fallback"]:
            fallback = self._new(f"{name} failed", [], lambda ctx: ctx.xcom["shared"].push(f"{name} failed"))
            more["fallback"] = [fallback]
        return self._new(name, [self._tasks[other] for other in described["upstreams"]], act, **more)

    def start(self, name: str, inputs: dict[str, str]) -> None:
        """Run the whole workflow as a session of this name."""
        session = compat.Session(shared_ctx=compat.SharedContext(args=[]), root_group=compat.cli)
        session.set_main_task(self.main)
        record: Any = SimpleNamespace(name=name)  # there is no such session yet
        setattr(session, compat.RESUMED, ResumeRequest(record, Graph(session), ResumeOptions()))
        self.main.run(session, str_kwargs=inputs)

    def die(self, deadly: str, work: Callable[[], None]) -> None:
        """Do this in a process of its own, which a task kills."""
        child = os.fork()
        if child:
            os.waitpid(child, 0)
            return
        self.deadly = deadly
        with contextlib.suppress(BaseException):
            work()
        os._exit(0)


def queues(name: str) -> dict[str, list[str]]:
    """Return what lies in the queues of a session, without an order: tasks that run at the same time have none."""
    with open_store(read_only=True) as store:
        xcom = store.session(name).xcom
        return {queue: sorted(map(str, xcom[queue])) for queue in xcom if len(xcom[queue])}


def resume(name: str, changes: dict[str, str]) -> None:
    """Resume a session, with changes of its inputs."""
    resumer = ZrbResumer()
    with open_store(read_only=True) as store:
        resumer.plan(store, store.session(name).record(), ResumeOptions(changes=changes))
    resumer.accept()
    resumer.run()


def check(described: dict[str, Any], number: int) -> dict[str, Any]:
    """Run a workflow, change its inputs, and run it in full with the new ones."""
    name, before, now = f"w{number}", described["before"], described["now"]
    workflow = Workflow(described, name)
    changed, full = f"{name}-changed", f"{name}-full"
    deadly = f"t{(described['deadly'] or 0) % len(described['tasks'])}"
    if described["deadly"] is not None:
        workflow.die(deadly, lambda: workflow.start(changed, before))
    else:
        with contextlib.suppress(Exception):
            workflow.start(changed, before)
    if described["resumed"]:  # what was killed completes, without its steps
        with contextlib.suppress(Exception):
            resume(changed, {})
    done, workflow.did = workflow.did, {}
    changes = {key: value for key, value in now.items() if value != before.get(key)}
    if described["dies_again"]:
        workflow.die(deadly, lambda: resume(changed, changes))
        changes = {}
    resume(changed, changes)
    again, workflow.did = workflow.did, {}
    workflow.start(full, now)
    one, other = queues(changed), queues(full)
    repeated = [task for task in again if task in done and task != name]
    both = {queue: [one.get(queue), other.get(queue)] for queue in {*one, *other}}
    return {
        "differing": {queue: pair for queue, pair in both.items() if pair[0] != pair[1]},
        "again": len(repeated),
        "needless": sum(done[task] == again[task] for task in repeated),
        "kept": sum(task not in again for task in done),
    }


if __name__ == "__main__":
    for number, line in zip(itertools.count(), sys.stdin):
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as said:
            try:
                found = check(json.loads(line), number)
            except Exception as error:  # noqa: BLE001 - the test fails with it
                found = {"error": f"{type(error).__name__}: {error}\n{said.getvalue()}"}
        print(json.dumps(found), flush=True)
