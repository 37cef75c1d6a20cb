"""A delivery: a value that an attempt of its own has taken."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from zrb_store.attempt import Attempt, status_after
from zrb_store.errors import ZrbStoreError
from zrb_store.names import full_name
from zrb_store.run.in_thread import in_thread
from zrb_store.safe_text import ErrorText, printable
from zrb_store.xcom import current_attempt, leave

if TYPE_CHECKING:
    from contextvars import Token

    from zrb_store.queries.owner import Owner

_log = logging.getLogger("zrb_store")


class Delivery:
    """A value that an attempt of its own has taken from a queue; a context manager, also for `async with`.

    The block gets the value. At its end the attempt completes. If the block raises, everything that the attempt did to
    any queue is given back, the value first of all.

    Attributes:
        attempt: The attempt.
        value: The value; in batches, the list of values.
        place: Session and name of the queue.
        seqs: The seqs of the values.
        ids: The values, as SESSION/QUEUE#SEQ.
    """

    def __init__(
        self,
        attempt: Attempt,
        place: tuple[str, str],
        seqs: Sequence[int],
        value: Any,
        on_end: Callable[[bool], None],
        *,
        raises: bool,
    ) -> None:
        """Describe a delivery that has begun.

        Args:
            attempt: The attempt.
            place: Session and name of the queue.
            seqs: The values that it took.
            value: What the block gets.
            on_end: Called at the end with whether it completed.
            raises: Whether an exception that ends the block is raised again after it was recorded.
        """
        self.attempt = attempt
        self.value = value
        self.place = place
        self.seqs = seqs
        self.ids = tuple(full_name(*place, seq) for seq in seqs)
        self._on_end = on_end
        self._has_ended = False
        self._raises = raises
        self._token: Token[Owner | None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether it has not ended."""
        return self.attempt.is_open

    def complete(self) -> None:
        """Complete the delivery, as the end of the block does.

        Raises:
            AttemptClosed: It has ended before.
            LeaseLost: Another process has taken over the session of the run.
        """
        self.attempt.complete()
        self._note_end(True)

    def fail(self, error: BaseException | ErrorText | None = None, status: str = "failed") -> None:
        """Give everything back that the delivery did, and record why.

        Args:
            error: What ended it.
            status: `failed`, or `interrupted`: that does not count as a delivery of the value.

        Raises:
            AttemptClosed: It has ended before.
            LeaseLost: Another process has taken over the session of the run.
        """
        self._note_end(False)
        self.attempt.fail(error, status)

    def _note_end(self, completed: bool) -> None:
        if not self._has_ended:
            self._has_ended = True
            self._on_end(completed)

    def __enter__(self) -> Any:
        self._token = current_attempt.set(self.attempt)
        return self.value

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self._leave()
        return self._end(error)

    async def __aenter__(self) -> Any:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self._leave()
        return await in_thread(lambda: self._end(error))

    def _leave(self) -> None:
        if self._token is not None:
            leave(self._token)
            self._token = None

    def _end(self, error: BaseException | None) -> bool:
        """End the delivery after its block. Return whether the exception is dealt with, and not to be raised again."""
        if not self.is_open:
            return False
        if error is None:
            self.complete()
            return False
        if self._raises or not isinstance(error, Exception):
            with contextlib.suppress(ZrbStoreError):  # the exception under way says more
                self.fail(error, status_after(error))
            return False
        self.fail(error)
        _log.warning("%s failed: %s: %s", self.attempt.full_name, type(error).__name__, printable(str(error)))
        return True
