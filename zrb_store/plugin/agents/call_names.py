"""Which use of a call's id a call is: some models give the same id in each of their answers."""

from __future__ import annotations

from collections import Counter


class CallNames:
    """Numbers the calls of one id in the order in which an agent makes them.

    A resumed agent, and one that zrb runs again from an earlier request, makes them in the same order.
    """

    def __init__(self) -> None:
        self._made: Counter[tuple[str, int]] = Counter()
        self._numbers: dict[str, dict[tuple[int, int], int]] = {}

    def number(self, text: str, position: int) -> int:
        """Return which of the calls with this text this one is, from 1.

        Args:
            text: The call, with its id.
            position: How many requests the agent has made: the last answer asks for the call.
        """
        self._made[text, position] += 1
        use = (position, self._made[text, position])
        numbers = self._numbers.setdefault(text, {})
        return numbers.setdefault(use, len(numbers) + 1)

    def restart(self, position: int) -> None:
        """Forget that calls were made since this many requests. They are made again."""
        for text, made_at in list(self._made):
            if made_at >= position:
                del self._made[text, made_at]
