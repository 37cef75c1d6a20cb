"""An agent pays refunds. After a kill it continues where it stopped, and pays no completed answer or refund again.

zrb refund

It runs without a network: the model is a function. What the model costs is in the file `bill`, and what the tool did is
in the file `refunds`: one line for each answer and each refund.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

from pydantic_ai.messages import ModelMessage, ModelResponse
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, DeltaToolCalls, FunctionModel
from zrb import LLMTask, cli

CUSTOMERS = ["Ada", "Ben", "Cleo", "Dan"]
# The careful model refunds half.
AMOUNT = {"quick": 100, "careful": 50}
NAME = os.environ.get("MODEL", "quick")


def note(file: str, line: str) -> None:
    print("   ", line, flush=True)
    with Path(file).open("a") as lines:
        lines.write(f"{line}\n")


async def answer(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[str | DeltaToolCalls]:
    """Answer as a model would: ask for one refund after the other."""
    number = sum(isinstance(message, ModelResponse) for message in messages)
    note("bill", f"answer {number + 1} of the {NAME} model")
    if number < len(CUSTOMERS):
        arguments = json.dumps({"customer": CUSTOMERS[number], "amount": AMOUNT[NAME]})
        yield {0: DeltaToolCall(name="refund", json_args=arguments, tool_call_id=f"call-{number + 1}")}
    else:
        yield "Everybody has a refund."


async def refund(customer: str, amount: int) -> str:
    """Pay a customer back. The bank hangs at Cleo as long as the file `bank-is-up` is missing."""
    if customer == "Cleo" and not Path("bank-is-up").exists():
        print("    waiting for the bank: Cleo", flush=True)
        while not Path("bank-is-up").exists():
            await asyncio.sleep(0.1)
    note("refunds", f"{customer} gets {amount}")
    return f"{customer} has {amount}"


cli.add_task(
    LLMTask(
        name="refund",
        description="Let an agent pay refunds",
        message="Pay back Ada, Ben, Cleo and Dan.",
        system_prompt="You pay refunds.",
        tools=[refund],
        model=FunctionModel(stream_function=answer, model_name=NAME),
        yolo=True,
        retries=0,
    )
)
