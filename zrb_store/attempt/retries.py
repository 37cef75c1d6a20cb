"""How often what fails is tried again, and after which pauses."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import NamedTuple

from zrb_store.errors import InvalidArgument
from zrb_store.local_time import delay_in_micros

_LONGEST = 60.0  # seconds, if nobody says how long


class Retries(NamedTuple):
    """The tries after the first one."""

    most: int = 0
    after: tuple[float, ...] = ()  # seconds before each; the last one repeats. Without any: 1, 2, 4... up to a minute

    @classmethod
    def of(cls, count: int, after: Iterable[timedelta | float] | timedelta | float | None) -> Retries:
        """Return them as a Python user gives them; raise `InvalidArgument` if they have another form."""
        if type(count) is not int or count < 0:
            raise InvalidArgument(f"retries={count!r} is not a number of retries: give 0 or more")
        if after is None:
            return cls(count)
        every = after if isinstance(after, Iterable) and not isinstance(after, str) else [after]
        return cls(count, tuple(delay_in_micros(each) / 1_000_000 for each in every))

    def pause(self, failures: int) -> float | None:
        """Return how many seconds to wait after so many failures in a row; None if it is not tried again."""
        if failures > self.most:
            return None
        if self.after:
            return self.after[min(failures, len(self.after)) - 1]
        return min(2.0 ** (failures - 1), _LONGEST)


NO_RETRIES = Retries()
