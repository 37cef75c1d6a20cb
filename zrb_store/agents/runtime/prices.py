"""What an answer costs, by the list of prices that pydantic-ai uses: `genai-prices`.

It is asked once, when the answer is stored: another list does not change what was paid. A model loads the list when it
is made, so the first price takes 3 ms of the event loop, and each other one half a millisecond.
"""

from __future__ import annotations

from importlib.metadata import version

from pydantic_ai.messages import ModelResponse

from zrb_store.agents.money import plain_amount
from zrb_store.records import JsonObject

_LIST = "genai-prices"


def cost_of(response: ModelResponse) -> JsonObject | None:
    """Return what an answer costs and which price that is, as it is stored; None if no price is known."""
    if not response.usage.has_values():  # it was not measured
        return None
    try:
        found = response.cost()
        priced = f"{found.provider.id}/{found.model.id}"
        return {"usd": plain_amount(found.total_price), "model": priced, "prices": f"genai-prices {version(_LIST)}"}
    except Exception:  # noqa: BLE001 - no list, another form of it, or a model or a usage that it does not know
        return None
