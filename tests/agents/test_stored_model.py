"""A model over steps, asked without a stream: pydantic-ai does so if nobody listens."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic_ai import Agent
from pydantic_ai.exceptions import ModelAPIError, ModelContextWindowExceededError, ModelHTTPError
from pydantic_ai.messages import (
    BinaryContent,
    BinaryImage,
    CachePoint,
    DocumentUrl,
    ImageUrl,
    ModelMessage,
    ModelResponse,
    TextContent,
    TextPart,
    ToolCallPart,
    ToolReturn,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.usage import RequestUsage

from tests.support.rows import query
from zrb_store import Store
from zrb_store.agents.runtime.capability import StoredAgent
from zrb_store.agents.runtime.journal import Journal

THEN = datetime(2026, 1, 2, 3, 4, 5, 6, UTC)


class Broken(Exception):
    """The provider is out of order, or wants money."""


class Bank:
    """An agent with a tool, and what was asked of both."""

    def __init__(self, *, broken_at: int | None = None, receipt: Any = None) -> None:
        self.asked: list[int] = []
        self.charged: list[int] = []
        self.seen: list[Any] = []
        self._broken_at = broken_at
        self._receipt = receipt

    def _answer(self, messages: list[ModelMessage], _: AgentInfo) -> ModelResponse:
        number = sum(isinstance(one, ModelResponse) for one in messages)
        self.asked.append(number)
        told = [part for one in messages for part in one.parts if isinstance(part, (ToolReturnPart, UserPromptPart))]
        self.seen = [part.content for part in told]
        if number == self._broken_at:
            raise Broken
        part = TextPart("done") if number == 3 else ToolCallPart("charge", {"n": number}, f"c{number}")
        usage = RequestUsage(input_tokens=10 * number, output_tokens=2)
        return ModelResponse([part], usage=usage, timestamp=THEN, provider_details={"at": THEN, "number": number})

    def run(self, store: Store, **more: Any) -> Any:
        """Run the agent in an attempt of its own, which fails."""
        with store.session("s").run() as run:
            attempt = run.begin("triage")
            try:
                stored = StoredAgent(Journal(attempt))
                return self.run_without_store(capabilities=[stored], **more)
            finally:
                attempt.fail()

    def run_without_store(self, capabilities: Sequence[Any] = (), **more: Any) -> Any:
        """Run the agent."""
        agent = Agent(FunctionModel(self._answer), instructions="Charge.", **more)
        agent.tool_plain(name="charge")(self._charge)
        return asyncio.run(agent.run("Charge them all.", capabilities=capabilities))

    def _charge(self, n: int) -> Any:
        self.charged.append(n)
        return f"receipt {n}" if self._receipt is None else self._receipt


def answers(result: Any) -> list[ModelResponse]:
    """Return the answers of a run; two runs of pydantic-ai have different ids."""
    found = [one for one in result.all_messages() if isinstance(one, ModelResponse)]
    for one in found:
        one.run_id = one.conversation_id = None
    return found


@pytest.mark.promise(number=11)
def test_a_stored_answer_is_the_very_answer(store: Store) -> None:
    first, again = Bank(), Bank()
    result = first.run(store)
    replayed = again.run(store)
    assert first.asked == [0, 1, 2, 3]
    assert first.charged == [0, 1, 2]
    assert (again.asked, again.charged) == ([], [])
    assert answers(replayed) == answers(result)
    assert [one.provider_details for one in answers(replayed)] == [{"at": THEN, "number": n} for n in range(4)]
    assert replayed.output == "done"
    assert replayed.usage == result.usage


@pytest.mark.promise(number=11)
def test_only_the_request_that_failed_is_made_again(store: Store) -> None:
    first, again = Bank(broken_at=2), Bank()
    with pytest.raises(Broken):
        first.run(store)
    assert again.run(store).output == "done"
    assert (first.asked, again.asked) == ([0, 1, 2], [2, 3])
    assert (first.charged, again.charged) == ([0, 1], [2])


class OfMine(ModelAPIError):
    """An error of a model that is no part of pydantic-ai."""


class Sdk(Exception):
    """An error as a provider's own client raises it."""

    def __init__(self) -> None:
        super().__init__("too many tokens")
        self.status_code = 400
        self.body = {"Error": {"Code": "ValidationException", "Message": ""}}
        self.response = object()


REFUSALS = [
    (ModelHTTPError(400, "m", {"message": "no", "n": [1]}), ModelHTTPError),
    (
        ModelHTTPError.for_category(ModelContextWindowExceededError, status_code=400, model_name="m", body="long"),
        (ModelHTTPError, ModelContextWindowExceededError),
    ),
    (OfMine("m", "prompt too long", retry_after=1.5), ModelAPIError),
    (Sdk(), Exception),
]


class Refused(Bank):
    """A bank whose provider refuses the third request. The agent starts again with another message."""

    def __init__(self, error: Exception) -> None:
        super().__init__(broken_at=2)
        self.refusals: list[Exception] = []
        self._error = error

    def _answer(self, messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        try:
            return super()._answer(messages, info)
        except Broken:
            self._broken_at = None
            raise self._error from None

    def run(self, store: Store, **more: Any) -> Any:
        """Run the agent in an attempt of its own, which fails."""
        agent = Agent(FunctionModel(self._answer), **more)
        agent.tool_plain(name="charge")(self._charge)
        with store.session("s").run() as run:
            attempt = run.begin("triage")
            journal = Journal(attempt)
            try:
                asyncio.run(agent.run("Charge them all.", capabilities=[StoredAgent(journal)]))
            except Exception as error:  # noqa: BLE001 - it may be of any type
                self.refusals.append(error)
            journal.restart(0)
            try:
                return asyncio.run(agent.run("Charge fewer.", capabilities=[StoredAgent(journal)]))
            finally:
                attempt.fail()


@pytest.mark.on_sqlite
@pytest.mark.promise(number=11)
@pytest.mark.parametrize(("error", "kinds"), REFUSALS)
def test_a_refusal_from_which_the_agent_goes_on_comes_again(store: Store, error: Exception, kinds: Any) -> None:
    """It has all that zrb decides by."""
    first, again = Refused(error), Refused(error)
    result = first.run(store)
    assert answers(again.run(store)) == answers(result)
    assert (first.asked, again.asked) == ([0, 1, 2, 0, 1, 2, 3], [])
    assert (first.charged, again.charged) == ([0, 1, 0, 1, 2], [])
    assert first.refusals == [error]
    (refusal,) = again.refusals
    for base in kinds if isinstance(kinds, tuple) else (kinds,):
        assert isinstance(refusal, base)
    assert str(refusal) == str(error)
    for name in ("status_code", "body", "retry_after", "message"):
        assert getattr(refusal, name, None) == getattr(error, name, None)


@pytest.mark.promise(number=11)
def test_the_secrets_of_a_refusal_are_masked(store: Store) -> None:
    """Those with a name, and passwords of URLs, in its text and in what a provider says beside it. Nothing else is."""
    body = {
        "message": "too long, api_key=hunter21",
        "api_key": "hunter22",
        "from": ["https://u:hunter23@a/"],
        "max_tokens": 5,
    }
    again = Refused(Broken())
    Refused(ModelHTTPError(400, "m", body)).run(store)
    again.run(store)
    (refusal,) = again.refusals
    assert refusal.body == {  # type: ignore[attr-defined]
        "message": "too long, api_key=***",
        "api_key": "***",
        "from": ["https://u:***@a/"],
        "max_tokens": 5,
    }
    assert "hunter" not in str(refusal) + str(query(store, "SELECT data FROM zrb_value"))


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"model_settings": {"temperature": 0.0}}, "setting temperature is new"),
        ({"output_type": [str, int]}, "tool final_result is new"),
    ],
)
def test_another_request_is_made_anew(store: Store, more: dict[str, Any], reason: str) -> None:
    Bank().run(store)
    again = Bank()
    with pytest.warns(RuntimeWarning, match=reason):
        again.run(store, **more)
    assert again.asked == [0, 1, 2, 3]
    assert again.charged == [0, 1, 2]
    texts = [row[0] for row in query(store, "SELECT result FROM zrb_attempt WHERE step_of IS NOT NULL ORDER BY id")]
    found = [result["changed"] for result in map(json.loads, texts) if "changed" in result]
    assert found == [f"request changed: {reason}"]


PICTURE = BinaryContent(b"\x89PNG\xff", media_type="image/png", identifier="receipt", vendor_metadata={"detail": "low"})


@dataclass
class Report:
    picture: BinaryContent
    pages: set[int]


@pytest.mark.on_sqlite
@pytest.mark.promise(number=11)
@pytest.mark.parametrize(
    "receipt",
    [
        PICTURE,
        BinaryImage(b"\x89PNG\xff", media_type="image/jpeg"),
        BinaryContent(b"%PDF", media_type="application/pdf"),
        ImageUrl("https://a.example/receipt"),
        ["two pages", PICTURE, DocumentUrl("https://a.example/a.pdf", force_download=True)],
        {"picture": PICTURE, "pages": (1, 2)},
        ToolReturn(PICTURE),
        ToolReturn("see below", content=["This:", PICTURE, TextContent("that", metadata={1}), CachePoint()]),
        ToolReturn([PICTURE], content=[ImageUrl("https://a.example/b.png")], metadata={"pages": {1, 2}}),
    ],
    ids=lambda receipt: type(receipt).__name__,
)
def test_the_model_sees_again_what_a_tool_has_shown_it(store: Store, receipt: Any) -> None:
    first, again, stock = (Bank(broken_at=at, receipt=receipt) for at in (3, None, None))
    with pytest.raises(Broken):
        first.run(store)
    assert again.run(store).output == "done"
    assert (again.asked, again.charged) == ([3], [])
    assert again.seen == first.seen
    assert [type(one) for one in again.seen] == [type(one) for one in first.seen]
    stock.run_without_store()
    assert again.seen == stock.seen


def test_a_picture_in_an_object_is_shown_as_it_was(store: Store) -> None:
    """The class is not registered, so that the object comes back as the plain data that the model has seen."""
    first, again = Bank(broken_at=3, receipt=Report(PICTURE, {2, 1})), Bank()
    with pytest.raises(Broken):
        first.run(store)
    again.run(store)
    assert (again.asked, again.charged) == ([3], [])
    assert again.seen[1] == {"picture": BinaryContent.narrow_type(PICTURE), "pages": [1, 2]}


def test_the_result_of_an_agent_is_no_result_of_a_step(store: Store) -> None:
    """A user who makes a run of an agent a step is told what to return."""

    async def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        return ModelResponse(parts=[TextPart("gone")])

    agent = Agent(FunctionModel(answer))
    with store.session("s").run() as run, run.attempt("triage") as attempt, pytest.warns(RuntimeWarning) as warned:
        assert asyncio.run(attempt.step("go", agent.run, "go")).output == "gone"
    assert "(return its `.output`: that makes it storable)" in str(warned[0].message)
