"""Looking at a queue: everything that changes nothing."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NoReturn, SupportsIndex

from zrb_store import codec
from zrb_store.queries import values
from zrb_store.xcom.plans import EMPTY

if TYPE_CHECKING:
    from zrb_store.xcom.mapping import Xcoms


class Reading:
    """The reading half of a queue, with the answers of `collections.deque`."""

    __hash__ = None  # type: ignore[assignment]  # mutable and compared by value, as a deque
    maxlen = None

    def __init__(self, xcoms: Xcoms, name: str) -> None:
        self._xcoms = xcoms
        self.name = name

    def _decode(self, seq: int, data: str) -> Any:
        return codec.decode(data)

    def peek(self) -> Any:
        """Look at the oldest value.

        Raises:
            IndexError: The queue is empty.
        """
        queue_id = self._xcoms.known_id(self.name)
        found = values.peek(self._xcoms.database, queue_id) if queue_id else None
        if found is None:
            raise IndexError(EMPTY)
        return self._decode(*found)

    def get(self, default_value: Any = None) -> Any:
        """Look at the newest value, or get the default if the queue is empty."""
        queue_id = self._xcoms.known_id(self.name)
        found = values.peek(self._xcoms.database, queue_id, right=True) if queue_id else None
        return default_value if found is None else self._decode(*found)

    def __len__(self) -> int:
        queue_id = self._xcoms.known_id(self.name)
        return values.count(self._xcoms.database, queue_id) if queue_id else 0

    def __iter__(self) -> Iterator[Any]:
        queue_id = self._xcoms.known_id(self.name)
        if queue_id:
            for seq, data in values.iterate(self._xcoms.database, queue_id):
                yield self._decode(seq, data)

    def __reversed__(self) -> Iterator[Any]:
        return iter(list(self)[::-1])

    def __getitem__(self, index: SupportsIndex) -> Any:
        place = as_index(index)
        queue_id = self._xcoms.known_id(self.name)
        found = values.at(self._xcoms.database, queue_id, place) if queue_id else None
        if found is None:
            raise IndexError("deque index out of range")
        return self._decode(found[0], found[1].data)

    def __contains__(self, value: object) -> bool:
        return any(item is value or item == value for item in self)

    def count(self, value: Any) -> int:
        """How many values are equal to this one."""
        return sum(item is value or item == value for item in self)

    def index(self, value: Any, *bounds: SupportsIndex) -> int:
        """The place of the first value equal to this one, between the optional start and stop.

        Raises:
            ValueError: There is none.
        """
        return deque(self).index(value, *bounds)  # type: ignore[arg-type]

    def copy(self) -> deque[Any]:
        """The values now, in a plain deque; a durable queue has no second one of its name."""
        return deque(self)

    __copy__ = copy

    def __add__(self, other: deque[Any] | Reading) -> deque[Any]:
        return deque(self) + _plain(other)

    def __mul__(self, times: SupportsIndex) -> deque[Any]:
        return deque(self) * as_index(times)

    __rmul__ = __mul__

    def __repr__(self) -> str:
        return f"<Xcom {list(self)}>"

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError("a durable queue cannot be pickled or deep-copied: pickle list(xcom), or open it again by name")

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, deque | Reading) and deque(self) == _plain(other))

    def __lt__(self, other: deque[Any] | Reading) -> bool:
        return deque(self) < _plain(other)

    def __le__(self, other: deque[Any] | Reading) -> bool:
        return deque(self) <= _plain(other)

    def __gt__(self, other: deque[Any] | Reading) -> bool:
        return deque(self) > _plain(other)

    def __ge__(self, other: deque[Any] | Reading) -> bool:
        return deque(self) >= _plain(other)


def _plain(other: deque[Any] | Reading) -> deque[Any]:
    return deque(other) if isinstance(other, Reading) else other


def as_index(index: SupportsIndex) -> int:
    """The index as an int; slices are refused as a deque refuses them."""
    if isinstance(index, slice):
        raise TypeError("sequence index must be integer, not 'slice'")
    return index.__index__()
