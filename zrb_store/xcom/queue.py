"""A durable queue with the interface of zrb's `Xcom` and of `collections.deque`."""

from __future__ import annotations

import operator
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, NoReturn, ParamSpec, Self, SupportsIndex

from zrb_store import codec, points
from zrb_store.codec import Encoded
from zrb_store.db.transaction import Transaction
from zrb_store.errors import SessionNotFound
from zrb_store.queries import values
from zrb_store.xcom.edits import (
    EMPTY,
    NOTHING,
    Edit,
    Editor,
    Live,
    edit_delete,
    edit_insert,
    edit_reverse,
    edit_rotate,
    edit_set_item,
)
from zrb_store.xcom.owner import Owner, current_attempt
from zrb_store.xcom.reading import Reading, as_index, as_number

if TYPE_CHECKING:
    from zrb_store.xcom.mapping import Xcoms

P = ParamSpec("P")


def _then_tell_push(change: Callable[Concatenate[Xcom, P], None]) -> Callable[Concatenate[Xcom, P], None]:
    """Call the push callbacks after a change; `__wrapped__` is the change alone."""

    @wraps(change)
    def told(self: Xcom, /, *args: P.args, **kwargs: P.kwargs) -> None:
        change(self, *args, **kwargs)
        _call(self._push_callbacks)

    return told


def _then_tell_pop(change: Callable[Concatenate[Xcom, P], None]) -> Callable[Concatenate[Xcom, P], None]:
    """As `_then_tell_push`, for the pop callbacks."""

    @wraps(change)
    def told(self: Xcom, /, *args: P.args, **kwargs: P.kwargs) -> None:
        change(self, *args, **kwargs)
        _call(self._pop_callbacks)

    return told


class Xcom(Reading):
    """One queue of a session. Each operation is one transaction; every process sees it at once.

    `pop` takes the oldest value, as in zrb; use `popright` for the newest. Values that are taken stay in the history.
    Inside an attempt the operations belong to it and are given back if it does not stand; outside they are final.
    """

    def __init__(self, xcoms: Xcoms, name: str) -> None:
        super().__init__(xcoms, name)
        self._push_callbacks: list[Callable[[], Any]] = []
        self._pop_callbacks: list[Callable[[], Any]] = []

    # -- what a subclass may change: how a value becomes text and comes back

    def _encode(self, value: Any) -> Encoded:
        return codec.encode(value, limit=self._xcoms.max_value)

    def _pushed(self, seq: int, item: Encoded, value: Any) -> None:
        """Called with each value that this process pushed, and its text, after the commit."""

    def _copied(self, old: int, new: int) -> None:
        """Called for each value that goes on under another seq, after the commit."""

    def _taken(self, seqs: Sequence[int]) -> None:
        """Called with the values that this process took or removed, after the commit."""

    # -- push

    def append(self, value: Any) -> None:
        """Add a value at the end.

        Raises:
            UnencodableValue: No codec takes a part of it.
            ValueTooLarge: It is larger than the limit.
            AttemptClosed: The attempt that this belongs to has ended.
            LeaseLost: Another process has taken the session of that attempt over.
        """
        self._push(value, left=False)
        _call(self._push_callbacks)

    def push(self, value: Any) -> None:
        """Add a value at the end; the same as `append`, and raises as it."""
        self.append(value)

    @_then_tell_push
    def appendleft(self, value: Any) -> None:
        """Add a value at the beginning; raises as `append`."""
        self._push(value, left=True)

    @_then_tell_push
    def extend(self, new: Iterable[Any]) -> None:
        """Add all values at the end, or none; raises as `append`."""
        self._extend(list(new), left=False)

    @_then_tell_push
    def extendleft(self, new: Iterable[Any]) -> None:
        """Add all values at the beginning, each before the one before it; raises as `append`."""
        self._extend(list(new)[::-1], left=True)

    def _push(self, value: Any, left: bool) -> None:
        item = self._encode(value)
        owner = self._owner()
        attempt_id = owner.id if owner else None
        database = self._xcoms.database
        queue_id = self._xcoms.queue_id(self.name, owner)
        points.reach("push:before")
        seq = values.push(database, queue_id, item, attempt_id, left=left)
        if seq is None:
            seq = values.push(database, self._renewed_id(owner), item, attempt_id, left=left)
            if seq is None:
                self._refuse(owner)
        points.reach("push:after")
        self._pushed(seq, item, value)

    def _extend(self, new: Sequence[Any], left: bool) -> None:
        items = [(self._encode(value), None) for value in new]
        if items:
            edit = Edit([], items if left else [], [] if left else items)
            self._apply(lambda live: edit, read=False, pushed=new)

    # -- take

    def pop(self) -> Any:
        """Take the oldest value.

        Raises:
            IndexError: The queue is empty.
            AttemptClosed: The attempt that this belongs to has ended.
            LeaseLost: Another process has taken the session of that attempt over.
        """
        return self._pop(right=False)

    def popleft(self) -> Any:
        """Take the oldest value; the same as `pop`, and raises as it."""
        return self._pop(right=False)

    def popright(self) -> Any:
        """Take the newest value; raises as `pop`."""
        return self._pop(right=True)

    def _pop(self, right: bool) -> Any:
        owner = self._owner()
        database = self._xcoms.database
        queue_id = self._xcoms.known_id(self.name)
        points.reach("pop:before")
        found = values.take(database, queue_id, owner.id if owner else None, right=right) if queue_id else None
        while found is None:
            if owner:
                owner.refuse_if_closed()
            queue_id = self._xcoms.known_id(self.name, anew=True)
            # PostgreSQL answers "none" when the only value seen was taken while a newer one came.
            if not queue_id or not values.count(database, queue_id):
                raise IndexError(EMPTY)
            found = values.take(database, queue_id, owner.id if owner else None, right=right)
        points.reach("pop:after")
        value = self._decode(*found)
        self._taken(found[:1])
        _call(self._pop_callbacks)
        return value

    def clear(self) -> None:
        """Remove every value. Raises `AttemptClosed` and `LeaseLost` as `pop`."""
        self._apply(lambda live: Edit([seq for seq, _ in live], [], []))

    @_then_tell_pop
    def remove(self, value: Any) -> None:
        """Remove the first value equal to this one.

        Raises:
            ValueError: There is none.
            AttemptClosed: The attempt that this belongs to has ended.
            LeaseLost: Another process has taken the session of that attempt over.
        """

        other: set[int] = set()

        def editor(live: Live) -> Edit:
            for seq, _ in live:
                if seq == equal:
                    return Edit([seq], [], [])
                if seq not in other:
                    break
            return NOTHING

        # Decoding and comparing may run anybody's code, so the queue is not locked meanwhile; what came since is looked
        # at next.
        while (equal := self._first_equal(value, other)) is not None:
            if self._apply(editor).removed:
                return
        raise ValueError(f"{value!r} is not in deque")

    def _first_equal(self, value: Any, other: set[int]) -> int | None:
        """The seq of the first value equal to this one; those before it are added to `other`."""
        for queue_id in self._known_ids():
            for seq, data in values.iterate(self._xcoms.database, queue_id):
                if seq not in other:
                    found = self._decode(seq, data)
                    if found is value or found == value:
                        return seq
                    other.add(seq)
        return None

    def __delitem__(self, index: SupportsIndex) -> None:
        self._apply(edit_delete(as_index(index)))

    # -- replace

    def set(self, new_value: Any) -> None:
        """Make this the only value; raises as `append`."""
        item = self._encode(new_value)
        edit = self._apply(lambda live: Edit([seq for seq, _ in live], [], [(item, None)]), pushed=[new_value])
        _call(self._push_callbacks)
        for _ in edit.removed:
            _call(self._pop_callbacks)

    @_then_tell_push
    def insert(self, index: SupportsIndex, value: Any) -> None:
        """Insert a value before the given place; raises as `append`."""
        self._apply(edit_insert(as_number(index), self._encode(value)), pushed=[value])

    @_then_tell_push
    def __setitem__(self, index: SupportsIndex, value: Any) -> None:
        self._apply(edit_set_item(as_index(index), self._encode(value)), pushed=[value])

    def rotate(self, n: SupportsIndex = 1) -> None:
        """Move the last `n` values to the beginning (negative: the first to the end). Raises as `clear`."""
        self._apply(edit_rotate(as_number(n)))

    def reverse(self) -> None:
        """Reverse the order in place. Raises as `clear`."""
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
            self._apply(lambda live: Edit([], [], [(item, seq) for seq, item in live] * (n - 1)))
        return self

    def _apply(self, editor: Editor, *, read: bool = True, pushed: Sequence[Any] = ()) -> Edit:
        """Read the live values, decide, and write, in one transaction."""
        owner = self._owner()
        attempt_id = owner.id if owner else None
        xcoms = self._xcoms

        def work(transaction: Transaction) -> tuple[Edit, int, int] | None:
            if not values.open_change(transaction, queue_id, attempt_id):
                return None
            edit = editor(values.live(transaction, queue_id, lock=True) if read else [])
            moment = values.moment(transaction)  # with all locks taken, or a value would end before it was returned
            values.remove(transaction, queue_id, edit.removed, attempt_id, moment)
            left = right = 0
            if edit.left:
                left = values.push_many(transaction, queue_id, edit.left, attempt_id, moment, left=True)
            if edit.right:
                right = values.push_many(transaction, queue_id, edit.right, attempt_id, moment)
            return edit, left, right

        if read and not xcoms.known_id(self.name):
            edit = editor([])
            if not edit.left and not edit.right:
                return edit  # there is no queue, and no need for one
        queue_id = xcoms.queue_id(self.name, owner)
        done = xcoms.database.transact(work, "change")
        if done is None:
            queue_id = self._renewed_id(owner)
            done = xcoms.database.transact(work, "change")
            if done is None:
                self._refuse(owner)
        edit, left, right = done
        fresh = iter(pushed)
        for first, items in ((left, edit.left), (right, edit.right)):
            for seq, (item, moved_from) in enumerate(items, first):
                if moved_from is None:
                    self._pushed(seq, item, next(fresh))
                else:
                    self._copied(moved_from, seq)
        self._taken(edit.removed)
        return edit

    # -- callbacks, under the names of every zrb release

    def append_push_callback(self, callback: Callable[[], Any]) -> None:
        """Call `callback` after each push of this object (not of other processes)."""
        self._push_callbacks.append(callback)

    def append_pop_callback(self, callback: Callable[[], Any]) -> None:
        """Call `callback` after each pop of this object (not of other processes)."""
        self._pop_callbacks.append(callback)

    add_push_callback = append_push_callback
    add_pop_callback = append_pop_callback

    # -- helpers

    def _owner(self) -> Owner | None:
        owner = self._xcoms.owner or current_attempt.get()
        database = self._xcoms.database
        if owner and (owner.database is database or owner.database.url == database.url):
            return owner
        return self._xcoms.ambient

    def _renewed_id(self, owner: Owner | None) -> int:
        if owner:
            owner.refuse_if_closed()
        return self._xcoms.queue_id(self.name, owner, anew=True)

    def _refuse(self, owner: Owner | None) -> NoReturn:
        if owner:
            owner.refuse_if_closed()
        raise SessionNotFound(f"session {self._xcoms.session} is being removed by another process")


def _call(callbacks: list[Callable[[], Any]]) -> None:
    for callback in callbacks:
        callback()
