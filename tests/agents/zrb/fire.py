"""Kill an agent at random, resume it, and check that nothing that was done is done again."""

from __future__ import annotations

import json
import os
import random
import re
import select
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

from tests.support.rows import faults, query, states
from zrb_store import open_store

DEADLINE = 600.0
SERVER = Path(__file__).with_name("warm.py")


_ENVIRON = {
    "PATH": os.environ["PATH"],
    "PYTHONPATH": str(Path(__file__).parents[3]),  # this checkout
    "ZRB_INIT_MODULES": "zrb_store.plugin",
}


@dataclass
class Project:
    """A folder with a `zrb_init.py`.

    Attributes:
        folder: The folder.
        environ: The environment of its zrb.
    """

    folder: Path
    environ: dict[str, str]

    @property
    def output(self) -> Path:
        """The output of the last run."""
        return self.folder / "output"

    @property
    def calls(self) -> list[tuple[str, str]]:
        """The calls of models and tools, and whether each begins or ends."""
        log = self.folder / "calls"
        lines = log.read_text().splitlines() if log.exists() else []
        return [(name, what) for name, what, _ in (line.split("\t") for line in lines)]

    @property
    def begun(self) -> Counter[str]:
        """How often each call of a model or a tool began."""
        return Counter(name for name, what in self.calls if what == "begin")

    def forget(self) -> None:
        """Forget the calls."""
        (self.folder / "calls").unlink(missing_ok=True)


class WarmZrb:
    """Runs zrb in forks of a process that has loaded it (see warm.py)."""

    def __init__(self, python: Path) -> None:
        self._home = TemporaryDirectory()  # zrb writes there
        environ = {**_ENVIRON, "HOME": self._home.name}
        self._server = subprocess.Popen(
            [str(python), str(SERVER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ
        )
        self._read = b""
        assert self._line(DEADLINE) == "ready"

    def _pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        return self._server.stdin, self._server.stdout

    def _line(self, patience: float) -> str | None:
        _, stdout = self._pipes()
        while b"\n" not in self._read:
            if not select.select([stdout], [], [], patience)[0]:
                return None
            part = os.read(stdout.fileno(), 4096)
            assert part, "the server has died"
            self._read += part
        line, _, self._read = self._read.partition(b"\n")
        return line.decode()

    def run(
        self, project: Project, *args: str, kill_when: Callable[[], bool] | None = None, **env: str
    ) -> tuple[int, str]:
        """Run zrb, and kill it when the condition holds.

        Returns:
            The exit status, negative for a signal, and the output.
        """
        order = {
            "args": args,
            "cwd": str(project.folder),
            "env": {**project.environ, **env},
            "output": str(project.output),
        }
        stdin, _ = self._pipes()
        stdin.write(json.dumps(order).encode() + b"\n")
        stdin.flush()
        pid = int(self._line(DEADLINE) or "")
        ends = time.monotonic() + DEADLINE
        status = None
        while status is None:
            assert time.monotonic() < ends, project.output.read_text()
            if kill_when is not None and kill_when():
                with suppress(ProcessLookupError):  # it may have ended a moment ago
                    os.kill(pid, signal.SIGKILL)
                kill_when = None
            status = self._line(1.0 if kill_when is None else 0.002)
        return int(status), project.output.read_text()

    def close(self) -> None:
        """End the server."""
        stdin, stdout = self._pipes()
        stdin.close()
        self._server.wait(DEADLINE)
        stdout.close()
        self._home.cleanup()


def done_steps(location: str, session: str) -> set[str]:
    """Return what the completed steps of the agent did, as in the file of calls."""
    with open_store(location, read_only=True) as store:
        rows = query(
            store,
            "SELECT a.step, a.arguments, a.result FROM zrb_attempt a JOIN zrb_session s ON s.id = a.session_id "
            f"WHERE s.name = '{session}' AND a.step_of IS NOT NULL AND a.status = 'completed' "
            "AND a.given_back_at IS NULL",
        )
    done = set()
    for step, arguments, result in rows:
        if step.startswith("model"):
            done.add(done_as(step))
        elif step.startswith("tool") and json.loads(result)["kind"] != "approval":  # then it has still to be executed
            done.add(f"tool {json.loads(arguments)[1]['n']}")
        elif step.startswith("deferred"):
            calls = [json.loads(call) for call in json.loads(arguments)[1].values()]
            done |= {f"tool {call['n']}" for call in calls}
    return done


def done_as(step: str) -> str:
    """Return what a step did as it is called in the file of calls."""
    if step.startswith("model"):
        return f"model {int(step.partition('~')[2] or 1) - 1}"
    return re.sub(r"tool charge c(\d+)-(\d+)", lambda found: f"tool {10 * int(found[1]) + int(found[2])}", step)


@dataclass
class Figures:
    """What a fire has seen."""

    kills: int = 0
    repeated: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        return (
            f"{self.kills} kills of an agent in {self.seconds:.0f} s: no completed model call or tool was repeated; "
            f"{self.repeated} were in the middle"
        )


@dataclass
class Undisturbed:
    """What an undisturbed run did."""

    answer: str
    calls: set[str]
    out: list[Any]
    seconds: float


def answer_of(output: str) -> str:
    """Return what zrb printed as the result: the line with the receipts."""
    return [line.strip() for line in output.splitlines() if "receipts" in line][-1].removeprefix("💬 ")


def undisturbed(zrb: WarmZrb, project: Project, location: str, session: str, **env: Any) -> Undisturbed:
    """Run the agent once without a kill."""
    began = time.monotonic()
    status, output = zrb.run(project, "triage", ZRB_STORE_URL=location, ZRB_STORE_SESSION=session, **env)
    assert status == 0, output
    seconds = time.monotonic() - began
    with open_store(location, read_only=True) as store:
        out = sorted(value for value, state in states(store, session, "out") if state == "live")
    done = Counter(project.calls)
    assert set(done.values()) == {1}
    rounds = int(env.get("ROUNDS", "50"))
    charged = {f"tool {10 * number + index}" for number in range(rounds) for index in range(1 + number % 5)}
    assert {name for name, _ in done if name.startswith("tool")} == charged
    project.forget()
    return Undisturbed(answer_of(output), {name for name, _ in done}, out, seconds)


def a_moment(project: Project, expected: Undisturbed, generator: random.Random) -> Callable[[], bool]:
    """Choose a moment: mostly soon after new calls, so that each run gets further, and now and then any."""
    log = project.folder / "calls"
    began = time.monotonic()
    if generator.random() < 0.2:
        pause = generator.uniform(0, expected.seconds)
        return lambda: time.monotonic() > began + pause
    before = log.stat().st_size if log.exists() else 0
    # Each call has about 40 bytes.
    enough = before + generator.uniform(0, 5 * len(expected.calls))
    return lambda: log.exists() and log.stat().st_size > enough


def fire(
    zrb: WarmZrb,
    project: Project,
    location: str,
    session: str,
    expected: Undisturbed,
    kills: int,
    generator: random.Random,
    **env: Any,
) -> Figures:
    """Kill one agent `kills` times at random moments, or until it completes, and let it complete.

    Args:
        zrb: The zrb.
        project: The project.
        location: The store.
        session: Name of a new session.
        expected: What an undisturbed run did.
        kills: How often it is killed at most.
        generator: Chooses the moments.
        **env: More of the environment.
    """
    figures = Figures()
    began = time.monotonic()
    status, output = 1, ""
    for number in range(kills + 1):
        done = done_steps(location, session) if number else set()
        before = project.begun
        kill_when = a_moment(project, expected, generator) if number < kills else None
        environ: dict[str, Any] = {**env, "ZRB_STORE_URL": location, "ZRB_STORE_SESSION": session}
        args = ("xcom", "resume", session) if number and known(location, session) else ("triage",)
        status, output = zrb.run(project, *args, kill_when=kill_when, **environ)
        after = project.begun
        again = (after - before).keys() & done
        assert not again, f"done before, and done again: {again}\n{output}"
        if status == 0:
            break
        assert status == -signal.SIGKILL, output
        figures.kills += 1
    assert status == 0, output
    assert answer_of(output) == expected.answer
    counted = Counter(project.calls)
    assert {name for name, _ in counted} == expected.calls
    begun = Counter({name: count for (name, what), count in counted.items() if what == "begin"})
    figures.repeated = begun.total() - len(expected.calls)
    with open_store(location, read_only=True) as store:
        assert sorted(value for value, state in states(store, session, "out") if state == "live") == expected.out
        taken = [value for value, state in states(store, session, "tickets") if state == "taken"]
        assert len(taken) == len(expected.out)
        assert faults(store) == []
        assert store.session(session).status == "completed"
    project.forget()
    figures.seconds = time.monotonic() - began
    return figures


# An agent that calls one tool in each round.
ONE_AT_A_TIME = """
async def one_at_a_time(messages, info):
    number = answers(messages)
    log(f"model {number}", "begin")
    if number < ROUNDS:
        args = json.dumps({"n": 10 * number})
        yield {0: DeltaToolCall(name="charge", json_args=args, tool_call_id=f"c{number}-0")}
    else:
        yield f"{len(messages)} messages, {ROUNDS} receipts"

seed >> agent(model=FunctionModel(stream_function=one_at_a_time))
"""


def rewind(zrb: WarmZrb, project: Project, location: str, rounds: int, some: slice) -> int:
    """Let an agent complete, fork it before some of its steps, and let each fork complete.

    Args:
        zrb: The zrb.
        project: A project with `ONE_AT_A_TIME`.
        location: The store, which has no session of an agent yet.
        rounds: How many tools the agent calls.
        some: Which steps.

    Returns:
        Before how many steps it was forked.
    """

    def run(session: str, *args: str) -> str:
        environ: Any = {"ZRB_STORE_URL": location, "ZRB_STORE_SESSION": session, "ROUNDS": str(rounds)}
        status, output = zrb.run(project, *args, **environ)
        assert status == 0, output
        return output

    def live(session: str) -> list[Any]:
        with open_store(location, read_only=True) as store:
            return list(store.session(session).xcom["out"])

    def parent() -> list[Any]:
        with open_store(location, read_only=True) as store:
            session = store.session("s").record().id
            steps = f"FROM zrb_attempt WHERE step_of IS NOT NULL AND session_id = {session} ORDER BY id"
            return [tuple(row) for row in query(store, f"SELECT step, zrb_attempt.* {steps}")]

    run("s", "triage")
    before, receipts = parent(), list(range(0, 10 * rounds, 10))
    steps = [row[0] for row in before][1:]  # without the prompt
    assert len(steps) == rounds + 1 + rounds
    places = range(len(steps))[some]
    for place in places:
        project.forget()
        name = f"before-{place}"
        run("s", "xcom", "fork", "s", "--from", "triage", "--step", steps[place], "--name", name)
        assert f"{2 * rounds + 1} messages, {rounds} receipts" in run(name, "xcom", "resume", name)
        assert project.begun == dict.fromkeys(map(done_as, steps[place:]), 1), steps[place]
        assert live(name) == receipts
    assert parent() == before
    assert live("s") == receipts
    return len(places)


def known(location: str, session: str) -> bool:
    """Whether the session has begun."""
    with open_store(location, read_only=True) as store:
        return any(one.name == session and one.status != "open" for one in store.sessions())
