"""`Xcom`: a durable queue with the interface of zrb's `Xcom` and of `collections.deque`. `reader.py` reads it."""

from __future__ import annotations

import functools
import operator
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import Any, Concatenate, ParamSpec, Self, SupportsIndex, TypeVar

from zrb_store import codec
from zrb_store.codec import Encoded
from zrb_store.db.transaction import Transaction, failpoint
from zrb_store.errors import InvalidArgument, SessionNotFound
from zrb_store.local_time import delay_in_micros
from zrb_store.names import check_name
from zrb_store.queries import queues, takes, values
from zrb_store.queries.attempts import Owner
from zrb_store.queries.clock import draw
from zrb_store.queries.pushers import EVERYBODY, Alive
from zrb_store.queries.sessions import being_removed
from zrb_store.queries.values import NewValue
from zrb_store.wings import needed
from zrb_store.xcom.reader import (
    NOTHING,
    Edit,
    Editor,
    Live,
    QueueReader,
    as_index,
    as_number,
    edit_delete,
    edit_insert,
    edit_reverse,
    edit_rotate,
)
from zrb_store.xcom.session_queues import SessionQueues

P = ParamSpec("P")
T = TypeVar("T")
Callback = Callable[[], Any]


def _call(callbacks: list[Callback]) -> None:
    for callback in callbacks:
        callback()


def _then_call(
    change: Callable[Concatenate[Xcom, P], None], callbacks: str = "_push_callbacks"
) -> Callable[Concatenate[Xcom, P], None]:
    """Let a change call callbacks after it; `__wrapped__` is the change alone."""

    @functools.wraps(change)
    def changed(self: Xcom, /, *args: P.args, **kwargs: P.kwargs) -> None:
        change(self, *args, **kwargs)
        _call(getattr(self, callbacks))

    return changed


class Xcom(QueueReader):
    """One queue of a session. Each operation is one transaction, which every process sees at once.

    `pop` takes the oldest value, as in zrb; use `popright` for the newest. A taken value stays in the history.
    Operations inside an attempt belong to it: they are undone unless it completes. Outside an attempt they are final.
    """

    def __init__(self, queues: SessionQueues, name: str) -> None:
        self._queues = queues
        self.name = check_name(name, "queue")
        self.place = queues.session, name
        self._push_callbacks: list[Callback] = []
        self._pop_callbacks: list[Callback] = []

    # -- what a subclass may change: how values are encoded, and what it remembers of them

    def _encode(self, value: Any) -> Encoded:
        return codec.encode(value, limit=self._queues.max_value)

    def _after_push(self, seq: int, item: Encoded, value: Any) -> None:
        """Do something after the commit of a value that this process pushed."""

    def _after_move(self, old: int, new: int) -> None:
        """Do something after the commit of a value that continues under another seq."""

    def _after_take(self, seqs: Sequence[int], owner: Owner | None) -> None:
        """Do something after the commit in which `owner` took or removed values; a subclass may."""

    # -- push

    def append(self, value: Any) -> None:
        """Add a value at the end.

        Raises:
            UnencodableValue: No codec takes a part of it.
            ValueTooLarge: It is larger than the limit.
        """
        self._push(value, left=False)
        _call(self._push_callbacks)

    def push(self, value: Any, *, delay: timedelta | float = 0, connection: Any = None) -> Any:
        """Add a value at the end.

        Args:
            delay: Until it is over the value is in nobody's queue: no taker, `len` or iteration finds it. A timedelta,
                or a number of seconds.
            connection: Let the value be there once the transaction of this connection commits, which leads to the
                store's database: a Connection or AsyncConnection (then await the call) of SQLAlchemy, or one of sqlite3
                or psycopg. No callback is called.

        Raises:
            InvalidArgument: The delay is negative or no length of time; or the connection leads elsewhere, or has no
                transaction.
            UnencodableValue: No codec takes a part of the value.
            ValueTooLarge: It is larger than the limit.
        """
        micros = 0 if delay == 0 else delay_in_micros(delay)
        if connection is not None:
            push = functools.partial(self._push, value, left=False, delay=micros)
            return needed("push_with", "push(connection=...)")(self._queues.database, push, connection)
        self._push(value, left=False, delay=micros)
        _call(self._push_callbacks)
        return None

    @_then_call
    def appendleft(self, value: Any) -> None:
        """Add a value at the beginning. Raises what `append` raises."""
        self._push(value, left=True)

    @_then_call
    def extend(self, new: Iterable[Any]) -> None:
        """Add all values at the end, or none. Raises what `append` raises."""
        self._extend(list(new), left=False)

    @_then_call
    def extendleft(self, new: Iterable[Any]) -> None:
        """Add all values at the beginning, or none; the last one comes first. Raises what `append` raises."""
        self._extend(list(new)[::-1], left=True)

    def _push(self, value: Any, left: bool, delay: int = 0) -> None:
        item = self._encode(value)
        owner = self._queues.owner_of_change()
        attempt_id = owner.id if owner else None
        database = self._queues.database
        span = None if database.observer is None else self._queues._traceparent(owner)
        queue_id = self._queues.queue_id(self.name, owner)
        failpoint("push:before")
        pushed = values.push(database, queue_id, item, attempt_id, left=left, delay=delay, traceparent=span)
        if pushed is None:
            pushed = self._try_again(
                owner,
                lambda new_id: values.push(
                    database, new_id, item, attempt_id, left=left, delay=delay, traceparent=span
                ),
            )
        failpoint("push:after")
        self._after_push(pushed.seq, item, value)

    def _try_again(self, owner: Owner | None, change: Callable[[int], T | None]) -> T:
        """Make a change that wrote nothing with the queue's present id; if it writes nothing again, say why."""
        if owner:
            owner.refuse_if_closed()
        done = change(self._queues.queue_id(self.name, owner, refresh=True))
        if done is not None:
            return done
        if owner:
            owner.refuse_if_closed()
        raise SessionNotFound(being_removed(self._queues.session))

    def _extend(self, new: Sequence[Any], left: bool) -> None:
        items = [NewValue(self._encode(value)) for value in new]
        if items:
            edit = Edit([], items if left else [], [] if left else items)
            self._apply(lambda live: edit, read=False, pushed=new)

    # -- take

    def pop(self, *, wait: float = 0) -> Any:
        """Take the oldest value.

        Waiting blocks the thread, as every operation does; a coroutine calls
        `await asyncio.to_thread(xcom.pop, wait=60)`.

        Args:
            wait: How many seconds to wait for a value if the queue is empty; `math.inf` for ever.

        Raises:
            IndexError: The queue is empty, and stayed so.
            InvalidArgument: The time to wait is negative or no number.
        """
        if wait != 0:
            from zrb_store.runtime.waiting import check_seconds

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

        Returns:
            The values, the oldest first; an empty list if the queue is empty.

        Raises:
            InvalidArgument: `n` is less than 1.
        """
        return self._pop_many(operator.index(n))

    def _pop(self, right: bool, wait: float = 0) -> Any:
        owner = self._queues.owner_of_change()
        queue_id = self._searched_queue(owner)
        found = self._take(queue_id, owner, right) if queue_id else None
        found = found or self._take_later(owner, lambda queue_id: self._take_any(queue_id, owner, right), wait)
        if found is None:
            raise IndexError(self._empty_pop)
        failpoint("pop:after")
        value = self._decode(*found)
        self._after_take(found[:1], owner)
        _call(self._pop_callbacks)
        return value

    def _take(self, queue_id: int, owner: Owner | None, right: bool) -> tuple[int, str] | None:
        database = self._queues.database
        place = queue_id, owner.id if owner else None, self._queues.alive(queue_id)
        if right or database.dialect_name == "sqlite":
            return takes.take(database, *place, right=right)
        return takes.take_first(database, queue_id, lambda front: takes.take(database, *place, front=front))

    def _take_any(self, queue_id: int, owner: Owner | None, right: bool) -> tuple[int, str] | None:
        database = self._queues.database
        if found := self._take(queue_id, owner, right):
            return found
        self._queues.reclaim(queue_id, owner, missing=True)
        if not takes.has_live(database, queue_id):
            return None
        attempt_id = owner.id if owner else None
        return database.transact(lambda each: takes.take_whole(each, queue_id, attempt_id, right=right))

    def _pop_many(self, n: int) -> list[Any]:
        if n < 1:
            raise InvalidArgument(f"pop_many({n}) would take nothing: give 1 or more")
        owner = self._queues.owner_of_change()
        attempt_id = owner.id if owner else None

        def work(queue_id: int, alive: Alive, transaction: Transaction) -> list[tuple[int, str]]:
            is_open = values.open_change(transaction, queue_id, attempt_id)
            return takes.take_many(transaction, queue_id, attempt_id, n, alive) if is_open else []

        def take(queue_id: int, alive: Alive) -> list[tuple[int, str]]:
            return self._queues.database.transact(functools.partial(work, queue_id, alive))

        def take_any(queue_id: int) -> list[tuple[int, str]]:
            self._queues.reclaim(queue_id, owner, missing=True)
            return take(queue_id, EVERYBODY)

        queue_id = self._searched_queue(owner)
        found = take(queue_id, self._queues.alive(queue_id)) if queue_id else []
        found = found or self._take_later(owner, take_any) or []
        failpoint("pop:after")
        decoded = [self._decode(*one) for one in found]
        self._after_take([seq for seq, _ in found], owner)
        for _ in found:
            _call(self._pop_callbacks)
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
        from zrb_store.runtime.waiting import QueueWait

        database = self._queues.database
        waiting = QueueWait(database, *self.place, wait) if wait else None
        while True:
            if owner:
                owner.refuse_if_closed()
            is_vain = waiting is not None and not waiting.may_get_value()
            queue_id = None if is_vain else self._queues.find_id(self.name, refresh=True)
            # PostgreSQL finds no value if the only one it saw was taken while a newer one was pushed.
            if queue_id and (takes.has_live(database, queue_id) or self._queues.reclaim(queue_id, owner, missing=True)):
                if found := take(queue_id):
                    return found
            elif waiting is None or not waiting.wait():
                return None

    # -- remove

    def clear(self) -> None:
        """Remove every value."""
        self._apply(lambda live: Edit([value.seq for value in live], [], []))

    @functools.partial(_then_call, callbacks="_pop_callbacks")
    def remove(self, value: Any) -> None:
        """Remove the first value equal to this one.

        Raises:
            ValueError: There is none.
        """
        other: set[int] = set()

        def editor(live: Live) -> Edit:
            for each in live:
                if each.seq == equal:
                    return Edit([each.seq], [], [])
                if each.seq not in other:
                    break
            return NOTHING

        # Decoding and comparing may run any code, so the queue is not locked meanwhile. Values that arrive during the
        # search are searched next.
        while (equal := self._first_equal(value, other)) is not None:
            if self._apply(editor).removed:
                return
        raise ValueError(f"{value!r} is not in deque")

    def __delitem__(self, index: SupportsIndex) -> None:
        self._apply(edit_delete(as_index(index)))

    # -- replace

    def set(self, new_value: Any) -> None:
        """Replace all values by this one. Raises what `append` raises."""
        new = [NewValue(self._encode(new_value))]
        edit = self._apply(lambda live: Edit([value.seq for value in live], [], new), pushed=[new_value])
        _call(self._push_callbacks)
        for _ in edit.removed:
            _call(self._pop_callbacks)

    @_then_call
    def insert(self, index: SupportsIndex, value: Any) -> None:
        """Insert a value before an index. Raises what `append` raises."""
        self._apply(edit_insert(as_number(index), self._encode(value)), pushed=[value])

    @_then_call
    def __setitem__(self, index: SupportsIndex, value: Any) -> None:
        self._apply(edit_insert(as_index(index), self._encode(value), replace=True), pushed=[value])

    def rotate(self, n: SupportsIndex = 1) -> None:
        """Move the last `n` values to the beginning, or the first ones to the end if `n` is negative."""
        self._apply(edit_rotate(as_number(n)))

    def reverse(self) -> None:
        """Reverse the order in place."""
        self._apply(edit_reverse)

    def __iadd__(self, other: Iterable[Any]) -> Self:  # type: ignore[override]  # in place, unlike +
        self._extend(list(other), left=False)  # without callbacks, as in zrb
        return self

    def __imul__(self, times: SupportsIndex) -> Self:  # type: ignore[override]  # in place, unlike *
        deque() * times  # type: ignore[operator]  # raises what a deque raises
        n = operator.index(times)
        if n <= 0:
            self.clear()
        else:
            self._apply(lambda live: Edit([], [], [value.moved() for value in live] * (n - 1)))
        return self

    def _apply(self, editor: Editor, *, read: bool = True, pushed: Sequence[Any] = ()) -> Edit:
        """Read the live values, decide, and write, in one transaction."""
        owner = self._queues.owner_of_change()
        attempt_id = owner.id if owner else None
        queues = self._queues

        def change(queue_id: int) -> tuple[Edit, int, int] | None:
            if read:
                # What a dead process holds would come back after the edit, which would not have seen it.
                queues.reclaim(queue_id, owner, missing=True)
            return queues.database.transact(functools.partial(work, queue_id), "change")

        def work(queue_id: int, transaction: Transaction) -> tuple[Edit, int, int] | None:
            if not values.open_change(transaction, queue_id, attempt_id):
                return None
            edit = editor(values.lock_live(transaction, queue_id) if read else [])
            moment = draw(transaction)
            values.remove(transaction, queue_id, edit.removed, attempt_id, moment)
            left = right = 0
            span = queues._traceparent(owner)
            if edit.left:
                left = values.push_many(
                    transaction, queue_id, edit.left, attempt_id, moment, left=True, traceparent=span
                )
            if edit.right:
                right = values.push_many(transaction, queue_id, edit.right, attempt_id, moment, traceparent=span)
            return edit, left, right

        if read and not queues.find_id(self.name):
            edit = editor([])
            if not edit.left and not edit.right:
                return edit  # there is no queue, and no need for one
        edit, left, right = change(queues.queue_id(self.name, owner)) or self._try_again(owner, change)
        fresh = iter(pushed)
        for first, items in ((left, edit.left), (right, edit.right)):
            for seq, new in enumerate(items, first):
                if new.moved_from is None:
                    self._after_push(seq, new.item, next(fresh))
                else:
                    self._after_move(new.moved_from, seq)
        self._after_take(edit.removed, owner)
        return edit

    @property
    def max_deliveries(self) -> int | None:
        """Maximum failed deliveries of a value, which then is dead; None if they are unlimited.

        Setting the limit creates the queue if it does not exist; values that are live stay live.
        """
        queue_id = self._queues.find_id(self.name, refresh=True)
        return None if queue_id is None else queues.rules(self._queues.database, queue_id).max_deliveries

    @max_deliveries.setter
    def max_deliveries(self, limit: int | None) -> None:
        from zrb_store.operations.values import set_max_deliveries

        set_max_deliveries(self._queues.database, self._queues.session, self.name, limit)

    @property
    def retry_after(self) -> list[float]:
        """Seconds for which a failed or lost attempt delays a value when it gives it back; the last one repeats.

        A task finds the values of its own session at once. Setting it also takes timedeltas, and creates the queue if
        it does not exist.
        """
        queue_id = self._queues.find_id(self.name, refresh=True)
        delays = () if queue_id is None else queues.rules(self._queues.database, queue_id).retry_after
        return [micros / 1_000_000 for micros in delays]

    @retry_after.setter
    def retry_after(self, delays: Iterable[timedelta | float] | None) -> None:
        from zrb_store.operations.values import set_retry_after

        set_retry_after(self._queues.database, self._queues.session, self.name, delays)

    # -- callbacks, under the names that zrb's releases have used

    def append_push_callback(self, callback: Callback) -> None:
        """Call `callback` after each push of this object (not of other processes)."""
        self._push_callbacks.append(callback)

    add_push_callback = append_push_callback

    def append_pop_callback(self, callback: Callback) -> None:
        """Call `callback` after each pop of this object (not of other processes)."""
        self._pop_callbacks.append(callback)

    add_pop_callback = append_pop_callback
