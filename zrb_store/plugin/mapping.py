"""`ctx.xcom` of a stored session: to its users zrb's own dictionary."""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, KeysView, MutableMapping, ValuesView
from typing import Any, SupportsIndex

from zrb_store.plugin.compat import DotDict
from zrb_store.plugin.queues import Queues
from zrb_store.plugin.xcoms import ZrbXcom
from zrb_store.xcom import Owner

_ABSENT = object()


class XcomMap(MutableMapping[Any, Any]):
    """The queues of a session by name, and values that are no queue. `isinstance` takes it for zrb's own `DotDict`.

    Reading a missing name gives an empty queue; `in` and `get` create nothing and also see what other processes made.
    With an owner every operation belongs to that attempt, in any thread; else it follows the context variable.
    No dict: what is written in C would find nothing in it without asking these methods.
    """

    __class__ = property(lambda self: DotDict)

    # Every name without an underscore is a queue's, but for a dictionary's own.
    _queues: Queues
    _owner: Owner | None
    _bound: dict[tuple[str, str], ZrbXcom]

    def __init__(self, queues: Queues, owner: Owner | None = None) -> None:
        for name, value in (("_queues", queues), ("_owner", owner), ("_bound", {})):
            object.__setattr__(self, name, value)

    def __getitem__(self, name: Any) -> Any:
        value = self._queues.get(name)
        if self._owner is None or type(value) is not ZrbXcom:
            return value
        bound = self._bound.get(value.place)
        if bound is None:
            bound = self._bound[value.place] = value.bound_to(self._owner)
        return bound

    def __setitem__(self, name: Any, value: Any) -> None:
        self._queues.put(name, value, self._owner)

    def __delitem__(self, name: Any) -> None:
        self._queues.remove(name, self._owner)

    def __contains__(self, name: object) -> bool:
        return self._queues.has(name)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._queues.names)

    def __reversed__(self) -> Iterator[Any]:
        return iter(reversed(self._queues.names))

    def __len__(self) -> int:
        return len(self._queues.names)

    def __getattr__(self, name: str) -> Any:
        # copy, pickle and template engines probe for names such as __deepcopy__.
        if name.startswith("_") and name not in self._queues.names:
            raise AttributeError(f"'DotDict' object has no attribute '{name}'")
        return self[name]

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __delattr__(self, name: str) -> None:
        try:
            del self[name]
        except KeyError:
            raise AttributeError(f"'DotDict' object has no attribute '{name}'") from None

    def get(self, name: Any, default: Any = None, /) -> Any:
        """The queue or value of that name if there is one, else the default."""
        return self[name] if name in self else default  # noqa: SIM401 - this is get

    def setdefault(self, name: Any, default: Any = None, /) -> Any:
        """As of a dict."""
        if name not in self:
            self[name] = default
        return self[name]

    def pop(self, name: Any, default: Any = _ABSENT, /) -> Any:
        """Delete a name; a durable queue comes back as a queue in memory with the values that it had."""
        try:
            return self._queues.remove(name, self._owner)
        except KeyError:
            if default is _ABSENT:
                raise
            return default

    def popitem(self) -> tuple[Any, Any]:
        """As of a dict: the last one."""
        for name in reversed(self._queues.names):
            return name, self.pop(name)
        raise KeyError("popitem(): dictionary is empty")

    def keys(self) -> KeysView[Any]:
        """As of a dict."""
        return self._queues.names.keys()

    def values(self) -> ValuesView[Any]:
        """As of a dict, for the names there are now."""
        return self._now().values()

    def items(self) -> ItemsView[Any, Any]:
        """As of a dict, for the names there are now."""
        return self._now().items()

    def copy(self) -> DotDict:
        """A plain dictionary of the same queues."""
        return DotDict(self._now())

    @staticmethod
    def fromkeys(names: Iterable[Any], value: Any = None) -> DotDict:
        """As of a DotDict."""
        return DotDict.fromkeys(names, value)  # type: ignore[return-value]

    def __or__(self, other: Any) -> Any:
        return self._now() | other

    def __ror__(self, other: Any) -> Any:
        return other | self._now()

    def __ior__(self, other: Any) -> XcomMap:
        self.update(other)
        return self

    def __repr__(self) -> str:
        return repr(self._now())

    def __reduce_ex__(self, protocol: SupportsIndex) -> Any:
        return self.copy().__reduce_ex__(protocol)

    def _now(self) -> dict[Any, Any]:
        return {name: self[name] for name in list(self)}
