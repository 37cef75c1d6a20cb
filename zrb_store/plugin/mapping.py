"""`ctx.xcom` of a stored session: zrb's dictionary, with durable queues in it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from zrb.dot_dict.dot_dict import DotDict

from zrb_store.plugin.compat import Xcom as StockXcom
from zrb_store.plugin.xcoms import ZrbXcom, ZrbXcoms
from zrb_store.xcom import Owner

_ABSENT = object()


class XcomMap(DotDict):
    """The queues of a session by name. Operations belong to the attempt that the context variable names.

    Reading a missing name gives an empty queue; `in` and `get` create nothing and also see what other processes made.
    Values that are no queue, and zrb's volatile queues, stay in memory.
    """

    def __init__(self, xcoms: ZrbXcoms, is_volatile: Callable[[str], bool]) -> None:
        super().__init__()
        # DotDict turns attributes into items.
        object.__setattr__(self, "_xcoms", xcoms)
        object.__setattr__(self, "_is_volatile", is_volatile)

    def seed(self, earlier: Mapping[str, Any], known: Collection[str]) -> None:
        """Take over what the session's dictionary held before it was stored.

        Args:
            earlier: zrb's own dictionary.
            known: Queues that the store has already: it knows better what is in them.
        """
        for name, value in earlier.items():
            if isinstance(value, StockXcom) and not isinstance(value, ZrbXcom) and not self._is_volatile(name):
                self.queue(name).adopt(value, values=name not in known)
            else:
                self[name] = value

    def queue(self, name: str) -> Any:
        """The queue of that name, made known without touching the database."""
        value = StockXcom([]) if self._is_volatile(name) else self._xcoms[name]
        dict.__setitem__(self, name, value)
        return value

    def __missing__(self, name: str) -> Any:
        if not isinstance(name, str):
            raise KeyError(name)
        return self.queue(name)

    def __getattr__(self, name: str) -> Any:
        # copy, pickle and template engines probe for names such as __deepcopy__.
        if name.startswith("_"):
            raise AttributeError(f"'XcomMap' object has no attribute '{name}'")
        return self[name]

    def __contains__(self, name: object) -> bool:
        return dict.__contains__(self, name) or (
            isinstance(name, str) and not self._is_volatile(name) and name in self._xcoms
        )

    def _store(self, name: str, value: Any) -> None:
        if isinstance(value, ZrbXcom):
            # Under another's name it is another session's queue (Callback.xcom_mapping).
            own = self._xcoms[name]
            value = own if value.place == own.place else value.bound_to(None)
        dict.__setitem__(self, name, value)

    def _forget(self, name: str) -> None:
        dict.pop(self, name, None)

    def __setitem__(self, name: str, value: Any) -> None:
        if isinstance(value, ZrbXcom) or not isinstance(value, StockXcom) or self._is_volatile(name):
            self._store(name, value)
            return
        queue = self._xcoms[name]
        if name in self:
            queue.clear()
        self._store(name, queue)
        queue.adopt(value, values=True)

    def __delitem__(self, name: str) -> None:
        if name not in self:
            raise KeyError(name)
        value = self[name]
        if isinstance(value, ZrbXcom):
            value.clear()
        self._forget(name)

    def get(self, name: str, default: Any = None) -> Any:
        """The queue or value of that name if there is one, else the default."""
        return self[name] if name in self else default  # noqa: SIM401 - this is get

    def setdefault(self, name: str, default: Any = None) -> Any:
        """As of a dict."""
        if name not in self:
            self[name] = default
        return self[name]

    def update(self, *others: Any, **named: Any) -> None:
        """As of a dict."""
        for name, value in dict(*others, **named).items():
            self[name] = value

    def pop(self, name: str, default: Any = _ABSENT) -> Any:
        """Remove a name; a durable queue comes back as a plain zrb queue of the values it had."""
        if name not in self:
            if default is _ABSENT:
                raise KeyError(name)
            return default
        value = self[name]
        if isinstance(value, ZrbXcom):
            value = StockXcom(list(value))
        del self[name]
        return value

    def clear(self) -> None:
        """Remove every name."""
        for name in list(self):
            del self[name]

    def copy(self) -> DotDict:
        """A plain dictionary of the same queues."""
        return DotDict(dict(self.items()))


class AttemptView(XcomMap):
    """The same dictionary as one attempt sees it: in any thread, every operation belongs to that attempt."""

    def __init__(self, base: XcomMap, owner: Owner) -> None:
        super().__init__(base._xcoms.bound_to(owner), base._is_volatile)
        object.__setattr__(self, "_base", base)
        object.__setattr__(self, "_owner", owner)
        object.__setattr__(self, "_bound", {})

    def _store(self, name: str, value: Any) -> None:
        self._base._store(name, value)

    def _forget(self, name: str) -> None:
        self._base._forget(name)

    def __getitem__(self, name: str) -> Any:
        value = self._base[name]
        if not isinstance(value, ZrbXcom):
            return value
        bound = self._bound.get(value.place)
        if bound is None:
            bound = self._bound[value.place] = value.bound_to(self._owner)
        return bound

    def __contains__(self, name: object) -> bool:
        return name in self._base

    def __iter__(self) -> Iterator[str]:
        return iter(self._base)

    def __len__(self) -> int:
        return len(self._base)

    def keys(self) -> Any:
        """As of a dict."""
        return self._base.keys()

    def values(self) -> Any:
        """As of a dict."""
        return dict(self.items()).values()

    def items(self) -> Any:
        """As of a dict."""
        return {name: self[name] for name in self._base}.items()

    def __repr__(self) -> str:
        return repr(dict(self.items()))
