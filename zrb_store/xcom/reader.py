"""The reading half of a queue: everything that changes none of its values.

Before it are the edits of a queue whose values seem to move. None moves: it is removed and continues under a new seq.
"""

from __future__ import annotations

import functools
import operator
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from types import GenericAlias
from typing import Any, NamedTuple, NoReturn, SupportsIndex, TypeAlias, TypeVar

from zrb_store import codec
from zrb_store.codec import Encoded
from zrb_store.db.engine import Database
from zrb_store.errors import UnencodableValue
from zrb_store.queries import values
from zrb_store.queries.pushers import EVERYBODY, Alive, PusherInDoubtError
from zrb_store.queries.values import LiveValue, NewValue
from zrb_store.xcom.session_queues import SessionQueues

# zrb's own advice (zrb.xcom.xcom).
EMPTY = (
    "Xcom is empty: peek()/pop() need a prior push() or the task's own return value. "
    "Check the upstream task actually ran and produced a value before reading it here."
)

T = TypeVar("T")
Live = Sequence[LiveValue]
Values: TypeAlias = "deque[Any]"


class Edit(NamedTuple):
    """What one operation does to a queue."""

    removed: Sequence[int]  # the seqs that leave it
    left: Sequence[NewValue]  # before all others, in order
    right: Sequence[NewValue]  # after all others, in order


Editor = Callable[[Live], Edit]

NOTHING = Edit((), (), ())


def _moved(live: Live) -> list[NewValue]:
    return [value.moved() for value in live]


def _seqs(live: Live) -> list[int]:
    return [value.seq for value in live]


def _place(index: int, length: int) -> int:
    place = index + length if index < 0 else index
    if not 0 <= place < length:
        raise IndexError("deque index out of range")
    return place


def edit_delete(index: int) -> Editor:
    """Return the editor for `del queue[index]`."""
    return lambda live: Edit([live[_place(index, len(live))].seq], (), ())


def edit_insert(index: int, item: Encoded, *, replace: bool = False) -> Editor:
    """Return the editor for `queue.insert(index, item)` or `queue[index] = item`: the shorter side gets new seqs."""

    def editor(live: Live) -> Edit:
        length = len(live)
        place = _place(index, length) if replace else slice(index, None).indices(length)[0]
        rest = place + 1 if replace else place
        before, dropped, after = live[:place], live[place:rest], live[rest:]
        if len(after) <= len(before):
            return Edit(_seqs([*dropped, *after]), (), [NewValue(item), *_moved(after)])
        return Edit(_seqs([*dropped, *before]), [*_moved(before), NewValue(item)], ())

    return editor


def edit_rotate(n: int) -> Editor:
    """Return the editor for `queue.rotate(n)`: the shorter part continues at the other end."""

    def editor(live: Live) -> Edit:
        right = n % len(live) if live else 0
        if right == 0:
            return NOTHING
        left = len(live) - right
        if right <= left:
            return Edit(_seqs(live[left:]), _moved(live[left:]), ())
        return Edit(_seqs(live[:left]), (), _moved(live[:left]))

    return editor


def edit_reverse(live: Live) -> Edit:
    """Reverse the queue, as `queue.reverse()`."""
    if len(live) < 2:
        return NOTHING
    return Edit(_seqs(live), (), _moved(live[::-1]))


class QueueReader:
    """The read operations of a queue, with the behaviour of `collections.deque`."""

    name: str
    place: tuple[str, str]  # session and name
    _queues: SessionQueues
    # What the IndexError of an empty queue says.
    _empty_pop = _empty_peek = EMPTY

    __hash__ = None  # type: ignore[assignment]  # mutable and compared by value, as a deque
    __class_getitem__: classmethod[QueueReader, ..., GenericAlias] = classmethod(GenericAlias)

    def is_in(self, database: Database) -> bool:
        """Whether the queue is in this store."""
        return self._queues.is_in(database)

    @property
    def maxlen(self) -> None:
        """None: a durable queue is not bounded."""
        return None

    def _find(self, look: Callable[[Database, int, Alive], T | None]) -> T | None:
        """Return what a look at the queue finds, or None.

        If it finds nothing, or what a dead process may have pushed, it is repeated: the session may have been removed
        and created again, and a dead process may hold what it looks for.
        """
        queues = self._queues
        known = queues.find_id(self.name)
        if not known:
            return None
        queues.reclaim(known)
        again = False
        try:
            found = look(queues.database, known, queues.alive(known))
        except PusherInDoubtError:
            found, again = None, True
        if found is None and (now := queues.find_id(self.name, refresh=True)):
            again |= now != known
            again |= queues.reclaim(now, missing=True)
            found = look(queues.database, now, EVERYBODY) if again else None
        return found

    def _decode(self, seq: int, data: str) -> Any:
        value = codec.decode(data)
        if type(value) is codec.Undecodable:
            # Perhaps a newer program has upgraded the store, and keeps values otherwise.
            self._queues.database.revision_due = 0.0
            self._queues.find_id(self.name, refresh=True)
        return value

    def peek(self) -> Any:
        """Return the oldest value without taking it.

        Raises:
            IndexError: The queue is empty.
        """
        found = self._find(values.peek)
        if found is None:
            raise IndexError(self._empty_peek)
        return self._decode(*found)

    def get(self, default_value: Any = None) -> Any:
        """Return the newest value without taking it, or the default if the queue is empty."""
        found = self._find(values.peek_newest)
        return default_value if found is None else self._decode(*found)

    def __len__(self) -> int:
        return self._find(values.count) or 0

    def __iter__(self) -> Iterator[Any]:
        for seq, data in self._find(values.iterate) or ():
            yield self._decode(seq, data)

    def __reversed__(self) -> Iterator[Any]:
        return iter(list(self)[::-1])

    def __getitem__(self, index: SupportsIndex) -> Any:
        place = as_index(index)
        found = self._find(functools.partial(values.at, place))
        if found is None:
            raise IndexError("deque index out of range")
        return self._decode(*found)

    def __contains__(self, value: object) -> bool:
        return self._first_equal(value, set()) is not None

    def _first_equal(self, value: object, other: set[int]) -> int | None:
        """Return the seq of the first value equal to this one; add those before it to `other`."""

        def look(database: Database, queue_id: int, alive: Alive) -> int | None:
            for seq, data in values.iterate(database, queue_id, alive) or ():
                if seq not in other:
                    found = self._decode(seq, data)
                    if are_equal(found, value):
                        return seq
                    other.add(seq)
            return None

        return self._find(look)

    def count(self, value: Any) -> int:
        """Count the values that are equal to this one."""
        return sum(are_equal(item, value) for item in self)

    def index(self, value: Any, *bounds: SupportsIndex) -> int:
        """Return the index of the first value equal to this one, between the optional start and stop.

        Raises:
            ValueError: There is none.
        """
        try:
            return deque(are_equal(item, value) for item in self).index(True, *bounds)  # type: ignore[arg-type]
        except ValueError:
            raise ValueError(f"{value!r} is not in deque") from None

    def copy(self) -> deque[Any]:
        """Return the current values in a plain deque: there cannot be two durable queues of one name."""
        return deque(self)

    def __copy__(self) -> Values:
        return self.copy()

    def __add__(self, other: Values | QueueReader) -> Values:
        return self.copy() + _plain(other)

    def __radd__(self, other: Values) -> Values:
        return other + deque(self) if isinstance(other, deque) else NotImplemented

    def __mul__(self, times: SupportsIndex) -> Values:
        return self.copy() * times  # type: ignore[operator]  # takes whatever has __index__

    __rmul__ = __mul__

    def __repr__(self) -> str:
        return f"<Xcom {list(self)}>"

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError("a durable queue cannot be pickled or deep-copied: pickle list(xcom), or open it again by name")

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return deque(self) == _plain(other) if isinstance(other, deque | QueueReader) else NotImplemented

    def __lt__(self, other: Values | QueueReader) -> bool:
        return deque(self) < _plain(other) if isinstance(other, deque | QueueReader) else NotImplemented

    def __le__(self, other: Values | QueueReader) -> bool:
        return deque(self) <= _plain(other) if isinstance(other, deque | QueueReader) else NotImplemented

    def __gt__(self, other: Values | QueueReader) -> bool:
        return deque(self) > _plain(other) if isinstance(other, deque | QueueReader) else NotImplemented

    def __ge__(self, other: Values | QueueReader) -> bool:
        return deque(self) >= _plain(other) if isinstance(other, deque | QueueReader) else NotImplemented


def are_equal(one: object, other: object) -> bool:
    """Whether two values are equal. Those of a class without an `__eq__` are so if they are stored alike.

    Each reading of a queue may give another object, such as zrb's CmdResult, which equals only itself.
    """
    if one is other or one == other:
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(are_equal, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(are_equal(each, other[key]) for key, each in one.items())
    if type(one).__eq__ is not object.__eq__:
        return False
    try:
        return codec.encode(one).data == codec.encode(other).data
    except UnencodableValue:
        return False


def _plain(other: Values | QueueReader) -> Values:
    return deque(other) if isinstance(other, QueueReader) else other


def as_index(index: SupportsIndex) -> int:
    """Return an index as an int. Refuse a slice or a number that is too large as a deque does."""
    try:
        place = operator.index(index)
    except TypeError:
        raise TypeError(f"sequence index must be integer, not {type(index).__name__!r}") from None
    if abs(place) > sys.maxsize:
        raise IndexError("cannot fit 'int' into an index-sized integer")
    return place


def as_number(number: SupportsIndex) -> int:
    """Return a number of steps as an int. Refuse it as a deque does."""
    n = operator.index(number)
    if abs(n) > sys.maxsize:
        raise OverflowError("Python int too large to convert to C ssize_t")
    return n
