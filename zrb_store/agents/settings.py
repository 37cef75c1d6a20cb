"""What the settings of agents say that is no choice of words: the budget."""

from __future__ import annotations

import re

from zrb_store.errors import InvalidArgument
from zrb_store.settings import value_of


def budget_of(text: str | None = None, place: str = "ZRB_STORE_BUDGET") -> int | None:
    """Return how many tokens a text such as `tokens=500000` allows, by default that of the setting; None for any."""
    if not text:
        text, place = value_of("ZRB_STORE_BUDGET"), "ZRB_STORE_BUDGET"
    if not text:
        return None
    found = re.fullmatch(r"tokens=(\d[\d_]{0,17})", str(text))  # users may set anything on a task
    if not found:
        raise InvalidArgument(f"{place} is {text!r}: set it to a number of tokens, e.g. tokens=500000")
    return int(found[1])
