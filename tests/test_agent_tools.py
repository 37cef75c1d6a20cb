"""Calls of tools of an agent with `durable`: their arguments, their threads, and the marks of their functions."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from pydantic import BaseModel, Field
from pydantic.json_schema import SkipJsonSchema
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from tests.test_durable_agents import Desk, in_attempt, run
from zrb_store import Store, once_tool
from zrb_store.testing import Crash, crash_at, expire_lease

pytestmark = pytest.mark.promise(number=11)


class Place:
    """Has another text in each process."""


class Order(BaseModel, arbitrary_types_allowed=True):
    n: int
    number: UUID = Field(default_factory=uuid4)
    at: datetime = Field(default_factory=datetime.now)
    place: SkipJsonSchema[Place] = Field(default_factory=Place)


@pytest.mark.parametrize("is_once", [False, True])
@pytest.mark.parametrize("visit", range(1, 6))
def test_arguments_are_compared_as_the_model_gave_them(store: Store, visit: int, is_once: bool) -> None:
    """What pydantic makes of them may be different in each process."""

    async def charge(order: Order) -> str:
        desk.pay(f"charge {order.n}")
        return "receipt"

    def answer(messages: list[ModelMessage], _: AgentInfo) -> ModelResponse:
        found = sum(isinstance(one, ModelResponse) for one in messages)
        desk.pay(str(found))
        call = ToolCallPart("charge", {"order": {"n": found}}, f"c{found}")
        return ModelResponse([TextPart("done") if found == 2 else call])

    def work(_: Any) -> Any:
        agent = desk.agent(tool=once_tool(charge) if is_once else charge)
        agent.model = FunctionModel(answer)
        return run(agent)

    desk = Desk()
    with pytest.raises(Crash), crash_at("step_complete:after", visit=visit):
        in_attempt(store, work)
    expire_lease(store.session("s"))
    assert in_attempt(store, work) == "done"
    assert desk.paid == ["0", "charge 0", "1", "charge 1", "2"]
