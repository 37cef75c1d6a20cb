"""The names of an agent's steps, for people. Two different steps never get the same name.

Names of agents and tools, and the ids that models give to calls, may be any text: what could be taken for another part
of a name stands in quotes. What a step is stands in its kind and attributes, and nobody reads that from its name.
"""

from __future__ import annotations

import hashlib
from collections import Counter

from zrb_store.names import quoted, storable_name

_LONGEST_NAME = 400


class CallNames:
    """Numbers the calls of one id in the order in which an agent makes them: some models give an id again.

    A resumed agent, and one that zrb runs again from an earlier request, makes them in the same order.
    """

    def __init__(self) -> None:
        self._made: Counter[tuple[str, int]] = Counter()
        self._numbers: dict[str, dict[tuple[int, int], int]] = {}

    def number(self, text: str, position: int) -> int:
        """Return which of the calls with this text, which has its id, this one is, from 1.

        The answer to request number `position` asks for it.
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


def word(text: str) -> str:
    """Return the name of a tool, or the id of a call, as one word of a name."""
    return quoted(text, unless=r'[^\s"~]+')


def bounded(name: str) -> str:
    """Return a name that a step may have, with a digest in place of the end of a long one."""
    name = storable_name(name)
    if len(name.encode()) <= _LONGEST_NAME:
        return name
    return f"{name[: _LONGEST_NAME // 8]} {hashlib.sha256(name.encode()).hexdigest()[:16]}"
