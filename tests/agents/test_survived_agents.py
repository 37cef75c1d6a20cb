"""Agents whose program survives failures, is cut off, and must come to the same answers and calls (promise 20)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from pydantic_ai import Agent, ModelHTTPError
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, FunctionModel

from tests.agents.programs import Figures, torture
from tests.support.attempts import acting_as
from zrb_store import Store, once_tool
from zrb_store.agents import durable
from zrb_store.agents.conversation import turns
from zrb_store.agents.notes import AgentCosts
from zrb_store.agents.stats import Tokens
from zrb_store.errors import RequestChanged
from zrb_store.inspect.show import open_session
from zrb_store.testing import Crash, crash_at, expire_lease
from zrb_store.watch.stats import task_stats


class Desk:
    """Agents that charge once each, and a program of them that is cut off."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.paid: list[str] = []
        self.broken: dict[str, Exception] = {}
        self.is_cut_off = True
        self.dies_at = ""

    def pay(self, name: str) -> None:
        self.paid.append(name)
        if name == self.dies_at:
            self.die()
        if name in self.broken:
            raise self.broken[name]

    def agent(self, name: str = "desk", *, provider: str = "", once: bool = True, **more: Any) -> Any:
        """Return an agent that asks for one call, and then answers; its requests go to a provider."""

        def asked(messages: list[ModelMessage]) -> int:
            found = sum(isinstance(one, ModelResponse) for one in messages)
            self.pay(f"{provider or name} {found}")
            return found

        def answer(messages: list[ModelMessage], _: AgentInfo) -> ModelResponse:
            found = asked(messages)
            return ModelResponse([TextPart(f"{name} done") if found else ToolCallPart("charge", {"n": 1}, "c1")])

        async def stream(messages: list[ModelMessage], _: AgentInfo) -> AsyncIterator[Any]:
            found = asked(messages)
            yield f"{name} done" if found else {0: DeltaToolCall("charge", '{"n": 1}', tool_call_id="c1")}

        model = FunctionModel(answer, stream_function=stream)
        agent = Agent(model, name=name, capabilities=[durable()], **more)

        async def charge(n: int) -> str:
            self.pay(f"{provider or name} charge {n}")
            return f"receipt {n}"

        agent.tool_plain(once_tool(charge) if once else charge)

        return agent

    def die(self) -> None:
        if self.is_cut_off:
            self.store.session("other").xcom["q"].max_deliveries = 1  # where a cut-off process dies

    def run(self, program: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        with self.store.session("s").run() as run, run.attempt("charge all"):
            return asyncio.run(program())

    def cut_off(self, program: Callable[[], Coroutine[Any, Any, Any]]) -> list[str]:
        """Run the program until it dies, put everything in order, and return what was paid."""
        attempt = self.store.session("s").run().start().begin("charge all")
        with acting_as(attempt), pytest.raises(Crash), crash_at("queue:before"):
            asyncio.run(program())
        expire_lease(self.store.session("s"))
        self.is_cut_off = False
        self.broken.clear()
        found, self.paid = self.paid, []
        return found


@pytest.fixture
def desk(store: Store, sound: None) -> Desk:
    return Desk(store)


async def ask(agent: Any, message: str = "go") -> str:
    return str((await agent.run(message)).output)


async def stream(agent: Any, message: str = "go") -> str:
    async with agent.run_stream(message) as result:
        return str(await result.get_output())


async def iterate(agent: Any, message: str = "go") -> str:
    async with agent.iter(message) as nodes:
        async for _ in nodes:
            pass
        return str(nodes.result.output)


def unavailable() -> ModelHTTPError:
    return ModelHTTPError(503, "gpt", {"error": "overloaded"})


@pytest.mark.slow
@pytest.mark.promise(number=20)
@pytest.mark.parametrize("way", [ask, stream, iterate])
def test_a_loop_over_runs(desk: Desk, way: Callable[[Any], Coroutine[Any, Any, str]]) -> None:
    caught: list[object] = []

    async def program() -> str:
        agent, answer = desk.agent(), ""
        for number in range(4):
            if desk.is_cut_off and number == 3:
                desk.broken.clear()
            try:
                answer = await way(agent)
                break
            except ModelHTTPError as error:
                caught.append((error.status_code, error.model_name, error.body))
        desk.die()
        return answer

    desk.broken["desk 0"] = unavailable()
    assert desk.cut_off(program) == ["desk 0", "desk 0", "desk 0", "desk 0", "desk charge 1", "desk 1"]
    assert desk.run(program) == "desk done"
    assert desk.paid == []
    assert caught == [(503, "gpt", {"error": "overloaded"})] * 6


@pytest.mark.promise(number=20)
@pytest.mark.parametrize("broken", ["primary 0", "primary charge 1", "primary 1"])
def test_the_answer_of_another_agent_instead_is_given_again(desk: Desk, broken: str) -> None:
    async def program() -> str:
        try:
            answer = await ask(desk.agent("primary"))
        except ModelHTTPError:
            answer = await ask(desk.agent("backup"))
        desk.die()
        return answer

    desk.broken[broken] = unavailable()
    paid = ["primary 0", "primary charge 1", "primary 1"]
    before = paid[: paid.index(broken) + 1]
    assert desk.cut_off(program) == [*before, "backup 0", "backup charge 1", "backup 1"]
    assert desk.run(program) == "backup done"
    assert desk.paid == []


@pytest.mark.promise(number=20)
@pytest.mark.parametrize("broken", ["primary 0", "primary charge 1", "primary 1"])
def test_costs_are_what_the_server_counted(desk: Desk, broken: str) -> None:
    """Each paid request once, in `show`, its conversation and `stats`, whatever came from the store."""

    async def program() -> str:
        try:
            return await ask(desk.agent("primary"))
        except ModelHTTPError:
            answer = await ask(desk.agent("backup"))
            desk.die()
            await ask(desk.agent("last"))
            return answer

    desk.broken[broken] = unavailable()
    before = desk.cut_off(program)
    desk.run(program)
    answered = [[one for one in part if "charge" not in one and one != broken] for part in (before, desk.paid)]
    assert answered[1] == ["last 0", "last 1"]
    database = desk.store.database
    with open_session(database, "s") as document:
        costs, (task,) = document.costs, document.tasks
        assert isinstance(costs, AgentCosts)
        answers = [turn for turn in turns(task) if turn.tokens]
    assert (costs.paid.answers, costs.used_again.answers) == (sum(map(len, answered)), len(answered[0]))
    assert costs.thrown_away.answers == 0
    assert costs.paid.tool_calls == sum("charge" in one for one in before + desk.paid)
    assert [turn.from_store for turn in answers] == [True] * len(answered[0]) + [False] * 2
    assert costs.paid.input_tokens == sum(turn.tokens[0] for turn in answers if turn.tokens)
    (stats,) = task_stats(database)
    found = stats.added["tokens"]
    assert isinstance(found, Tokens)
    assert [one[:3] for one in found.costs] == [one[:3] for one in costs]


@pytest.mark.promise(number=20)
def test_gathered_agents_of_which_one_fails(desk: Desk) -> None:
    async def program() -> list[Any]:
        agents = [desk.agent(name) for name in ("a", "b", "c")]
        found = await asyncio.gather(*map(ask, agents), return_exceptions=True)
        found.append(await ask(desk.agent("next")))  # which shows that the program has survived the failure
        desk.die()
        return [type(one).__name__ if isinstance(one, Exception) else one for one in found]

    desk.broken["b 0"] = unavailable()
    desk.cut_off(program)
    assert desk.run(program) == ["a done", "ModelHTTPError", "c done", "next done"]
    assert desk.paid == []


@pytest.mark.promise(number=20)
def test_a_run_that_was_cut_off_amid_its_calls_goes_on(desk: Desk) -> None:
    async def program() -> str:
        try:
            return await ask(desk.agent("primary"))
        except ModelHTTPError:
            agent = desk.agent("backup")
            desk.die()
            return await ask(agent)

    desk.broken["primary 1"] = unavailable()
    # The failure was the last thing that happened: nobody knows whether the program survives it.
    assert desk.cut_off(program) == ["primary 0", "primary charge 1", "primary 1"]
    assert desk.run(program) == "primary done"
    assert desk.paid == ["primary 1"]


@pytest.mark.promise(number=20)
@pytest.mark.parametrize("once", [True, False])
@pytest.mark.parametrize("died_at", ["desk charge 1", "desk 1", "end"])
def test_a_renamed_agent_is_announced_before_anything_is_paid(desk: Desk, died_at: str, once: bool) -> None:
    """It is announced before anything is paid, and stopped if a call must not be repeated."""
    name = "desk"

    async def program() -> str:
        desk.dies_at = died_at
        answer = await ask(desk.agent(name, provider="desk", once=once))
        desk.die()
        return answer

    paid = desk.cut_off(program)
    name = "front"
    # A call whose end is unknown may have happened.
    if once:
        with pytest.raises(
            RequestChanged, match=r"front is a new run: .* of desk (is|are) not used yet: undo the change"
        ):
            desk.run(program)
        assert desk.paid == []
        name = "desk"
        if died_at != "desk charge 1":
            assert desk.run(program) == "desk done"
            assert paid + desk.paid == [*paid, *["desk 1"] * (died_at == "desk 1")]
        return
    with pytest.warns(RuntimeWarning, match="front is a new run: .* of desk (is|are) not used yet") as warned:
        assert desk.run(program) == "front done"
    assert len(warned) == 1
    answers = {"desk charge 1": "1 answer ", "desk 1": "1 answer ", "end": "2 answers "}
    assert answers[died_at] in str(warned[0].message)


@pytest.mark.promise(number=20)
def test_agents_in_another_order_are_refused_before_anything_is_paid(desk: Desk) -> None:
    names = ["a", "b"]

    async def program() -> None:
        for name in names:
            await ask(desk.agent(name))
            desk.dies_at = "b 1"

    assert desk.cut_off(program) == ["a 0", "a charge 1", "a 1", "b 0", "b charge 1", "b 1"]
    names.reverse()
    with pytest.raises(RequestChanged, match=r"b continues where nothing is stored, .* 2 answers .* of a are"):
        desk.run(program)
    assert desk.paid == []
    names.reverse()
    desk.run(program)
    assert desk.paid == ["b 1"]


@pytest.mark.promise(number=20)
@pytest.mark.filterwarnings("error")
def test_gathered_agents_come_in_any_order(desk: Desk) -> None:
    names = ["a", "b", "c"]

    async def program() -> None:
        await asyncio.gather(*(ask(desk.agent(name)) for name in names))

    desk.dies_at = "c 1"
    paid = desk.cut_off(program)
    names.reverse()
    desk.run(program)
    assert "c 1" in desk.paid
    last = {each.split()[0]: each for each in paid}  # of each agent: it may have died amid this one
    assert {*paid} & {*desk.paid} <= {*last.values()}


@pytest.mark.promise(number=20)
@pytest.mark.filterwarnings("error")
def test_an_agent_pays_before_one_comes_that_overlapped_with_it(desk: Desk) -> None:
    """In the next attempt, one begins only when the other has ended."""

    async def program() -> None:
        over = asyncio.Event()

        async def other() -> None:
            if not desk.is_cut_off:
                await over.wait()
            await ask(desk.agent("a"))

        async def first() -> None:
            await ask(desk.agent("b"))
            over.set()

        await asyncio.gather(other(), first())

    desk.dies_at = "b 1"
    assert "a 0" in desk.cut_off(program)
    desk.run(program)
    assert desk.paid[0] == "b 1"


@pytest.mark.promise(number=20)
@pytest.mark.parametrize("once", [True, False])
def test_what_is_left_at_the_end(desk: Desk, once: bool) -> None:
    """An agent does not run any more."""
    names = ["a", "b"]

    async def program() -> None:
        for name in names:
            await ask(desk.agent(name, once=once))
        desk.die()

    desk.cut_off(program)
    names.pop()
    if once:
        with pytest.raises(
            RequestChanged, match=r"2 answers .* of b are left, and the task would complete without them"
        ):
            desk.run(program)
        assert desk.store.session("s").status == "failed"
        names.append("b")
        desk.run(program)
    else:
        with pytest.warns(RuntimeWarning, match="of b are left, and the task completes without them"):
            desk.run(program)
    assert desk.paid == []


@pytest.mark.promise(number=20)
def test_what_was_completed_behind_a_failure_of_a_task_that_failed(desk: Desk) -> None:
    """The request is made again, and what its run pays is guarded."""

    async def program(once: bool = False) -> None:
        errors = []
        for name in ("a", "b"):
            try:
                await ask(desk.agent(name, once=once))
            except ModelHTTPError as error:
                errors.append(error)
        if errors:
            raise errors[0]

    desk.broken["a 0"] = unavailable()
    with pytest.raises(ModelHTTPError):
        desk.run(program)
    desk.broken.clear()
    desk.paid.clear()
    with pytest.warns(RuntimeWarning, match=r"a continues where nothing is stored, and 2 answers .* of b are not used"):
        desk.run(program)
    assert desk.paid == ["a 0", "a charge 1", "a 1"]


@pytest.mark.promise(number=20)
@pytest.mark.parametrize("recovers", [False, True])
def test_a_timeout_around_a_run(desk: Desk, recovers: bool) -> None:
    """Its request was cancelled, and is made again. If it comes to a call this time, that is not made."""

    async def program() -> str:
        slow = desk.agent("slow")
        try:
            async with asyncio.timeout(None) as limit:

                async def waits(*_: Any) -> ModelResponse:
                    desk.pay("slow 0")
                    limit.reschedule(0)
                    await asyncio.sleep(60)
                    raise AssertionError

                if desk.is_cut_off or not recovers:
                    slow.model.function = waits
                answer = await ask(slow)
        except TimeoutError:
            answer = await ask(desk.agent("backup"))
        desk.die()
        return answer

    assert desk.cut_off(program) == ["slow 0", "backup 0", "backup charge 1", "backup 1"]
    if recovers:
        with pytest.raises(RequestChanged, match=r"slow continues where nothing is stored, .* of backup are not used"):
            desk.run(program)
    else:
        assert desk.run(program) == "backup done"
    assert desk.paid == ["slow 0"]


@pytest.mark.slow
@pytest.mark.promise(number=20)
@pytest.mark.parametrize("seed", range(6))
def test_a_random_program_is_killed(location: str, tmp_path: Path, seed: int) -> None:
    """`make crash` has many more (crash_programs.py)."""
    torture(tmp_path, location, range(seed * 2, seed * 2 + 2), Figures())
