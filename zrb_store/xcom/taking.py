"""The taking half of a queue, and `current_attempt`: the attempt that the code runs in, which owns what it takes."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from contextvars import ContextVar, Token
from typing import Any, SupportsIndex, TypeVar

from zrb_store.db.transaction import Transaction, failpoint
from zrb_store.errors import InvalidArgument
from zrb_store.queries import takes, values
from zrb_store.queries.store import Owner
from zrb_store.xcom.reader import QueueReader
from zrb_store.xcom.session_queues import SessionQueues

current_attempt: ContextVar[Owner | None] = ContextVar("zrb_store_current_attempt", default=None)


def leave(token: Token[Owner | None]) -> None:
    """Let the code run in what it ran in before `current_attempt.set` returned this token."""
    # A generator or a coroutine that is closed elsewhere ends in another context, where there is nothing to reset.
    try:  # noqa: SIM105 - contextlib.suppress takes longer, and every step ends here
        current_attempt.reset(token)
    except ValueError:
        pass


T = TypeVar("T")


class QueueTaker(QueueReader):
    """The operations of a queue that take values."""

    def __init__(self, queues: SessionQueues, name: str) -> None:
        super().__init__(queues, name)
        self._pop_callbacks: list[Callable[[], Any]] = []

    def _after_take(self, seqs: Sequence[int], owner: Owner | None) -> None:
        """Do something after the commit in which `owner` took or removed values; a subclass may."""

    def pop(self, *, wait: float = 0) -> Any:
        """Take the oldest value.

        Waiting locks nothing and creates neither the queue nor its session. It blocks the thread, as every operation
        does; a coroutine calls `await asyncio.to_thread(xcom.pop, wait=60)`.

        Args:
            wait: How many seconds to wait for a value if the queue is empty; `math.inf` for ever.

        Raises:
            IndexError: The queue is empty, and stayed so.
            AttemptClosed: The attempt that this operation belongs to has ended, perhaps while it waited.
            LeaseLost: Another process has taken over the session of that attempt.
            InvalidArgument: The time to wait is negative or no number.
        """
        if wait != 0:
            from zrb_store.runtime.waiting import check_seconds  # late: most programs never wait

            check_seconds(wait)
        return self._pop(right=False, wait=wait)

    def popleft(self) -> Any:
        """Take the oldest value; the same as `pop` without waiting, with its errors."""
        return self._pop(right=False)

    def popright(self) -> Any:
        """Take the newest value. Raises what `pop` raises."""
        return self._pop(right=True)

    def pop_many(self, n: SupportsIndex) -> list[Any]:
        """Take the oldest values, at most `n`, in one transaction.

        Args:
            n: How many to take if the queue has as many.

        Returns:
            The values, the oldest first; an empty list if the queue is empty.

        Raises:
            AttemptClosed: The attempt that this operation belongs to has ended.
            LeaseLost: Another process has taken over the session of that attempt.
            InvalidArgument: `n` is less than 1.
        """
        return self._pop_many(operator.index(n))

    def _pop(self, right: bool, wait: float = 0) -> Any:
        owner = self._owner()
        queue_id = self._searched_queue(owner)
        found = self._take(queue_id, owner, right) if queue_id else None
        if found is None:
            found = self._take_later(owner, lambda queue_id: self._take_any(queue_id, owner, right), wait)
            if found is None:
                raise IndexError(self._empty_pop)
        failpoint("pop:after")
        value = self._decode(*found)
        self._after_take(found[:1], owner)
        call(self._pop_callbacks)
        return value

    def _take(self, queue_id: int, owner: Owner | None, right: bool) -> tuple[int, str] | None:
        database = self._queues.database
        attempt_id = owner.id if owner else None
        if right or database.dialect_name == "sqlite":
            return takes.take(database, queue_id, attempt_id, right=right)
        return takes.take_first(
            database, queue_id, lambda front: takes.take(database, queue_id, attempt_id, front=front)
        )

    def _take_any(self, queue_id: int, owner: Owner | None, right: bool) -> tuple[int, str] | None:
        found = self._take(queue_id, owner, right)
        return found or takes.take_large(self._queues.database, queue_id, owner.id if owner else None, right=right)

    def _pop_many(self, n: int) -> list[Any]:
        if n < 1:
            raise InvalidArgument(f"pop_many({n}) would take nothing: give 1 or more")
        owner = self._owner()
        attempt_id = owner.id if owner else None

        def take(queue_id: int) -> list[tuple[int, str]]:
            def work(transaction: Transaction) -> list[tuple[int, str]]:
                if not values.open_change(transaction, queue_id, attempt_id):
                    return []
                return takes.take_many(transaction, queue_id, attempt_id, n)

            return self._queues.database.transact(work)

        queue_id = self._searched_queue(owner)
        found = (take(queue_id) if queue_id else None) or self._take_later(owner, take) or []
        failpoint("pop:after")
        decoded = [self._decode(*one) for one in found]
        self._after_take([seq for seq, _ in found], owner)
        for _ in found:
            call(self._pop_callbacks)
        return decoded

    def _searched_queue(self, owner: Owner | None) -> int | None:
        """Return the queue's id, if it exists, after it was searched for what dead processes hold."""
        queue_id = self._queues.find_id(self.name)
        if queue_id:
            self._queues.reclaim(queue_id, owner)
        failpoint("pop:before")
        return queue_id

    def _take_later(self, owner: Owner | None, take: Callable[[int], T | None], wait: float = 0) -> T | None:
        """Call `take` with the queue's id until it finds something; return None if the queue stays empty."""
        from zrb_store.runtime.waiting import QueueWait  # late: as above

        queues = self._queues
        waiting = QueueWait(queues.database, queues.session, self.name, wait) if wait else None
        while True:
            if owner:
                owner.refuse_if_closed()
            is_vain = waiting is not None and not waiting.may_get_value()
            queue_id = None if is_vain else queues.find_id(self.name, refresh=True)
            # PostgreSQL finds no value if the only one it saw was taken while a newer one was pushed.
            if queue_id and (
                takes.has_live(queues.database, queue_id) or queues.reclaim(queue_id, owner, missing=True)
            ):
                if found := take(queue_id):
                    return found
            elif waiting is None or not waiting.wait():
                return None

    def append_pop_callback(self, callback: Callable[[], Any]) -> None:
        """Call `callback` after each pop of this object (not of other processes)."""
        self._pop_callbacks.append(callback)

    add_pop_callback = append_pop_callback

    def _owner(self) -> Owner | None:
        owner = self._queues.owner
        owner = owner.owner_of_change() if owner else current_attempt.get()
        if owner and self.is_in(owner.database):
            return owner
        return self._queues.parent_attempt


def call(callbacks: list[Callable[[], Any]]) -> None:
    """Call each of them."""
    for callback in callbacks:
        callback()
