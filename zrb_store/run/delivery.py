"""A delivery: a value that an attempt of its own has taken.

`OpenDeliveries` knows those of one run that have not ended. `in_thread` is what a coroutine calls the store by.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import logging
import threading
import weakref
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from zrb_store.attempt import Attempt, status_after
from zrb_store.db.engine import Database
from zrb_store.db.transaction import Transaction
from zrb_store.errors import StoreUnavailable, ZrbStoreError
from zrb_store.masking import ErrorText, printable
from zrb_store.names import full_name
from zrb_store.queries import attempts, deliveries
from zrb_store.queries.give_back import undo_ended
from zrb_store.xcom import current_attempt, leave

if TYPE_CHECKING:
    from contextvars import Token

    from zrb_store.queries.store import Owner


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
            with contextlib.suppress(ZrbStoreError):  # the exception itself says more
                self.fail(error, status_after(error))
            return False
        self.fail(error)
        _log.warning("%s failed: %s: %s", self.attempt.full_name, type(error).__name__, printable(str(error)))
        return True


T = TypeVar("T")


class OpenDeliveries:
    """The open deliveries of a run, which all its consumers share.

    If the connection is lost while a delivery begins, nobody knows whether it has begun. If it has, it holds a value
    that nobody works on, so it is given back before the next one begins.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        # Those that somebody can still end. They stay known while their end cannot be recorded.
        self._known: weakref.WeakValueDictionary[int, Attempt] = weakref.WeakValueDictionary()
        self._in_doubt = False

    def begin(self, run_id: int, take: Callable[[], tuple[Attempt, T] | None]) -> tuple[Attempt, T] | None:
        """Begin a delivery of a run by `take`, which returns its attempt and something else; None without a value."""
        with self._lock:  # so that no delivery is taken for one that nobody knows
            if self._in_doubt:
                self._database.transact(functools.partial(self._give_back_unknown, run_id), "fail")
                self._in_doubt = False
            try:
                begun = take()
            except StoreUnavailable:
                self._in_doubt = True
                raise
            if begun is not None:
                self._known[begun[0].id] = begun[0]
            return begun

    def _give_back_unknown(self, run_id: int, transaction: Transaction) -> None:
        for attempt_id in deliveries.running(transaction, run_id):
            if attempt_id not in self._known and attempts.fail(transaction, attempt_id, "interrupted", None):
                undo_ended(transaction, [attempt_id], "interrupted")


async def in_thread(work: Callable[[], T], undo: Callable[[T], object] | None = None) -> T:
    """Call a function in a thread, and wait until it has ended, however often the coroutine is cancelled meanwhile.

    Args:
        work: The function. A thread cannot be cancelled: it goes on.
        undo: Called likewise with what `work` returned, if the coroutine was cancelled and nobody will get that.

    Returns:
        What the function returned.

    Raises:
        CancelledError: The coroutine was cancelled; the function has ended.
    """
    # Not a task: when its program ends, `asyncio.run` cancels all tasks at once, and what one returned would be lost.
    future = asyncio.get_running_loop().run_in_executor(None, contextvars.copy_context().run, work)
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is None:
        return future.result()
    if future.exception() is None and undo is not None:
        with contextlib.suppress(ZrbStoreError):  # the cancellation itself says more
            await in_thread(functools.partial(undo, future.result()))
    raise cancelled
