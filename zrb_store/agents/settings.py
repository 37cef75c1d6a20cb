"""What the settings of agents say that is no choice of words: the budget."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import NamedTuple, Self

from zrb_store.agents.money import dollars, plain_amount, stored_amount
from zrb_store.agents.notes import Object, Spent
from zrb_store.errors import InvalidArgument
from zrb_store.records import JsonValue
from zrb_store.settings import value_of

_LIMIT = r"tokens=(?P<tokens>\d[\d_]{0,17})|usd=(?P<usd>\d{1,12}(?:\.\d{1,12})?)"


class UsedUp(NamedTuple):
    """A limit that is used up."""

    unit: str  # `tokens` or `usd`: what a larger budget must name
    why: str


class Limits(NamedTuple):
    """What the agents of a session may use. None: any number."""

    tokens: int | None = None
    usd: Decimal | None = None

    @classmethod
    def of(cls, stored: Object) -> Self:
        """Return what a stored answer of a person allows."""
        tokens = stored.get("tokens")
        return cls(tokens if type(tokens) is int else None, stored_amount(stored.get("usd")))

    def to_json(self) -> dict[str, JsonValue]:
        usd = None if self.usd is None else plain_amount(self.usd)
        return {name: value for name, value in (("tokens", self.tokens), ("usd", usd)) if value is not None}

    def raised(self, other: Limits) -> Limits:
        """Return the larger ones of both; those that only the other one has, too."""
        tokens = max(filter(None, (self.tokens, other.tokens)), default=self.tokens)
        return Limits(tokens, max(filter(None, (self.usd, other.usd)), default=self.usd))

    def used_up(self, spent: Spent) -> UsedUp | None:
        """Return which of them is used up by what was paid; None if none is.

        An answer without a price uses up any amount of dollars, unless the tokens are limited too.
        """
        used = spent.input_tokens + spent.output_tokens
        if self.tokens is not None and used >= self.tokens:
            return UsedUp("tokens", f"{used:,} tokens are used, and the budget is {self.tokens:,}")
        if self.usd is not None and spent.usd >= self.usd:
            return UsedUp("usd", f"{dollars(spent.usd)} is used, and the budget is {dollars(self.usd)}")
        if self.usd is not None and self.tokens is None and spent.unpriced_models:
            models = ", ".join(sorted(spent.unpriced_models))
            why = f"the budget is {dollars(self.usd)}, but answers of {models} have no price: limit the tokens as well"
            return UsedUp("tokens", why)
        return None

    def larger(self, spent: Spent) -> str:
        """Return an example of a larger one."""
        tokens, usd = 2 * (spent.input_tokens + spent.output_tokens), self.usd
        has_tokens = self.tokens is not None or bool(spent.unpriced_models)
        of_tokens = [f"tokens={max(self.tokens or 0, tokens)}"] * has_tokens
        return ",".join([*of_tokens, *([] if usd is None else [f"usd={plain_amount(max(usd, 2 * spent.usd))}"])])

    def text(self) -> str:
        """Return it as people read it: `150 tokens`, or `150 tokens and $2.50`."""
        tokens = [] if self.tokens is None else [f"{self.tokens:,} tokens"]
        return " and ".join([*tokens, *([] if self.usd is None else [dollars(self.usd)])])


def budget_of(text: str | None = None, place: str = "ZRB_STORE_BUDGET") -> Limits | None:
    """Return what a text such as `tokens=500000,usd=2.50` allows, by default that of the setting; None for any."""
    if not text:
        text, place = value_of("ZRB_STORE_BUDGET"), "ZRB_STORE_BUDGET"
    if not text:
        return None
    parts = [re.fullmatch(_LIMIT, part.strip()) for part in str(text).split(",")]  # users may set anything on a task
    found: dict[str, str] = {name: one for part in parts if part for name, one in part.groupdict().items() if one}
    if len(found) != len(parts):
        wanted = "set it to a number of tokens or dollars, or both, e.g. tokens=500000 or tokens=500000,usd=2.50"
        raise InvalidArgument(f"{place} is {text!r}: {wanted}")
    return Limits(
        int(found["tokens"]) if "tokens" in found else None, Decimal(found["usd"]) if "usd" in found else None
    )
