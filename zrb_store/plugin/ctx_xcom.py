"""`ctx.xcom` of a stored session, which looks like zrb's own dictionary (`CtxXcom`).

`CtxXcomContent` is what is in it: durable queues by name, and what stays in memory. A queue that a program made in
memory and then put into `ctx.xcom` becomes durable (`AdoptedXcom`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, ItemsView, Iterator, KeysView, Mapping, MutableMapping, ValuesView
from typing import Any, Self, SupportsIndex

from zrb_store.attempt import OpenAttempt, Step
from zrb_store.errors import InvalidArgument
from zrb_store.names import check_name
from zrb_store.plugin.compat import DotDict
from zrb_store.plugin.compat import Xcom as StockXcom
from zrb_store.plugin.queue import PLAIN, ZrbXcom, ZrbXcoms
from zrb_store.queries.attempts import Owner
from zrb_store.xcom import current_attempt


class AdoptedXcom(StockXcom):
    """A queue that was made in memory and is stored now. A program that holds the object may go on using it."""

    __class__ = property(lambda self: StockXcom)

    durable: ZrbXcom


def _forward(name: str) -> Callable[..., Any]:
    return lambda self, *args, **kwargs: getattr(self.durable, name)(*args, **kwargs)


_own = {*vars(AdoptedXcom), "__init__"}
for _cls in ZrbXcom.__mro__[:-1]:
    for _name, _value in vars(_cls).items():
        if callable(_value) and _name not in _own and (_name.startswith("__") or not _name.startswith("_")):
            setattr(AdoptedXcom, _name, _forward(_name))


_ABSENT = object()


class CtxXcomContent:
    """The queues of a session, and plain values that a program put into `ctx.xcom`, by name.

    A queue is durable if it is of zrb's own class, its name fits the store, and zrb does not fill it with values that
    are worthless in another process; a plain value is, if a durable queue could have its name. It is kept as the only
    value of that queue. All else stays in memory until the process ends.
    """

    def __init__(self, xcoms: ZrbXcoms, is_volatile: Callable[[str], bool]) -> None:
        # What is in `ctx.xcom`, by name; the queue, if a plain value is kept in it. Operations on these queues belong
        # to the current attempt.
        self.names: dict[str, Any] = {}
        self._xcoms = xcoms
        self._is_volatile = is_volatile
        self._deleted: set[str] = set()
        self._plain: set[str] = set()  # the queues that keep plain values, unless these were given back
        # Those whose values a program may change in place until the run ends, with the open attempts that have them.
        self._used: dict[str, set[Owner]] = {}
        self._adopted: list[tuple[StockXcom, ZrbXcom]] = []

    def seed(self, earlier: DotDict, known: Collection[str], plain: Collection[str]) -> None:
        """Take over what zrb's own dictionary held before the session was stored. Then call `finish_adoption`.

        Queues `known` in the store keep their values there; those in `plain` keep plain values, or did so last.
        """
        self._plain.update(plain)
        for name, value in earlier.items():
            if isinstance(value, StockXcom):
                self._put(name, value, None, values=name not in known and len(value) > 0)
            elif name not in plain:
                self.names[name] = value  # the program gives it to each run

    def finish_adoption(self) -> None:
        """Make the queues in memory that were taken over forward to the durable ones from now on."""
        while self._adopted:
            stock, durable = self._adopted.pop()
            deque.clear(stock)
            stock.__class__ = AdoptedXcom
            stock.durable = durable  # type: ignore[attr-defined]  # it is an AdoptedXcom now

    def get(self, name: str, owner: Owner | None = None) -> Any:
        """Return what has this name; a new queue if nothing has."""
        if name in self._plain and (found := self._xcoms[name].plain()) is not None:
            self._note_use(name, found[0], owner)
            self.names.setdefault(name, self._xcoms[name])  # the deletion of the name may have been given back
            return found[0]
        value = self.names.get(name, _ABSENT)
        if value is _ABSENT:
            value = self.names[name] = self._xcoms[name] if self._is_durable(name) else StockXcom([])
        return value

    def has(self, name: Any) -> bool:
        """Whether anything has this name, also in the store."""
        if name in self._plain and name in self.names:
            return len(self._xcoms[name]) > 0  # what was assigned may have been given back
        if name in self.names:
            return True
        if not self._is_durable(name, warn=False) or name not in self._xcoms:
            return False
        # The store keeps a deleted queue for its history: the name is back when the queue has values again.
        return name not in self._deleted or (len(self._xcoms[name]) > 0 and not self._has_other_name(name))

    def put(self, name: str, value: Any, owner: Owner | None) -> None:
        """Give a name to a queue or another value. The values of the queue that had the name are removed."""
        own = self._own(name)
        self._put(name, value, owner, values=True)
        self.finish_adoption()
        if own is not None and self.names[name] is not own:
            own.bound_to(owner).delete()

    def remove(self, name: str, owner: Owner | None) -> Any:
        """Delete a name, and return what had it: a durable queue as a queue in memory with the same values."""
        if not self.has(name):
            raise KeyError(name)
        value = self.get(name)
        own = self._own(name)
        del self.names[name]
        if isinstance(name, str):
            self._deleted.add(name)
        values = [] if own is None else own.bound_to(owner).delete()
        return StockXcom(values) if own is not None and type(value) is ZrbXcom else value

    def store_changed(self, owner: Owner) -> None:
        """Store the plain values again that the program has changed in place, as done by an attempt that completes.

        A value that only other attempts have is left to them, since they may fail.
        """
        for name, users in list(self._used.items()):
            if owner in users or not users:
                self._xcoms[name].store_changed(owner)

    def attempt_ended(self, owner: Owner, *, completed: bool) -> None:
        """Forget what an ended attempt changed in place, unless it completed or another open attempt has the value."""
        for name, users in list(self._used.items()):
            if owner in users:
                users.discard(owner)
                if not completed and not users:
                    self._xcoms[name].forget_changed()

    def _note_use(self, name: str, value: Any, owner: Owner | None) -> None:
        if isinstance(value, PLAIN):
            return
        user = owner or current_attempt.get()
        users = self._used.setdefault(name, set())
        if user is not None:
            users.add(user.parent if isinstance(user, Step) else user)

    def _put(self, name: str, value: Any, owner: Owner | None, *, values: bool) -> None:
        if type(value) is AdoptedXcom:
            value = value.durable
        if type(value) is ZrbXcom:
            is_own = value.place == (self._xcoms.session, name)
            self.names[name] = self._xcoms[name] if is_own else value.bound_to(None)
        elif isinstance(value, StockXcom) and self._is_durable(name, value):
            queue = self.names[name] = self._xcoms[name]
            if values:
                queue.bound_to(owner).replace(value)
            queue.memory.push_callbacks[:] = getattr(value, "push_callbacks", [])
            queue.memory.pop_callbacks[:] = getattr(value, "pop_callbacks", [])
            self._adopted.append((value, queue))
        elif not isinstance(value, StockXcom):
            self._put_plain(name, value, owner)
            return
        else:
            self.names[name] = value
        self._plain.discard(name)

    def _put_plain(self, name: str, value: Any, owner: Owner | None) -> None:
        if self._is_durable(name, warn=False) and not self._has_other_name(name):
            queue = self.names[name] = self._xcoms[name]
            queue.bound_to(owner).assign(value)
            self._plain.add(name)
            self._note_use(name, value, owner)
            return
        self.names[name] = value
        self._plain.discard(name)
        assigner = owner or current_attempt.get()
        if isinstance(assigner, OpenAttempt) and not (isinstance(name, str) and self._is_volatile(name)):
            assigner.restorable = False  # it has to be assigned again in another process

    def _own(self, name: str) -> ZrbXcom | None:
        """Return the queue that is stored under this name, if it has this name and no other."""
        value = self.names.get(name)
        own = type(value) is ZrbXcom and value.place == (self._xcoms.session, name) and not self._has_other_name(name)
        return value if own else None

    def _has_other_name(self, name: str) -> bool:
        place = (self._xcoms.session, name)
        return any(
            type(value) is ZrbXcom and value.place == place for other, value in self.names.items() if other != name
        )

    def _is_durable(self, name: str, queue: StockXcom | None = None, *, warn: bool = True) -> bool:
        """Whether the queue of this name is stored. Warn once if it cannot be."""
        try:
            check_name(name, "queue")
        except InvalidArgument as refusal:
            reason = str(refusal)
        else:
            if self._is_volatile(name):
                return False
            if queue is None or type(queue) is StockXcom:
                return True
            reason = f"queue {name} is of class {type(queue).__qualname__}, not zrb's Xcom"
        if warn:
            self._xcoms.warn(f"{reason}; it is kept in memory only")
        return False


class CtxXcom(MutableMapping[str, Any]):
    """The queues of a session and other values by name. `isinstance` takes it for zrb's own `DotDict`.

    Names are of any kind, although zrb's types say `str`. Reading a missing name gives an empty queue; `in` and `get`
    create nothing, and see the queues of other processes. With an owner every operation belongs to that attempt, in any
    thread; without one, to the current attempt. It does not derive from dict: code written in C would read that dict,
    which is empty, without calling these methods.
    """

    __class__ = property(lambda self: DotDict)

    # Every attribute without an underscore is the name of a queue, unless a dictionary has it.
    _content: CtxXcomContent
    _owner: Owner | None
    _bound: dict[tuple[str, str], ZrbXcom]

    def __init__(self, content: CtxXcomContent, owner: Owner | None = None) -> None:
        vars(self).update(_content=content, _owner=owner, _bound={})

    def __getitem__(self, name: str) -> Any:
        value = self._content.get(name, self._owner)
        if self._owner is None or type(value) is not ZrbXcom:
            return value
        if value.place not in self._bound:
            self._bound[value.place] = value.bound_to(self._owner)
        return self._bound[value.place]

    def __setitem__(self, name: str, value: Any) -> None:
        self._content.put(name, value, self._owner)

    def __delitem__(self, name: str) -> None:
        self._content.remove(name, self._owner)

    def __contains__(self, name: object) -> bool:
        return self._content.has(name)

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._content.names))  # to read a name may add it

    def __reversed__(self) -> Iterator[str]:
        return iter(reversed(self._content.names))

    def __len__(self) -> int:
        return len(self._content.names)

    # Those of a dict: their views can be reversed.

    def keys(self) -> KeysView[str]:
        return self._content.names.keys()

    def values(self) -> ValuesView[Any]:
        return {name: self[name] for name in self}.values()

    def items(self) -> ItemsView[str, Any]:
        return {name: self[name] for name in self}.items()

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

    def get(self, name: str, default: Any = None, /) -> Any:
        """Return the queue or value of that name if there is one, otherwise the default."""
        return self[name] if name in self else default  # noqa: SIM401 - this is get

    def setdefault(self, name: str, default: Any = None, /) -> Any:
        """Return the value of a name, set to the default if there is none."""
        if name not in self:
            self[name] = default
        return self[name]

    def pop(self, name: str, default: Any = _ABSENT, /) -> Any:
        """Delete a name and return its value. A durable queue becomes a queue in memory with the same values."""
        try:
            return self._content.remove(name, self._owner)
        except KeyError:
            if default is _ABSENT:
                raise
            return default

    def popitem(self) -> tuple[str, Any]:
        """Delete and return the last item."""
        for name in reversed(self._content.names):
            return name, self.pop(name)
        raise KeyError("popitem(): dictionary is empty")

    fromkeys = DotDict.fromkeys

    def copy(self) -> DotDict:
        """Return a plain dictionary of the same queues."""
        return DotDict(self)

    def __or__(self, other: dict[str, Any]) -> dict[str, Any]:
        return dict(self) | other

    def __ror__(self, other: dict[str, Any]) -> dict[str, Any]:
        return other | dict(self)

    def __ior__(self, other: Mapping[str, Any]) -> Self:
        self.update(other)
        return self

    def __repr__(self) -> str:
        return repr(dict(self))

    def __reduce_ex__(self, protocol: SupportsIndex) -> str | tuple[Any, ...]:
        return self.copy().__reduce_ex__(protocol)
