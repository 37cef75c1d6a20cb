"""`ctx.xcom` of a stored session, which looks like zrb's own dictionary."""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, KeysView, MutableMapping, ValuesView
from typing import Any, SupportsIndex

from zrb_store.plugin.compat import DotDict
from zrb_store.plugin.ctx_xcom_content import CtxXcomContent
from zrb_store.plugin.queue import ZrbXcom
from zrb_store.queries.owner import Owner

_ABSENT = object()


class CtxXcom(MutableMapping[Any, Any]):
    """The queues of a session and other values by name. `isinstance` takes it for zrb's own `DotDict`.

    Reading a missing name gives an empty queue; `in` and `get` create nothing, and see the queues of other processes.
    With an owner every operation belongs to that attempt, in any thread; without one, to the current attempt.
    It does not derive from dict: code written in C would read that dict, which is empty, without calling these methods.
    """

    __class__ = property(lambda self: DotDict)

    # Every attribute without an underscore is the name of a queue, unless a dictionary has it.
    _content: CtxXcomContent
    _owner: Owner | None
    _bound: dict[tuple[str, str], ZrbXcom]

    def __init__(self, content: CtxXcomContent, owner: Owner | None = None) -> None:
        for name, value in (("_content", content), ("_owner", owner), ("_bound", {})):
            object.__setattr__(self, name, value)

    def __getitem__(self, name: Any) -> Any:
        value = self._content.get(name, self._owner)
        if self._owner is None or type(value) is not ZrbXcom:
            return value
        bound = self._bound.get(value.place)
        if bound is None:
            bound = self._bound[value.place] = value.bound_to(self._owner)
        return bound

    def __setitem__(self, name: Any, value: Any) -> None:
        self._content.put(name, value, self._owner)

    def __delitem__(self, name: Any) -> None:
        self._content.remove(name, self._owner)

    def __contains__(self, name: object) -> bool:
        return self._content.has(name)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._content.names)

    def __reversed__(self) -> Iterator[Any]:
        return iter(reversed(self._content.names))

    def __len__(self) -> int:
        return len(self._content.names)

    def __getattr__(self, name: str) -> Any:
        # copy, pickle and template engines probe for names such as __deepcopy__.
        if name.startswith("_") and name not in self._content.names:
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
        """Return the queue or value of that name if there is one, else the default."""
        return self[name] if name in self else default  # noqa: SIM401 - this is get

    def setdefault(self, name: Any, default: Any = None, /) -> Any:
        """Return the value of a name, set to the default if there is none."""
        if name not in self:
            self[name] = default
        return self[name]

    def pop(self, name: Any, default: Any = _ABSENT, /) -> Any:
        """Delete a name and return its value. A durable queue becomes a queue in memory with the same values."""
        try:
            return self._content.remove(name, self._owner)
        except KeyError:
            if default is _ABSENT:
                raise
            return default

    def popitem(self) -> tuple[Any, Any]:
        """Delete and return the last item."""
        for name in reversed(self._content.names):
            return name, self.pop(name)
        raise KeyError("popitem(): dictionary is empty")

    def keys(self) -> KeysView[Any]:
        """Return a live view of the names, as of a dict."""
        return self._content.names.keys()

    def values(self) -> ValuesView[Any]:
        """Return the current values."""
        return self._now().values()

    def items(self) -> ItemsView[Any, Any]:
        """Return the current items."""
        return self._now().items()

    def copy(self) -> DotDict:
        """Return a plain dictionary of the same queues."""
        return DotDict(self._now())

    @staticmethod
    def fromkeys(names: Iterable[Any], value: Any = None) -> DotDict:
        """Make a DotDict of these names, as DotDict does."""
        return DotDict.fromkeys(names, value)  # type: ignore[return-value]

    def __or__(self, other: Any) -> Any:
        return self._now() | other

    def __ror__(self, other: Any) -> Any:
        return other | self._now()

    def __ior__(self, other: Any) -> CtxXcom:
        self.update(other)
        return self

    def __repr__(self) -> str:
        return repr(self._now())

    def __reduce_ex__(self, protocol: SupportsIndex) -> Any:
        return self.copy().__reduce_ex__(protocol)

    def _now(self) -> dict[Any, Any]:
        return {name: self[name] for name in list(self)}


def owner_of(view: CtxXcom) -> Owner | None:
    """Return the attempt that every operation of a `ctx.xcom` belongs to; None: the current attempt."""
    return view._owner
