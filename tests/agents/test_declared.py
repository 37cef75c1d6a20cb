"""Which changes of an agent's instructions, messages and deps count, and what may change by itself."""

from __future__ import annotations

import dataclasses
import functools
import logging
import os
import time
import types
from collections.abc import Callable, Coroutine
from typing import Any

import pydantic
import pytest
from pydantic_ai import Agent, ModelRetry, RunContext
from pydantic_ai.capabilities import AbstractCapability, ProcessHistory
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart, UserPromptPart
from pydantic_ai.models.function import FunctionModel
from pydantic_ai.toolsets import FunctionToolset

from tests.agents.desk import Broken, Desk, in_attempt, run
from zrb_store import Attempt, Store, once_tool
from zrb_store.agents import durable
from zrb_store.agents.conversation import conversation
from zrb_store.agents.notes import agent_note
from zrb_store.agents.runtime import digests
from zrb_store.errors import RequestChanged, StepUncertain
from zrb_store.inspect.show import open_session

pytestmark = pytest.mark.promise(number=11)


def code(prompt: object) -> object:
    """Return what is compared of instructions that this makes."""
    return digests.code(prompt)


def made(source: str, **names: object) -> Any:
    """Return the function that some source defines."""
    exec(f"def f(ctx, a='', b=''):\n {source}", names)  # noqa: S102
    return names["f"]


def over(value: object) -> Callable[[], str]:
    """Return a function that closes over a value."""
    return lambda: str(value)


def with_member(member: object) -> Any:
    """Return an object of a class with a member."""
    return type("Rules", (), {"rules": member})()


def own_module(text: str) -> Any:
    """Return a module with a text, as a user's own, and one inside it."""
    module, inner = types.ModuleType("own"), types.ModuleType("own.inner")
    vars(module).update(TEXT=text, inner=inner)
    vars(inner).update(TEXT=text)
    return module


class Slots:
    __slots__ = ("rules",)

    def __init__(self, rules: str) -> None:
        self.rules = rules


def helper(text: str) -> Any:
    return made(f"return {text!r}")


CHANGED: dict[str, tuple[object, object]] = {
    "operator": (made("return 'x' if ctx.a and ctx.b else 'y'"), made("return 'x' if ctx.a or ctx.b else 'y'")),
    "comparison": (made("return 'x' if ctx.a < 1 else 'y'"), made("return 'x' if ctx.a > 1 else 'y'")),
    "condition": (made("return 'x' if ctx.a else 'y'"), made("return 'x' if not ctx.a else 'y'")),
    "argument": (made("return a"), made("return b")),
    "global": (made("return RULES", RULES="be kind"), made("return RULES", RULES="be rude")),
    "called": (made("return g(ctx)", g=helper("kind")), made("return g(ctx)", g=helper("rude"))),
    "inner": (made("return [g for _ in ctx]", g="kind"), made("return [g for _ in ctx]", g="rude")),
    "module": (made("return own.TEXT", own=own_module("a")), made("return own.TEXT", own=own_module("b"))),
    "inner module": (
        made("return own.inner.TEXT", own=own_module("a")),
        made("return own.inner.TEXT", own=own_module("b")),
    ),
    "set": (over({"a"}), over({"b"})),
    "bytes": (over((b"a",)), over((b"b",))),
    "function in a dict": (over({"f": helper("a")}), over({"f": helper("b")})),
    "slots": (over(Slots("a")), over(Slots("b"))),
    "partial": (functools.partial(over, "a"), functools.partial(over, "b")),
    "attribute": (with_member("a"), with_member("b")),
    "property": (with_member(property(helper("a"))), with_member(property(helper("b")))),
    "static method": (with_member(staticmethod(helper("a"))), with_member(staticmethod(helper("b")))),
    "stock capability": (ProcessHistory(helper("a")), ProcessHistory(helper("b"))),
    "bound method": (Slots("a").__init__, Slots("b").__init__),  # type: ignore[misc]
}


@pytest.mark.parametrize("name", CHANGED)
def test_a_change_is_noticed(name: str) -> None:
    before, after = CHANGED[name]
    assert code(before) != code(after)


class Stamp(AbstractCapability[Any]):
    """Has what changes by itself."""

    def __init__(self) -> None:
        self.log = logging.getLogger("stamp")
        self.count = 0
        self.began = time.time()
        self.itself = [self] * 40

    async def before_model_request(self, ctx: Any, request_context: Any) -> Any:
        self.count += 1
        return request_context


def test_what_changes_by_itself_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    stamp = Stamp()
    values = [stamp, over(stamp), over(os.environ), made("return str(log)", log=stamp.log), made("'One.'; return a")]
    before = list(map(code, values))
    stamp.count, stamp.began = 7, 8.0
    stamp.log.debug("It keeps its level.")
    monkeypatch.setenv("OTHER", "1")
    values[-1] = made("'Another docstring.'; return a")
    assert list(map(code, values)) == before


def own(ctx: RunContext[Any]) -> str:
    return f"It is {time.perf_counter_ns()}."


class Instructing(AbstractCapability[Any]):
    """Gives instructions by a function."""

    def __init__(self, function: Any) -> None:
        self._function = function

    def get_instructions(self) -> Any:
        return self._function


@pytest.mark.on_sqlite
@pytest.mark.parametrize("place", ["run", "override", "capability", "toolset"])
def test_text_of_a_function_that_is_not_known_counts(store: Store, place: str) -> None:
    """The agent has one of its own too, whose text may change."""
    paid: list[str] = []

    def answer(_: object, info: Any) -> ModelResponse:
        paid.append(info.instructions)
        return ModelResponse([TextPart("yes")])

    async def work(text: str) -> str:
        def more(ctx: RunContext[Any]) -> str:
            return text

        instructing = [Instructing(more)] * (place == "capability")
        toolsets: list[Any] = [FunctionToolset([], instructions=more)] if place == "toolset" else []
        agent: Any = Agent(
            FunctionModel(answer),
            name="desk",
            instructions=own,
            toolsets=toolsets,
            capabilities=[*instructing, durable()],
        )
        if place == "override":
            with agent.override(instructions=more):
                return str((await agent.run("x")).output)
        return str((await agent.run("x", instructions=more if place == "run" else None)).output)

    in_attempt(store, lambda _: work("Be kind."))
    in_attempt(store, lambda _: work("Be kind."))
    assert len(paid) == 1
    with pytest.warns(RuntimeWarning, match="the system prompt has changed"):
        in_attempt(store, lambda _: work("Be rude."))
    assert len(paid) == 2


@pytest.mark.on_sqlite
def test_a_function_that_gives_no_text_today_hides_no_other(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    holiday = made("import os; return os.environ.get('HOLIDAY')")

    def start(text: str) -> list[str]:
        desk = Desk()
        in_attempt(store, lambda _: desk.agent(instructions=[holiday, helper(text)]).run("Charge."))
        return desk.paid

    assert len(start("Be kind.")) == 5
    monkeypatch.setenv("HOLIDAY", "Closed.")
    assert start("Be kind.") == []
    monkeypatch.delenv("HOLIDAY")
    with pytest.warns(RuntimeWarning, match="the system prompt has changed"):
        assert len(start("Be rude.")) == 5


@pytest.mark.on_sqlite
def test_the_system_prompt_is_a_turn_however_it_is_declared(store: Store) -> None:
    agent = Desk().agent(system_prompt="Be kind.", instructions="Be quick.")
    in_attempt(store, lambda _: agent.run("Charge."))
    with open_session(store.database, "s") as document:
        _, turns = conversation(document, None)
    assert (turns[0].role, turns[0].text) == ("system", "Be kind.\n\nBe quick.")


@dataclasses.dataclass
class Tickets:
    """Deps of which one field can be read once, and another one changes by itself."""

    numbers: Any
    at: float


@pytest.mark.slow
@pytest.mark.on_sqlite
def test_deps_of_any_kind(store: Store) -> None:
    """They are neither used up nor walked for ever; if they change by themselves, nothing is paid in silence."""
    nodes = dataclasses.make_dataclass("Nodes", [("itself", Any)])(None)
    nodes.itself = nodes
    tickets = Tickets(iter([7, 8]), time.time())

    def start(desk: Desk, deps: Any) -> None:
        in_attempt(store, lambda _: desk.agent(deps_type=type(deps)).run("Charge.", deps=deps))

    with pytest.raises(Broken):
        start(Desk("desk 1"), tickets)
    assert next(tickets.numbers) == 7
    with pytest.warns(RuntimeWarning, match="desk~2 is a new run"):
        start(Desk(), dataclasses.replace(tickets, at=0.0))
    with pytest.warns(RuntimeWarning, match="desk~3 is a new run"):
        start(Desk(), nodes)


class Deps(pydantic.BaseModel, extra="allow"):
    """Deps with any fields, of which one is not written."""

    at: float = pydantic.Field(default_factory=time.time, exclude=True)


@pytest.mark.on_sqlite
def test_deps_count_as_pydantic_writes_them(store: Store) -> None:
    def work(desk: Desk, name: str) -> Callable[[Attempt], Coroutine[Any, Any, Any]]:
        return lambda _: desk.agent(deps_type=Deps).run("Charge.", deps=Deps.model_validate({"name": name}))

    with pytest.raises(Broken):
        in_attempt(store, work(Desk("desk 1"), "alice"))
    again, other = Desk(), Desk()
    in_attempt(store, work(again, "alice"))
    with pytest.warns(RuntimeWarning, match="desk~2 is a new run"):  # the message is the same
        in_attempt(store, work(other, "bob"))
    assert (again.paid[0], other.paid[0]) == ("desk 1", "desk 0")


class Timed(AbstractCapability[Any]):
    """Adds the time to each request."""

    async def before_model_request(self, ctx: RunContext[Any], request_context: Any) -> Any:
        *earlier, last = request_context.messages
        parts = [*last.parts, UserPromptPart(f"It is {time.time()}.")]
        request_context.messages = [*earlier, dataclasses.replace(last, parts=parts)]
        return request_context


class TimedAround(AbstractCapability[Any]):
    """Does so around the request."""

    async def wrap_model_request(self, ctx: RunContext[Any], *, request_context: Any, handler: Any) -> ModelResponse:
        answer: ModelResponse = await handler(await Timed().before_model_request(ctx, request_context))
        return answer


@pytest.mark.on_sqlite
@pytest.mark.parametrize("timed", [Timed, TimedAround])
def test_what_hooks_are_given_counts(store: Store, timed: type[AbstractCapability[Any]]) -> None:
    """What they make of it may change by itself, but not because an output is refused with another text."""

    def work(desk: Desk, text: str) -> Callable[[Attempt], Coroutine[Any, Any, Any]]:
        agent = Agent(desk.agent().model, name="desk", capabilities=[timed(), durable()], retries=9)

        @agent.tool_plain
        def charge(n: int) -> int:
            return n

        @agent.output_validator
        def refuse(output: str) -> str:
            raise ModelRetry(text)

        return lambda _: agent.run("Charge.")

    with pytest.raises(Broken):
        in_attempt(store, work(Desk("desk 4"), "Be kind."))
    again, changed = Desk("desk 5"), Desk("desk 5")
    with pytest.raises(Broken):
        in_attempt(store, work(again, "Be kind."))
    with pytest.raises(Broken), pytest.warns(RuntimeWarning, match="message 6 of the conversation has changed"):
        in_attempt(store, work(changed, "Be brief."))
    assert (again.paid[0], changed.paid[0]) == ("desk 4", "desk 3")


@pytest.mark.on_sqlite
def test_an_answer_that_follows_others_that_did_not_fit_says_so(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Broken):
        in_attempt(store, lambda _: run(Desk("desk 2").agent()))
    monkeypatch.setenv("ZRB_STORE_CHANGED_REQUEST", "reuse")
    with pytest.warns(RuntimeWarning, match="the system prompt has changed: 2 answers .* are used anyway"):
        in_attempt(store, lambda _: run(Desk().agent(instructions="Be quick.")))
    with open_session(store.database, "s") as document:
        notes = [agent_note(step.last, step.result) or "" for task in document.tasks for step in task.steps]
    told = [note.rpartition(", ")[2] for note in notes if "although" in note]
    assert told == ["earlier answers were used although the system prompt has changed"]


@pytest.mark.on_sqlite
def test_switched_off_it_repeats_nothing_that_is_stored(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    in_attempt(store, lambda _: run(Desk().agent()))
    monkeypatch.setenv("ZRB_STORE_AGENTS", "off")
    desk = Desk()
    with pytest.raises(RequestChanged, match=r"3 answers .* and 2 tool calls are stored, and would be made again"):
        in_attempt(store, lambda _: run(desk.agent()))
    assert desk.paid == []
    in_attempt(store, lambda _: run(desk.agent("other")))  # which has none
    assert len(desk.paid) == 5


@pytest.mark.on_sqlite
def test_what_a_private_agent_has_done_is_not_repeated_in_silence(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not known what its run started from."""

    @once_tool
    async def charge(n: int) -> str:
        return "receipt"

    monkeypatch.setenv("ZRB_STORE_AGENTS", "private")
    in_attempt(store, lambda _: run(Desk().agent(tool=charge)))
    monkeypatch.setenv("ZRB_STORE_AGENTS", "on")
    with pytest.raises(StepUncertain, match=r"might run again .the result of step desk: prompt is not stored"):
        in_attempt(store, lambda _: run(Desk().agent(tool=charge)))


@pytest.mark.on_sqlite
def test_a_call_that_its_tool_refused_may_be_told_so_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stored answers are used although one of them never fitted the tool."""
    paid: list[int] = []

    def answer(messages: list[ModelMessage], _: object) -> ModelResponse:
        number = sum(isinstance(one, ModelResponse) for one in messages)
        paid.append(number)
        call = ToolCallPart("charge", {"n": 1} if number else {}, f"c{number}")
        return ModelResponse([TextPart("done") if number == 2 else call])

    def charge(n: int) -> str:
        return "receipt"

    def start(instructions: str) -> None:
        agent: Any = Agent(
            FunctionModel(answer), name="desk", tools=[charge], instructions=instructions, capabilities=[durable()]
        )
        in_attempt(store, lambda _: run(agent))

    start("Be kind.")
    monkeypatch.setenv("ZRB_STORE_CHANGED_REQUEST", "reuse")
    with pytest.warns(RuntimeWarning, match="3 answers .* and 1 tool call are used anyway"):
        start("Be quick.")
    assert paid == [0, 1, 2]
