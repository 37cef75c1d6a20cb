"""What the reader of an agent's stream does belongs to the attempt, not to the step of the request."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic_ai import Agent
from pydantic_ai.messages import ModelResponse, TextPart
from pydantic_ai.models.function import FunctionModel

from tests.agents.desk import Desk, in_attempt, run
from tests.support.rows import query
from zrb_store import Attempt, Store
from zrb_store.agents import durable
from zrb_store.errors import ZrbStoreError

pytestmark = pytest.mark.promise(number=11)


def teller() -> Any:
    async def tell(*_: object) -> AsyncIterator[str]:
        for word in ("one ", "two ", "three "):
            yield word

    return Agent(FunctionModel(stream_function=tell), name="teller", capabilities=[durable()])


@pytest.mark.on_sqlite
@pytest.mark.parametrize("last", ["one ", "none"])
def test_what_the_reader_pushes_is_given_back_with_the_attempt(store: Store, last: str) -> None:
    async def read(attempt: Attempt) -> list[object]:
        queue = store.session("s").xcom["words"]
        async with teller().run_stream("Tell.") as result:
            async for word in result.stream_text(delta=True, debounce_by=None):
                queue.push(word)
                if word == last:
                    break
        queue.push("end")
        return list(queue)

    said = ["one ", "end"] if last == "one " else ["one ", "two ", "three ", "end"]
    assert in_attempt(store, read) == said
    # A stored answer comes as a whole; one that was not read to its end is not stored.
    assert in_attempt(store, read) == (said if last == "one " else ["one two three ", "end"])
    assert query(store, "SELECT count(*) FROM zrb_attempt WHERE step_of IS NOT NULL AND status = 'running'") == [(0,)]


@pytest.mark.on_sqlite
@pytest.mark.parametrize("is_left", [False, True])
def test_another_agent_beside_a_stream_is_stored(store: Store, is_left: bool) -> None:
    """It runs while the stream is read, or after somebody has left the stream before its end."""

    async def read(desk: Desk) -> str:
        said = ""
        async with teller().run_stream("Tell.") as result:
            async for _ in result.stream_text(debounce_by=None):
                if is_left:
                    break
                said = said or await run(desk.agent())
        return said or await run(desk.agent())

    first, again = Desk(), Desk()
    assert in_attempt(store, lambda _: read(first)) == in_attempt(store, lambda _: read(again)) == "desk done"
    assert (len(first.paid), again.paid) == (5, [])


@pytest.mark.on_sqlite
def test_a_wait_while_a_stream_is_read_is_refused(store: Store) -> None:
    """The stream would never end."""
    model = FunctionModel(lambda *_: ModelResponse([TextPart("yes")]))
    waiting: Any = Agent(model, name="waiting", capabilities=[durable(budget="tokens=1", wait_for_approval=True)])

    async def read(_: Attempt) -> None:
        async with teller().run_stream("Tell.") as result:
            async for _ in result.stream_text(debounce_by=None):
                await run(waiting)

    with pytest.raises(ZrbStoreError, match="cannot wait: its step teller: model is running: let it end first"):
        in_attempt(store, read)
