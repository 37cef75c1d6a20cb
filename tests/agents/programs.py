"""Random programs of agents that catch errors, repeat runs, and take other agents, killed anywhere.

Their models share a server: a file, in which each request and each effect is a line. The server refuses some requests
until the program has continued after the refusal; then it works, so that a program which asked again would take another
way.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import signal
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic_ai import Agent, ModelHTTPError
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from tests.support.forks import fork
from tests.support.rows import faults, query
from zrb_store import StepUncertain, once_tool, open_store
from zrb_store.agents import durable
from zrb_store.codec import encode
from zrb_store.operations.mark import mark_step
from zrb_store.testing import crash_at

_UNCERTAIN = 3  # exit code
# Not before a step begins: the server would not know whether the program has continued, which the store would.
_POINTS = (
    *("begin:after", "step_begin:after", "step_complete:before", "step_complete:after"),
    *("fail:before", "fail:inside", "fail:after", "complete:before", "complete:inside"),
)
_BEGINNINGS = ("run", "request", "call")
Kind = Literal["run", "loop", "fallback", "gather"]


@dataclass(frozen=True)
class Block:
    """A part of a program: its agents get one message."""

    kind: Kind
    agents: tuple[str, ...]
    message: str


@dataclass
class Program:
    """What a program does.

    Attributes:
        refusals: How often the server refuses a request, by agent, message and number of the request.
        rounds: How many calls an agent makes.
        once: The agents whose calls must not be repeated.
    """

    blocks: list[Block] = field(default_factory=list)
    refusals: dict[str, int] = field(default_factory=dict)
    rounds: dict[str, int] = field(default_factory=dict)
    once: set[str] = field(default_factory=set)


def program_of(generator: random.Random, *, fails: bool) -> Program:
    """Make a program. Without `fails` no request is refused, and no call must not be repeated."""
    made, names = Program(), ["a", "b", "c", "d"]
    for name in names:
        made.rounds[name] = generator.randint(0, 2)
        if fails and generator.random() < 0.5:
            made.once.add(name)
    for number in range(generator.randint(2, 4)):
        kinds: tuple[Kind, ...] = ("run", "loop", "fallback", "gather")
        kind = generator.choice(kinds)
        count = {"fallback": generator.randint(2, 3), "gather": generator.randint(2, 3)}.get(kind, 1)
        block = Block(kind, tuple(generator.sample(names, count)), f"m{number}")
        made.blocks.append(block)
        for name in block.agents if fails else ():
            if generator.random() < 0.6:
                key = f"{name} {block.message} {generator.randint(0, made.rounds[name])}"
                made.refusals[key] = generator.randint(1, 3)
    return made


class Server:
    """The server of the models, as one process sees it."""

    def __init__(self, path: Path, program: Program, process: int) -> None:
        self._path, self._program, self._process = path, program, process

    def write(self, what: str, key: str) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(f"{self._process}\t{what}\t{key}\n")

    def lines(self) -> list[tuple[int, str, str]]:
        if not self._path.exists():
            return []
        split = (line.split("\t") for line in self._path.read_text(encoding="utf-8").splitlines())
        return [(int(process), what, key) for process, what, key in split]

    def answer(self, key: str) -> None:
        """Answer a request that has come, or refuse it: until its process begins something after it was refused."""
        lines = self.lines()
        last = {process: place for place, (process, what, _) in enumerate(lines) if what in _BEGINNINGS}
        refused = [place for place, line in enumerate(lines) if line[1:] == ("refusal", key)]
        if sum(place < last[lines[place][0]] for place in refused) < self._program.refusals.get(key, 0):
            self.write("refusal", key)
            raise ModelHTTPError(503, "gpt", {"key": key})
        self.write("answer", key)

    def counted(self, what: str, process: int | None = None) -> Counter[str]:
        return Counter(key for each, one, key in self.lines() if one == what and process in (None, each))


def _agent(name: str, program: Program, server: Server, renamed: bool) -> Any:
    async def answer(messages: list[ModelMessage], _: AgentInfo) -> ModelResponse:
        number = sum(isinstance(one, ModelResponse) for one in messages)
        message = str(next(part.content for part in messages[0].parts if part.part_kind == "user-prompt"))
        key = f"{name} {message} {number}"
        server.write("request", key)
        await asyncio.sleep(0)
        server.answer(key)
        if number == program.rounds[name]:
            return ModelResponse([TextPart(f"{name} has done {message}")])
        call = f"{name}-{message}-{number}"
        return ModelResponse([ToolCallPart("charge", {"call": call}, call)])

    agent = Agent(FunctionModel(answer), name=f"new {name}" if renamed else name, capabilities=[durable()])

    async def charge(call: str) -> str:
        server.write("call", call)
        await asyncio.sleep(0)
        server.write("effect", call)
        return f"receipt {call}"

    agent.tool_plain(once_tool(charge) if name in program.once else charge)
    return agent


async def _run(program: Program, server: Server, renamed: bool) -> list[Any]:
    async def ask(name: str, block: Block) -> str:
        server.write("run", name)
        return str((await _agent(name, program, server, renamed).run(block.message)).output)

    found: list[Any] = []
    for block in program.blocks:
        if block.kind == "gather":
            asked = (ask(name, block) for name in block.agents)
            answers = await asyncio.gather(*asked, return_exceptions=True)
            found.append([str(each) for each in answers])
            if fatal := next((each for each in answers if isinstance(each, StepUncertain)), None):
                raise fatal
            continue
        for name in block.agents * (4 if block.kind == "loop" else 1):
            try:
                found.append(await ask(name, block))
                break
            except ModelHTTPError as error:
                found.append(str(error))
    return found


class Place:
    """A folder where a program runs in its own processes."""

    def __init__(self, folder: Path, location: str, session: str, program: Program) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._location, self._session, self.program = location, session, program
        self._result, self._warnings = folder / "result", folder / "warnings"
        self._log = folder / "server"
        self._process = 0

    @property
    def server(self) -> Server:
        return Server(self._log, self.program, self._process)

    def start(self, kill: tuple[str, int] | None = None, *, renamed: bool = False) -> int:
        """Run the program in a process, and return how that ended."""
        self._process += 1
        self._warnings.unlink(missing_ok=True)

        def work() -> None:
            def note(message: Any, *_: Any, **__: Any) -> None:
                with self._warnings.open("a", encoding="utf-8") as file:
                    file.write(f"{message}\n")

            warnings.showwarning = note
            warnings.simplefilter("always")
            with open_store(self._location) as store, store.session(self._session).run() as run:
                if kill is None:
                    self._attempt(run, renamed)
                else:
                    with crash_at(kill[0], visit=kill[1], kill=True):
                        self._attempt(run, renamed)

        return os.waitstatus_to_exitcode(os.waitpid(fork(work), 0)[1])

    def _attempt(self, run: Any, renamed: bool) -> None:
        try:
            with run.attempt("job"):
                found = asyncio.run(_run(self.program, self.server, renamed))
                self._result.write_text(json.dumps(found), encoding="utf-8")
        except StepUncertain:
            os._exit(_UNCERTAIN)

    @property
    def result(self) -> Any:
        return json.loads(self._result.read_text(encoding="utf-8"))

    @property
    def warned(self) -> list[str]:
        return self._warnings.read_text(encoding="utf-8").splitlines() if self._warnings.exists() else []

    def settle(self) -> None:
        """Do what a person does about calls whose end is unknown: find out whether they happened.

        Repeated runs make the same call. This one has happened if there are more effects than completed calls.
        """
        effects = self.server.counted("effect")
        with open_store(self._location) as store:
            effects -= Counter(map(_call_of, self._steps(store, "once AND status = 'completed'")))
            for step in self._steps(store, "once AND status NOT IN ('completed', 'failed')"):
                if not self._steps(store, f"step = '{step}' AND status IN ('completed', 'failed')"):
                    call = _call_of(step)
                    has_happened = effects[call] > 0
                    result = encode(f"receipt {call}") if has_happened else None
                    mark_step(store.database, self._session, "job", step, completed=has_happened, result=result)

    def _steps(self, store: Any, where: str) -> list[str]:
        of = f"SELECT id FROM zrb_session WHERE name = '{self._session}'"
        sql = f"SELECT step FROM zrb_attempt WHERE step_of = 'job' AND session_id = ({of}) AND {where} ORDER BY id"
        return [row[0] for row in query(store, sql)]

    def stored(self) -> int:
        """Return how many answers stand."""
        with open_store(self._location, read_only=True) as store:
            return len(self._steps(store, "kind = 'model_request' AND status = 'completed' AND given_back_at IS NULL"))

    def check(self) -> None:
        with open_store(self._location, read_only=True) as store:
            assert faults(store) == []
            assert store.session(self._session).status == "completed"


def _call_of(step: str) -> str:
    """Return the call that a step's name names last."""
    return step.rpartition(" ")[2]


@dataclass
class Figures:
    """What was seen."""

    programs: int = 0
    kills: int = 0
    repeated: int = 0  # requests and calls that were killed
    announced: int = 0  # answers that were paid again, and announced

    def __str__(self) -> str:
        return (
            f"{self.kills} kills of {self.programs} random programs of agents: {self.repeated} requests and calls ran "
            f"again because they had been killed, {self.announced} of renamed agents after an announcement"
        )


def torture(folder: Path, location: str, seeds: Sequence[int], figures: Figures) -> None:
    """Kill the program of each seed, and compare it with itself undisturbed."""
    for seed in seeds:
        generator = random.Random(seed)
        renames = generator.random() < 0.3
        program = program_of(generator, fails=not renames)
        calm = Place(folder / f"calm{seed}", location, f"calm{seed}", program)
        assert calm.start() == 0, seed
        place = Place(folder / f"killed{seed}", location, f"killed{seed}", program)
        _kill(place, calm, generator, renames, figures, seed)
        figures.programs += 1


def _kill(place: Place, calm: Place, generator: random.Random, renames: bool, figures: Figures, seed: int) -> None:
    kills, uncertain, about = generator.randint(1, 6), 0, f"seed {seed}"
    while True:
        kill = (generator.choice(_POINTS), generator.randint(1, 6)) if kills > 0 else None
        if kill is None and renames:
            break
        status = place.start(kill)
        assert place.warned == [], about
        if status == _UNCERTAIN:
            uncertain += 1
            assert uncertain < 50, about
            place.settle()
        elif status == -signal.SIGKILL:
            figures.kills += 1
            kills -= 1
        else:
            assert status == 0, about
            break
    if renames and status != 0:
        stored = place.stored()
        before = place.server.counted("answer")
        assert place.start(renamed=True) == 0, about
        announced = sum(int(found) for line in place.warned for found in re.findall(r"(\d+) answers? \(", line))
        again = place.server.counted("answer") - before
        repeated = again.total() - (calm.server.counted("answer") - before).total()
        # Those that were killed after the server had counted them are paid again without being stored.
        lost = before.total() - stored
        assert announced == stored, about
        assert stored <= repeated <= stored + lost, about
        figures.announced += announced
    assert place.result == calm.result, about
    effects, calm_effects = place.server.counted("effect"), calm.server.counted("effect")
    assert effects.keys() == calm_effects.keys(), about
    for call, count in effects.items():
        most = (
            calm_effects[call] if call.partition("-")[0] in place.program.once else calm_effects[call] + figures.kills
        )
        assert calm_effects[call] <= count <= most, about
    if not renames:
        repeated = (place.server.counted("answer") - calm.server.counted("answer")).total()
        repeated += (effects - calm_effects).total()
        assert repeated <= 3 * figures.kills, about
        figures.repeated += repeated
    place.check()
