"""Replay random attempts of random workflows of zrb: `python -m tests.replay.programs COUNT [SQLite|PostgreSQL]`.

Tasks push, take and move values of their session's queues and of a shared queue, run steps, fail, retry, hold values
while others work, and die; then the session is resumed. What a task does is decided by its name and its attempt alone,
and its result tells all that it sees, so that a replay does the same if, and only if, everything is as it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import zrb_store.plugin
from tests.support.forks import fork
from tests.support.postgres import private_server
from zrb_store import cli, open_store, step
from zrb_store.inspect.resume import ResumeOptions
from zrb_store.plugin import compat
from zrb_store.plugin.graph import Graph
from zrb_store.plugin.resume import ResumeRequest, ZrbResumer
from zrb_store.queries import attempts
from zrb_store.records import AttemptRecord
from zrb_store.replay import queries
from zrb_store.replay.tasks import Replayer

assert zrb_store.plugin is not None  # imported for its side effects
QUEUES = ("p", "q", "r")
SHARED = ("inbox", "files")


def exchange(queue: Any, value: str) -> Any:
    """Push a value and take the oldest one."""
    queue.push(value)
    return queue.pop()


class Workflow:
    """Tasks that do the same again if they find the same. In the second run fewer of them fail."""

    def __init__(self, seed: int, run: int) -> None:
        self.seed, self.run = seed, run
        dice = random.Random(f"workflow {seed}")
        tasks: list[Any] = []
        for number in range(dice.randint(2, 6)):
            upstreams = [task for task in tasks if dice.random() < 0.4]
            tasks.append(self._task(f"t{number}", dice, upstream=upstreams))
        self.main = self._task(f"main-{seed}", dice, upstream=tasks)
        compat.cli.add_task(self.main)

    def _task(self, name: str, dice: random.Random, **more: Any) -> Any:
        holds = dice.random() < 0.3

        async def action(ctx: Any) -> Any:
            own = random.Random(f"{self.seed} {name} {ctx.attempt} {self.run}")
            result = self._work(name, ctx, own)
            if holds:
                await asyncio.sleep(own.choice([0, 0.01, 0.03]))
            end = own.random() * self.run
            if end < 0.06:
                os.kill(os.getpid(), signal.SIGKILL)
            if end < 0.3:
                raise ValueError(f"{name} found {result}")
            return result

        return compat.BaseTask(name=name, action=action, retries=dice.choice([0, 1, 2]), retry_period=0, **more)

    def _work(self, name: str, ctx: Any, dice: random.Random) -> list[Any]:
        seen: list[Any] = []
        with open_store() as store:
            shared = store.session(SHARED[0]).xcom[SHARED[1]]
            if name == "t0":
                shared.push(f"t0.{self.run}.{ctx.attempt}")  # a session that is only read is not in the scratch store
            for number in range(dice.randint(1, 7)):
                value = f"{name}.{self.run}.{ctx.attempt}.{number}"
                queue = shared if dice.random() < 0.3 else ctx.xcom[dice.choice(QUEUES)]
                do = dice.choice(["push", "push", "pop", "pop", "right", "left", "rotate", "clear", "step", "item"])
                if do == "step":
                    seen.append(step(f"s{number}", functools.partial(exchange, queue, value)))
                elif do in ("push", "left"):
                    (queue.push if do == "push" else queue.appendleft)(value)
                elif not queue:
                    seen.append(None)
                elif do in ("pop", "right"):
                    seen.append(queue.pop() if do == "pop" else queue.popright())
                elif do == "item":
                    queue[0] = value
                else:
                    getattr(queue, do)()
            seen += [list(ctx.xcom[queue]) for queue in QUEUES]
            return [*seen, list(shared), ctx.attempt]


def in_child(work: Callable[[], int | None], output: Path) -> tuple[int, str]:
    """Do something in a child process, and return its exit code and what it printed."""

    def child() -> None:
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for number in (1, 2):
            os.dup2(descriptor, number)
        os._exit(work() or 0)

    code = os.waitstatus_to_exitcode(os.waitpid(fork(child), 0)[1])
    return code, output.read_text(errors="replace")


def begin(seed: int) -> None:
    """Run the workflow of a seed for the first time."""
    workflow = Workflow(seed, 1)
    session = compat.Session(shared_ctx=compat.SharedContext(args=[]), root_group=compat.cli)
    session.set_main_task(workflow.main)
    record: Any = SimpleNamespace(name=f"s{seed}")  # there is no such session yet
    setattr(session, compat.RESUMED, ResumeRequest(record, Graph(session), ResumeOptions()))
    with contextlib.suppress(Exception):
        workflow.main.run(session)


def resume(seed: int) -> None:
    """Resume it."""
    Workflow(seed, 2)
    resumer = ZrbResumer()
    if cli.run(["resume", f"s{seed}"], "zrb xcom", resumer) == 0:
        with contextlib.suppress(Exception):
            resumer.run()


def stored(seed: int) -> list[AttemptRecord]:
    """Return the attempts of a session that can be replayed."""
    with open_store(read_only=True) as store:
        found = attempts.of_session(store.database, store.session(f"s{seed}").record().id)
    return [each for each in found if each.kind == "task"]


def first_takes(location: str | None, attempt: AttemptRecord) -> set[tuple[str, str, int]]:
    """Return the values that an attempt took at first, before any other event; in a kept store its replay."""
    with open_store(location, read_only=True) as store:
        found = attempts.by_name(store.database, attempt.session, attempt.task, attempt.number)
        assert found is not None
        with store.database.snapshot() as rows:
            taken = list(queries.handled(rows, "taken", found.id))
    return {(each.session, each.queue, each.seq) for each in taken if each.tick == taken[0].tick}


def check(seed: int, attempt: AttemptRecord, folder: Path) -> list[str]:
    """Replay an attempt, and return what differs."""
    kept, name = folder / "kept.db", f"{attempt.session}/{attempt.name}"

    def again() -> int:
        Workflow(seed, attempt.run or 0)
        return cli.run(["replay", name, "--diff", "--yes", "--keep", str(kept)], "zrb xcom", Replayer())

    code, output = in_child(again, folder / "output")
    if attempt.status not in ("completed", "failed"):  # nobody knows how far it had come
        code = 0
    then, now = first_takes(None, attempt), first_takes(str(kept), attempt)
    for file in folder.glob("kept.db*"):
        file.unlink()
    found = [] if code == 0 else [f"{name} ended with {code}: {output}"]
    return found if then <= now else [*found, f"{name} first took {now}, not {then}"]


def replay_some(location: str, folder: Path, count: int, seed: int) -> str:
    """Replay so many attempts of a store, and return what was done; fail if one differs."""
    os.environ["ZRB_STORE_URL"] = location
    os.chdir(folder)
    dice, kinds, done, began = random.Random(seed), Counter[str](), 0, time.monotonic()
    while done < count:
        seed += 1
        with open_store() as store:
            shared = store.session(SHARED[0]).xcom[SHARED[1]]
            shared.push(f"from outside {seed}")
            assert list(shared)  # reclaims what a session before held when it died, before an attempt does that
        in_child(functools.partial(begin, seed), folder / "output")
        in_child(functools.partial(resume, seed), folder / "output")
        known = stored(seed)
        for attempt in dice.sample(known, min(len(known), 5, count - done)):
            assert (found := check(seed, attempt, folder)) == [], "\n".join(found)
            kinds[attempt.status] += 1
            done += 1
            if done % 20 == 0:
                print(f"{done} of {count}", file=sys.stderr, flush=True)
    what = ", ".join(f"{number} {kind}" for kind, number in sorted(kinds.items()))
    return f"{done} attempts replayed ({what}) in {time.monotonic() - began:.0f} s: no difference"


def main(count: int, *databases: str) -> None:
    """Replay attempts on both databases, or only on those that are named."""
    with tempfile.TemporaryDirectory(prefix="zrb-replays-") as folder, contextlib.ExitStack() as stack:
        for name in databases or ("SQLite", "PostgreSQL"):
            seed = random.randrange(10**6)
            is_file = name == "SQLite"
            location = f"{folder}/store.db" if is_file else stack.enter_context(private_server()).url
            print(f"{name}, seed {seed}: {replay_some(location, Path(folder), count, seed)}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
