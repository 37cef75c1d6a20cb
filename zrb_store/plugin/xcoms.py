"""Durable queues as zrb's tasks see them: live objects, zrb's own push swallowed, store failures told to the run."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, SupportsIndex, TypeVar

from zrb_store import codec
from zrb_store.codec import Encoded
from zrb_store.db.engine import Database
from zrb_store.errors import LeaseLost, StoreUnavailable, UnencodableValue, ValueTooLarge
from zrb_store.plugin import compat, own_push
from zrb_store.queries import values as queries
from zrb_store.xcom import Owner, Xcom, Xcoms
from zrb_store.xcom.edits import Edit, Editor, Live

R = TypeVar("R")

# Equal ones cannot be told apart: reading their row is as good as keeping the object.
_PLAIN = (type(None), bool, int, float, str, bytes)
# A queue keeps no more objects than this without asking which of them other processes have taken.
_KEPT = 256


class Recorder(Protocol):
    """What a queue needs of the recorder of its zrb session."""

    warn_once: Callable[[str], None]

    def stop(self, error: Exception) -> None:
        """End the run: the store can no longer be trusted."""

    def warn_unstorable(self, owner: Owner | None, reason: Exception) -> None:
        """Say once that a value is kept as its type and repr only."""


class Shared:
    """What all objects of one queue in this process have in common."""

    def __init__(self) -> None:
        self.push_callbacks: list[Callable[[], Any]] = []
        self.pop_callbacks: list[Callable[[], Any]] = []
        self.live: dict[int, Any] = {}
        self.check_at = _KEPT

    def take(self, seqs: Sequence[int], owner: Owner | None) -> None:
        """Forget objects that were taken: at once, or when the attempt that may still be given back completes."""
        if not self.live:
            return
        if owner is None:
            for seq in seqs:
                self.live.pop(seq, None)
        else:
            _held.setdefault(owner.id, []).extend((self, seq) for seq in seqs if seq in self.live)


# What running attempts took of the kept objects, by attempt: it comes back if the attempt does not stand.
_held: dict[int, list[tuple[Shared, int]]] = {}


def settle_objects(attempt_id: int, *, stands: bool) -> None:
    """An attempt has ended: what it took is gone for good if it stands, and may come back if not."""
    for shared, seq in _held.pop(attempt_id, ()):
        if stands:
            shared.live.pop(seq, None)


def _watched(method: Callable[..., R]) -> Callable[..., R]:
    """Report a lost lease or store to the run before the task's action sees it."""

    @functools.wraps(method)
    def watched(self: ZrbXcom, *args: Any, **kwargs: Any) -> R:
        try:
            return method(self, *args, **kwargs)
        except (LeaseLost, StoreUnavailable) as error:
            self._recorder.stop(error)
            raise

    return watched


class ZrbXcom(Xcom):
    """One queue of a zrb session. `isinstance` takes it for zrb's own `Xcom`."""

    # zrb 1.21 and user code ask isinstance(queue, Xcom). Base methods are called by name below, since a class
    # with this property cannot use super() without arguments.
    __class__ = property(lambda self: compat.Xcom)

    def __init__(self, xcoms: ZrbXcoms, name: str) -> None:
        Xcom.__init__(self, xcoms, name)
        self._recorder = xcoms.recorder
        self.shared = xcoms.shared.setdefault(name, Shared())
        self._push_callbacks = self.shared.push_callbacks
        self._pop_callbacks = self.shared.pop_callbacks

    @property
    def place(self) -> tuple[str, str]:
        """Session and name."""
        return self._xcoms.session, self.name

    def bound_to(self, owner: Owner | None) -> ZrbXcom:
        """The same queue, every operation belonging to `owner` (None: following the context)."""
        return self._xcoms.bound_to(owner)[self.name]  # type: ignore[arg-type,return-value]

    def adopt(self, stock: compat.Xcom, *, values: bool) -> None:
        """Take over the callbacks of a queue that was made in memory, and its values too in place of all others."""
        if values:
            self.replace(stock)
        self.shared.push_callbacks[:] = getattr(stock, "push_callbacks", [])
        self.shared.pop_callbacks[:] = getattr(stock, "pop_callbacks", [])

    def replace(self, new: Sequence[Any]) -> list[Any]:
        """Put these values in place of all live ones, in one transaction and without calling callbacks.

        Returns:
            The values that were live.
        """
        items = [(self._encode(value), None) for value in new]
        objects = dict(self.shared.live)  # a value that is removed may be forgotten at once
        removed: Live = []

        def editor(live: Live) -> Edit:
            removed[:] = live
            return Edit([seq for seq, _ in live], [], items)

        self._apply(editor, pushed=new)
        return [objects[seq] if seq in objects else codec.decode(item.data) for seq, item in removed]

    def delete(self) -> list[Any]:
        """Remove all values and callbacks, since the queue's name is deleted.

        Returns:
            The values that were live.
        """
        self.shared.push_callbacks.clear()
        self.shared.pop_callbacks.clear()
        return self.replace([])

    def encode(self, value: Any) -> Encoded:
        """The value as it will be kept; never raises, warns once about one that is kept unreadable."""
        return self._encode(value)

    def _encode(self, value: Any) -> Encoded:
        limit = self._xcoms.max_value
        try:
            return codec.encode(value, limit=limit)
        except (UnencodableValue, ValueTooLarge) as error:
            self._recorder.warn_unstorable(self._owner(), error)
        return codec.encode(value, lenient=True, limit=limit)._replace(restorable=False)

    def _decode(self, seq: int, data: str) -> Any:
        live = self.shared.live
        return live[seq] if seq in live else codec.decode(data)

    def _pushed(self, seq: int, item: Encoded, value: Any) -> None:
        if item.restorable and type(value) in _PLAIN and value == value:  # NaN does not
            return
        shared = self.shared
        shared.live[seq] = value
        if len(shared.live) >= shared.check_at:
            self._forget_taken_elsewhere()

    def keep(self, seq: int, item: Encoded, value: Any) -> None:
        """Let readers in this process have the very object that was pushed as `seq`."""
        self._pushed(seq, item, value)

    def append_quietly(self, value: Any) -> None:
        """Add a value at the end without calling callbacks; zrb's own push calls them."""
        self._push(value, left=False)

    def _copied(self, old: int, new: int) -> None:
        if old in self.shared.live:
            self.shared.live[new] = self.shared.live[old]

    def _taken(self, seqs: Sequence[int]) -> None:
        self.shared.take(seqs, self._owner())

    def _forget_taken_elsewhere(self) -> None:
        shared = self.shared
        needed = {seq for held in list(_held.values()) for owner, seq in held if owner is shared}
        queue_id = self._xcoms.known_id(self.name)
        if queue_id:
            needed.update(seq for seq, _ in queries.iterate(self._xcoms.database, queue_id))
        shared.live = {seq: value for seq, value in shared.live.items() if seq in needed}
        shared.check_at = max(_KEPT, 2 * len(shared.live))

    def push(self, value: Any) -> None:
        """Add a value at the end. zrb's own push of a result that is stored already only calls the callbacks."""
        expected = own_push.arrived(self.place, value)
        if expected is None:
            self.append(value)
        elif expected.fresh:
            for callback in list(self.shared.push_callbacks):
                callback()

    def get(self, default_value: Any = None) -> Any:
        """Look at the value that this zrb release's `get` looks at (see compat), or get the default."""
        if not compat.GET_IS_OLDEST:
            return self._get(default_value)
        try:
            return self.peek()
        except IndexError:
            return default_value

    def copy(self) -> deque[Any]:
        """The values now, in a queue in memory as zrb makes it."""
        return compat.Xcom(self)

    def __reduce_ex__(self, protocol: SupportsIndex) -> Any:
        return self.copy().__reduce_ex__(protocol)

    _get = _watched(Xcom.get)
    _push = _watched(Xcom._push)
    _pop = _watched(Xcom._pop)
    peek = _watched(Xcom.peek)
    __len__ = _watched(Xcom.__len__)
    __getitem__ = _watched(Xcom.__getitem__)

    @_watched
    def _apply(self, editor: Editor, *, read: bool = True, pushed: Sequence[Any] = ()) -> Edit:
        return Xcom._apply(self, editor, read=read, pushed=pushed)

    def __iter__(self) -> Iterator[Any]:
        values = Xcom.__iter__(self)
        while True:
            try:
                value = self._next(values)
            except StopIteration:
                return
            yield value

    @_watched
    def _next(self, values: Iterator[Any]) -> Any:
        return next(values)


for _name in compat.WITHOUT_CALLBACKS:
    setattr(ZrbXcom, _name, vars(Xcom)[_name].__wrapped__)


class ZrbXcoms(Xcoms):
    """The queues of one session, as `ZrbXcom`."""

    def __init__(
        self,
        recorder: Recorder,
        database: Database,
        session: str,
        max_value: int,
        owner: Owner | None = None,
        shared: dict[str, Shared] | None = None,
    ) -> None:
        super().__init__(database, session, max_value, owner)
        self.recorder = recorder
        self.shared: dict[str, Shared] = {} if shared is None else shared

    def bound_to(self, owner: Owner | None) -> ZrbXcoms:
        """The same queues, with every operation belonging to `owner` (None: following the context)."""
        bound = ZrbXcoms(self.recorder, self.database, self.session, self.max_value, owner, self.shared)
        bound._ids = self._ids
        return bound

    def __getitem__(self, name: str) -> ZrbXcom:
        xcom = self._xcoms.get(name)
        if xcom is None:
            xcom = self._xcoms[name] = ZrbXcom(self, name)
        return xcom  # type: ignore[return-value]
