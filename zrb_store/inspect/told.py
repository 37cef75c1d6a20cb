"""What readers tell of a step beside its attempts and its result: wings say it of the kinds that they add."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import NamedTuple, Protocol, Self, TypeAlias

from zrb_store.db.transaction import Transaction
from zrb_store.queries.steps import StepRecord, of_attempt
from zrb_store.records import AttemptRecord, JsonObject, JsonValue
from zrb_store.wings import kinds, load


class Costs(Protocol):
    """What steps have cost, of a kind that a wing adds."""

    @property
    def title(self) -> str:
        """Whose costs these are."""

    def __add__(self, other: object) -> Self: ...

    def to_json(self) -> JsonObject: ...

    def text(self) -> str:
        """Return it in one line; empty if there is nothing to tell."""


def sum_of(costs: Iterable[Costs | None]) -> Costs | None:
    """Return the sum of costs; None if there are none."""
    found: Costs | None = None
    for each in costs:
        if each is not None:
            found = each if found is None else found + each
    return found


class Told(NamedTuple):
    """What readers tell of a step."""

    executions: int  # how often it was run
    counts_executions: bool = False  # whether people count these, and not its attempts
    note: str | None = None  # what it did, in place of its name and result
    tokens: int | None = None  # what it used, in pictures
    costs: Costs | None = None


Results: TypeAlias = Sequence[tuple[AttemptRecord, JsonValue]]
"""The attempts of a step, with their results."""
Teller: TypeAlias = Callable[[AttemptRecord | None, Collection[StepRecord] | None], Callable[[Results], Told]]
"""Makes of the last attempt of a task, and of the steps that it began unless it has completed, what tells its steps."""


def plain(attempts: Results) -> Told:
    """Tell a step of no wing."""
    return Told(sum(each.run_id is not None for each, _ in attempts))


def tellers(transaction: Transaction, last: AttemptRecord | None) -> dict[str, Callable[[Results], Told]]:
    """Return what tells the steps of a task with this last attempt, by their kinds, of which wings say it."""
    begun: Collection[StepRecord] | None = None
    if last is not None and last.status != "completed":
        begun = of_attempt(transaction, last.id, with_values=False).values()
    places = {name: kind.teller for name, kind in kinds().items() if kind.teller is not None}
    made = {place: load(place)(last, begun) for place in {*places.values()}}
    return {name: made[place] for name, place in places.items()}
