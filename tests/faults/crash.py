"""Kill a workflow at every commit point and at random moments, and check what it leaves behind.

`make crash` runs this module as a program: a thousand kills on each database and a thousand of a zrb task with steps,
two hundred of zrb and scripts while a command works, five hundred of programs that write to a user's tables, a
hundred rounds of eight processes that open a new store at once, consumers that are killed for a minute, 5,000 answers
that race with sessions that park, and outages of 90 s. `make test` kills at each point once and five times at random.
`python -m tests.faults.crash 200 20 PostgreSQL` does a fifth of it on one database.

After each kill the rows and the file are sound, everything acknowledged is there, and no completion is half done. After
the workflow has been started again and has finished, its queues equal those of an undisturbed run.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import select
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tests.agents.crash import kill_agents
from tests.agents.crash_programs import kill_agent_programs
from tests.faults.crash_commands import kill_commands
from tests.faults.crash_scripts import kill_scripts
from tests.faults.crash_steps import kill_steps
from tests.faults.crash_waits import race, race_zrb
from tests.faults.elsewhere import lose_the_server, outlive, suspend
from tests.faults.fire import consume_under_fire
from tests.faults.workload import prepare, result, workflow
from tests.own_tables import crash as own_tables
from tests.shell.fire import consume_in_shells_under_fire
from tests.support.forks import fork
from tests.support.places import Files, Places, Schemas
from tests.support.postgres import private_server
from tests.support.processes import children
from tests.support.rows import faults, query, states
from tests.support.workers import push_and_take
from zrb_store import Store, open_store
from zrb_store.db import transaction
from zrb_store.queries import lease
from zrb_store.queries.lease import SUSPICION
from zrb_store.testing import crash_at

DEADLINE = 600.0
PROCESSES = 8


@dataclass
class Figures:
    """What was killed, and what was found afterwards."""

    kills: Counter[str] = field(default_factory=Counter)
    points: set[str] = field(default_factory=set)
    found: Counter[str] = field(default_factory=Counter)
    unacknowledged: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        found = ", ".join(f"{count} {what}" for what, count in sorted(self.found.items()))
        return (
            f"{self.kills.total()} kills in {self.seconds:.0f} s: {self.kills['at a point']} at {len(self.points)} "
            f"named points, {self.kills['at random']} at random moments; acknowledged and found again: {found}; "
            f"done but not acknowledged: {self.unacknowledged}; half done or lost: 0"
        )


@dataclass
class Outcome:
    """How one process that ran the workflow ended, and what it had acknowledged by then."""

    status: int
    seconds: float
    acknowledged: list[tuple[str, Any]]


def run_workflow(
    location: str, crash: Callable[[], contextlib.AbstractContextManager[None]], patience: float
) -> Outcome:
    """Run the workflow in a child process, which is killed after `patience` seconds."""
    ours, theirs = os.pipe()
    began = time.monotonic()

    def acknowledge(what: str, which: Any) -> None:
        os.write(theirs, f"{json.dumps([what, which])}\n".encode())

    def work() -> None:
        with open_store(location) as store, crash():
            if store.database.dialect_name == "sqlite":
                store.database.transact(lambda t: t.driver.execute("PRAGMA wal_autocheckpoint = 20"))
            workflow(store, acknowledge)

    child = fork(work)
    os.close(theirs)
    text = b""
    while ready := select.select([ours], [], [], max(began + patience - time.monotonic(), 0))[0]:
        part = os.read(ours, 65536)
        text += part
        if not part:
            break
    if not ready:
        os.kill(child, signal.SIGKILL)
        while part := os.read(ours, 65536):
            text += part
    os.close(ours)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return Outcome(status, time.monotonic() - began, [tuple(json.loads(line)) for line in text.splitlines()])


def check_store(store: Store, outcomes: list[Outcome], figures: Figures | None = None) -> None:
    """Check what must hold at any time, after any number of kills."""
    assert faults(store) == []
    if store.database.dialect_name == "sqlite":
        assert query(store, "PRAGMA integrity_check") == [("ok",)]
    acknowledged = {
        what: [which for outcome in outcomes for kind, which in outcome.acknowledged if kind == what]
        for what in ("pushes", "pops", "completions")
    }
    kills = sum(outcome.status != 0 for outcome in outcomes)
    journal = [value for value, state in states(store, "shared", "journal") if state == "live"]
    assert [value for value in journal if value in acknowledged["pushes"]] == acknowledged["pushes"]
    taken = [value for value, state in states(store, "shared", "tickets") if state == "taken"]
    assert taken == list(range(len(taken)))
    assert [value for value in taken if value in acknowledged["pops"]] == acknowledged["pops"]
    unacknowledged = len(journal) - len(acknowledged["pushes"]) + len(taken) - len(acknowledged["pops"])
    assert unacknowledged <= kills
    completed = query(
        store,
        "SELECT a.task || '#' || a.number, v.data FROM zrb_attempt a "
        "JOIN zrb_value v ON v.queue_id = a.result_queue_id AND v.seq = a.result_seq WHERE a.status = 'completed'",
    )
    for name, value in acknowledged["completions"]:
        assert (name, str(value)) in [tuple(row) for row in completed]
    if figures:
        figures.found.update({what: len(which) for what, which in acknowledged.items()})
        figures.unacknowledged += unacknowledged


def kill(places: Places, count: int, seed: int) -> Figures:
    """Kill the workflow once at each named point and five times at random, or `count` times, half of them at points.

    It may finish after every one to three kills, or with a `count` of 0, after five.
    """
    generator = random.Random(seed)
    figures = Figures()
    began = time.monotonic()
    location = places.new()
    visits, usual, expected = run_undisturbed(location)
    todo = itertools.chain.from_iterable(iter(lambda: generator.sample(visits, len(visits)), None))
    first = dict.fromkeys(visit[0] for visit in visits)  # once each before any point is visited again
    at_points = itertools.chain(((point, 1) for point in first), todo)
    while figures.kills.total() < max(count, len(first) + 5):
        location = places.new()
        outcomes: list[Outcome] = []
        for _ in range(generator.choice((1, 1, 2, 3) if count else (5,))):
            if figures.kills["at a point"] < count // 2 or figures.kills["at a point"] < len(first):
                point, visit = next(at_points)
                outcome = run_workflow(location, partial(crash_at, point, visit=visit, kill=True), DEADLINE)
                kind = "at a point"
                figures.points.add(point)
            else:
                outcome = run_workflow(location, contextlib.nullcontext, generator.uniform(0, usual))
                kind = "at random"
            outcomes.append(outcome)
            if outcome.status == 0:  # it finished before it could be killed
                break
            assert outcome.status == -signal.SIGKILL
            figures.kills[kind] += 1
            with open_store(location) as store:
                check_store(store, outcomes)
        outcomes.append(run_workflow(location, contextlib.nullcontext, DEADLINE))
        assert outcomes[-1].status == 0
        with open_store(location) as store:
            check_store(store, outcomes, figures)
            assert result(store) == expected
            assert store.session("flow").status == "completed"
    figures.seconds = time.monotonic() - began
    return figures


def run_undisturbed(location: str) -> tuple[list[tuple[str, int]], float, dict[str, list[Any]]]:
    """Run the workflow undisturbed: return every visit of every point, how long it took, and its result."""
    ours, theirs = os.pipe()
    counts: Counter[str] = Counter()

    def reached(point: str) -> None:
        counts[point] += 1
        os.write(theirs, f"{point} {counts[point]}\n".encode())

    @contextlib.contextmanager
    def watching() -> Iterator[None]:
        transaction.set_callback(reached)
        yield

    outcome = run_workflow(location, watching, DEADLINE)
    os.close(theirs)
    assert outcome.status == 0
    with os.fdopen(ours) as lines:
        visits = [(point, int(visit)) for point, visit in (line.split() for line in lines)]
    with open_store(location) as store:
        check_store(store, [outcome])
        return visits, outcome.seconds, result(store)


def open_at_once(places: Places, rounds: int) -> str:
    """Let several processes open a new store at the same moment, again and again."""
    began = time.monotonic()
    for _ in range(rounds):
        location = places.new(empty=True)
        wait, go = os.pipe()

        def work(number: int, location: str = location, wait: int = wait, go: int = go) -> None:
            os.close(go)
            os.read(wait, 1)  # returns when the other end is closed
            with open_store(location) as store:
                store.session("s").xcom["q"].push(number)

        pids = [fork(partial(work, number)) for number in range(PROCESSES)]
        os.close(wait)
        os.close(go)
        assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids] == [0] * PROCESSES
        with open_store(location) as store:
            assert sorted(store.session("s").xcom["q"]) == list(range(PROCESSES))
            assert faults(store) == []
    return (
        f"{rounds} rounds of {PROCESSES} processes opening a new store in {time.monotonic() - began:.0f} s: all made it"
    )


def kill_while_making(places: Places, rounds: int) -> str:
    """Kill a process that is creating a store; the next process must be able to create it."""
    began = time.monotonic()
    usual = 0.0
    for round_ in range(rounds):
        location = places.new(empty=True)
        alive, ours = os.pipe()
        begun = time.monotonic()
        child = fork(lambda location=location: open_store(location).close())  # type: ignore[misc]
        os.close(ours)
        if round_:  # the first round measures how long it takes
            select.select([alive], [], [], random.uniform(0, usual))
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(alive)
        usual = usual or time.monotonic() - begun
        with open_store(location) as store:
            store.session("s").xcom["q"].push(round_)
            assert list(store.session("s").xcom["q"]) == [round_]
            assert faults(store) == []
    return f"{rounds} kills while a new store is made in {time.monotonic() - began:.0f} s: the next process made it"


def share_queues(places: Places, rounds: int) -> str:
    """Let several processes push to and take from the same queues."""
    location = places.new()
    with children(PROCESSES, push_and_take, location, 0, rounds) as processes:
        for process in processes:
            process.receive()
        began = time.monotonic()
        for process in processes:
            process.send("go")
        answers = [process.receive() for process in processes]
        seconds = time.monotonic() - began
    done = 4 * rounds * PROCESSES
    longest = max(longest for _, _, longest in answers)
    return (
        f"{PROCESSES} processes at two queues: {done} operations in {seconds:.1f} s, the longest took "
        f"{longest * 1000:.0f} ms; no error"
    )


def kill_consumers(places: Places, kills: int) -> str:
    """Kill consumers of a shared queue, one each second, while one value in a hundred kills whoever takes it."""
    return consume_under_fire(places.new(), consumers=PROCESSES, values=20_000, kills=kills, pause=1.0)


def kill_shell_consumers(places: Places, folder: Path, kills: int) -> str:
    """Kill processes of `zrb-store consume`, one each second, while one value in a hundred kills its consumer."""
    values, poison = 2000, 20
    folder.mkdir()
    began = time.monotonic()
    consume_in_shells_under_fire(
        folder,
        places.new(),
        consumers=PROCESSES,
        values=values,
        poison=poison,
        kills=kills,
        pause=1.0,
        max_deliveries=5,
    )
    return (
        f"{PROCESSES} shell consumers, {kills} of them killed: {values - poison} good values were done once each, and "
        f"{poison} poison values died after 5 deliveries, in {time.monotonic() - began:.0f} s"
    )


def kill_on_one_database(pipe: Connection, kind: str, where: str, count: int, seed: int) -> None:
    """Call `kill` on one database and send its figures and points, or the error.

    This is the function of a child process without threads, since only such a process may safely fork.
    """
    places = Files(Path(where), prepare) if kind == "sqlite" else Schemas(where, f"crash_{os.getpid()}", prepare)
    try:
        figures = kill(places, count, seed)
        kill_while_making(places, 5)
        pipe.send((str(figures), figures.points))
    except BaseException:
        pipe.send((traceback.format_exc(), set()))
        raise


def main(count: int = 1000, rounds: int = 100, *, databases: Sequence[str] = ()) -> None:
    """Run everything on both databases, or only on those that are named."""
    seed = random.randrange(10**6)
    with tempfile.TemporaryDirectory(prefix="zrb-crash-") as folder, private_server() as server:
        for name, places in (
            ("SQLite", Files(Path(folder), prepare)),
            ("PostgreSQL", Schemas(server.url, "crash", prepare)),
        ):
            if databases and name not in databases:
                continue
            report = partial(print, f"{name}, seed {seed}:", flush=True)
            report(kill(places, count, seed))
            report(
                kill_steps(Path(folder) / f"steps-{name}", server.url if name == "PostgreSQL" else None, count, seed)
            )
            report(
                kill_scripts(
                    Path(folder) / f"scripts-{name}", server.url if name == "PostgreSQL" else None, count // 2, seed
                )
            )
            report(kill_commands(Path(folder) / f"commands-{name}", places, count // 5, seed))
            report(race(places.new(), count * 5, seed))
            report(race_zrb(Path(folder) / f"waits-{name}", places.new(), count * 3 // 20, seed))
            report(kill_agents(Path(folder) / f"agents-{name}", places.new(), count // 5, seed))
            report(kill_agent_programs(Path(folder) / f"programs-{name}", places.new(), count // 5, seed))
            report(kill_while_making(places, rounds))
            report(open_at_once(places, rounds))
            report(share_queues(places, 2000))
            report(kill_consumers(places, rounds * 6 // 10))
            report(kill_shell_consumers(places, Path(folder) / f"shells-{name}", rounds * 6 // 10))
            report(outlive(places.new(empty=True), lease.DURATION, SUSPICION, suspend(rounds * 0.9)))
    if not databases:
        own_tables.main(count // 2, seed=seed)
    if not databases or "PostgreSQL" in databases:
        print("PostgreSQL:", lose_the_server(rounds * 0.9, SUSPICION, lease.DURATION), flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]), databases=sys.argv[3:])
