"""What the agents of a session may use over all its runs (`ZRB_STORE_BUDGET`): no request is made after it."""

from __future__ import annotations

from zrb_store import codec
from zrb_store.attempt import Attempt
from zrb_store.attempt.exact_steps import stored_step
from zrb_store.attempt.waits import answers_in
from zrb_store.errors import BudgetUsed
from zrb_store.inspect.agents import answer_cost
from zrb_store.queries.steps import BUDGET, paid_since
from zrb_store.queries.waits import Awaited


class Budget:
    """The budget of a session, as one attempt of it sees that.

    Args:
        tokens: How many tokens may be used. A person may have raised it.
        waits: Whether the session waits for a larger one, rather than that the task ends.
    """

    def __init__(self, attempt: Attempt, tokens: int, *, waits: bool) -> None:
        self._attempt = attempt
        self._tokens = tokens
        self._waits = waits
        self._used = self._tick = 0

    def is_used(self) -> bool:
        """Whether it is used up by the answers that were paid until now."""
        for tick, step, result in paid_since(self._attempt.database, self._attempt.session, self._tick):
            self._tick = tick
            data = codec.to_json(result or "null")
            if step.partition("~")[0] == BUDGET:
                self._raise_to(data.get("tokens") if type(data) is dict else data)
            else:
                cost = answer_cost(data)
                self._used += cost.input_tokens + cost.output_tokens
        return self._used >= self._tokens

    def _raise_to(self, tokens: object) -> None:
        if type(tokens) is int:
            self._tokens = max(self._tokens, tokens)

    def refuse_or_wait(self) -> None:
        """Raise an error, or end the attempt until a person raises the budget, if it is used up."""
        attempt = self._attempt
        while self.is_used():
            state = f"{self._used:,} of {self._tokens:,} tokens are used"
            if not self._waits:
                raise BudgetUsed(
                    f"{attempt.task}: {state}, so no other request is made: start it again with a larger budget, such "
                    f"as `ZRB_STORE_BUDGET=tokens={2 * self._tokens} zrb xcom resume {attempt.session}`"
                )
            number = 1
            while stored_step(attempt, name := BUDGET if number == 1 else f"{BUDGET}~{number}"):
                number += 1
            answers_in(attempt, [Awaited(f"{attempt.task}: budget", say=f"{state}, allow more?", name=name)])
