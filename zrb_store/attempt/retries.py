"""How often what fails is tried again, and after which pauses."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from zrb_store.db.clock import clock
from zrb_store.errors import InvalidArgument, is_refusal
from zrb_store.local_time import delay_in_micros
from zrb_store.masking import mask_text, one_line

if TYPE_CHECKING:
    from zrb_store.db.engine import Database

_LONGEST = 60.0  # seconds, if nobody says how long
_LOOK = 0.2  # seconds between two looks whether the process has to end

_log = logging.getLogger("zrb_store")


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


class Tries:
    """The tries of one call: how often it has failed, and the pauses between them.

    An error of this package ends them, since another try would meet it again, and so does the end of the process.
    """

    def __init__(
        self, what: str, retries: Retries, database: Database, failed_before: Callable[[], int] = lambda: 0
    ) -> None:
        """Prepare to try something. `failed_before` returns how often it failed before, if that counts."""
        self._what = what
        self._retries = retries
        self._database = database
        self._failed_before = failed_before
        self._failures = 0
        self._until = 0.0  # when the next try begins
        self._error: Exception | None = None  # of the last one

    def may_repeat(self, error: Exception, *, is_old: bool = False) -> bool:
        """Count a failure, and return whether it is tried again; with `is_old`, at once, as the failure is stored."""
        if not self._failures and self._retries.most:
            self._failures = self._failed_before()
        self._failures += 1
        pause = None if is_refusal(error) or self._database.is_stopping else self._retries.pause(self._failures)
        if pause is None:
            return False
        self._until = clock.monotonic() + (0.0 if is_old else pause)
        self._error = error
        if not is_old:
            why = one_line(mask_text(f"{type(error).__name__}: {error}"))
            _log.warning("%s failed (%s): it is tried again in %g s", self._what, why, pause)
        return True

    def rest(self) -> None:
        """Wait until the next try begins; raise the last error if the process has to end meanwhile."""
        while (left := self._left()) > 0:
            clock.sleep(min(left, _LOOK))
        self._error = None

    async def rest_async(self) -> None:
        """Wait likewise, and let the event loop go on."""
        import asyncio

        while (left := self._left()) > 0:
            await asyncio.sleep(min(left, _LOOK, clock.ask_every))
        self._error = None

    def _left(self) -> float:
        if self._database.is_stopping and self._error is not None:
            raise self._error
        return self._until - clock.monotonic()
