"""Calls of tools of an agent with `durable`: their arguments, their threads, and the marks of their functions."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from pydantic import BaseModel, Field
from pydantic.json_schema import SkipJsonSchema
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from tests.agents.desk import Desk, in_attempt, run
from tests.support.forks import fork
from zrb_store import StepUncertain, Store, once_tool, open_store
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


@pytest.mark.slow
def test_calls_in_threads_end_before_a_script_that_is_interrupted(location: str) -> None:
    """Their results are stored, although several run at the same time."""
    desk, number = Desk(), 3

    def work(interrupt: bool) -> str:
        all_run = threading.Barrier(number)

        def charge(n: int) -> str:
            desk.pay(f"charge {n}")
            if interrupt:
                if all_run.wait(60) == 0:
                    os.kill(os.getpid(), signal.SIGINT)
                until = time.monotonic() + 60
                while (
                    sum(task.cancelling() for task in asyncio.all_tasks(loops[0])) < min(number, 2)
                    and time.monotonic() < until
                ):
                    pass
            return "receipt"

        def answer(messages: list[ModelMessage], _: AgentInfo) -> ModelResponse:
            is_last = any(isinstance(one, ModelResponse) for one in messages)
            calls = [ToolCallPart("charge", {"n": n}, f"c{n}") for n in range(number)]
            return ModelResponse([TextPart("done")] if is_last else calls)

        loops = []

        async def go(_: Any) -> str:
            loops.append(asyncio.get_running_loop())
            agent = desk.agent(tool=charge)
            agent.model = FunctionModel(answer)
            return await run(agent)

        with open_store(location) as store:
            result: str = in_attempt(store, go)
            return result

    def interrupted() -> None:
        with pytest.raises(KeyboardInterrupt):
            work(interrupt=True)
        assert len(desk.paid) == number

    assert os.waitpid(fork(interrupted), 0)[1] == 0
    assert work(interrupt=False) == "done"
    assert desk.paid == []


@pytest.mark.on_sqlite
@pytest.mark.parametrize("kind", [classmethod, staticmethod])
@pytest.mark.parametrize("is_above", [True, False])
def test_the_mark_of_a_method_of_a_class_is_found(store: Store, kind: Any, is_above: bool) -> None:
    """The mark may stand above or below the other decorator."""

    def charge(*of_class: Any, n: int) -> str:
        raise KeyboardInterrupt

    def of_class(cls: Any, n: int) -> str:
        return charge(cls, n=n)

    def static(n: int) -> str:
        return charge(n=n)

    method = of_class if kind is classmethod else static
    bank: Any = type("Bank", (), {"charge": once_tool(kind(method)) if is_above else kind(once_tool(method))})
    with pytest.raises(KeyboardInterrupt):
        in_attempt(store, lambda _: run(Desk().agent(tool=bank.charge)))
    with pytest.raises(StepUncertain):
        in_attempt(store, lambda _: run(Desk().agent(tool=bank.charge)))
