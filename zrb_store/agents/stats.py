"""What `stats` tells of the agents of tasks: tokens and dollars that were paid, used again and thrown away."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import NamedTuple

from zrb_store import codec
from zrb_store.agents.kinds import MODEL_REQUEST
from zrb_store.agents.notes import NO_COSTS, AgentCosts, Spent, agents_of, costs_of_step
from zrb_store.agents.queries import AgentAttempt, agent_attempts
from zrb_store.db.transaction import Transaction
from zrb_store.records import AttemptRecord, JsonTree


class Tokens(NamedTuple):
    """The costs of the agents of a main task, without calls of tools."""

    costs: AgentCosts

    def __add__(self, other: object) -> Tokens:
        return Tokens(self.costs + other.costs) if isinstance(other, Tokens) else NotImplemented

    def __bool__(self) -> bool:
        return bool(self.costs.text())

    def to_json(self) -> JsonTree:
        return {name: _numbers(spent) for name, spent in self.costs._asdict().items()}

    def cells(self) -> list[str]:
        totals = [(f"{spent.input_tokens + spent.output_tokens:,}", spent.money) for spent in self.costs]
        return [f"{tokens} ({money})" if money else tokens for tokens, money in totals]

    def samples(self, family: str) -> Iterator[tuple[dict[str, str], float]]:
        for kind, spent in self.costs._asdict().items():
            if family == "agent_tokens":
                yield {"kind": kind, "direction": "input"}, spent.input_tokens
                yield {"kind": kind, "direction": "output"}, spent.output_tokens
            elif family == "agent_cost_usd":
                yield {"kind": kind}, float(spent.usd)
            else:
                yield {"kind": kind}, spent.answers - spent.priced_answers


def _numbers(spent: Spent) -> JsonTree:
    of_money = {name: spent.to_json()[name] for name in ("answers", "usd", "priced_answers", "unpriced_models")}
    return {"input": spent.input_tokens, "output": spent.output_tokens, **of_money}


def costs_of_tasks(
    transaction: Transaction, task: str | None, since: int | None
) -> Iterator[tuple[tuple[str | None, str | None], Tokens]]:
    """Yield what the agents of a main task, or of all, have cost since a moment, by its project and name."""
    every = agent_attempts(transaction, task, since)
    for (key, _), found in groupby(every, lambda one: (one.key, one.of)):
        costs = _costs(found)
        if costs is not None:
            yield key, Tokens(costs)


def _costs(found: Iterable[AgentAttempt]) -> AgentCosts | None:
    """Return the costs of the answers of one task; None if there are none."""
    asked, begun = list[tuple[AttemptRecord, AgentCosts]](), list[AttemptRecord]()
    for one in found:
        if one.record.kind == MODEL_REQUEST:
            result = one.result and codec.to_json(one.result)
            asked.append((one.record, costs_of_step([(one.record, result)], one.last_id, None)))
        begun += [one.record] * (one.last_status == "completed" or one.record.parent_id == one.last_id)
    if not asked:
        return None
    agents, costs = agents_of(begun), NO_COSTS
    for record, own in asked:
        is_used = not agents.isdisjoint(agents_of([record]))
        costs += own if is_used else own._replace(used_again=Spent())
    return costs
