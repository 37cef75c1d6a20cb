"""Durable queues as zrb's tasks see them.

Readers in this process get the very objects that it pushed. A failure of the store ends the run. zrb's own push of a
task's result, which is stored by then, does nothing: it is `expected_push`.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Concatenate, NamedTuple, ParamSpec, Protocol, SupportsIndex, TypeVar
from weakref import WeakKeyDictionary

from zrb_store import codec
from zrb_store.codec import Encoded
from zrb_store.db.engine import Database
from zrb_store.errors import LeaseLost, StoreUnavailable, UnencodableValue, ValueTooLarge
from zrb_store.plugin import compat
from zrb_store.queries import values as queries
from zrb_store.queries.attempts import Owner
from zrb_store.queries.values import LiveValue, NewValue
from zrb_store.xcom import Xcom, Xcoms
from zrb_store.xcom.queue import Callback
from zrb_store.xcom.reader import Edit, Live, Values


class ExpectedPush(NamedTuple):
    """A push that zrb will do next."""

    place: tuple[str, str]  # session and name of the queue
    value: Any  # the result, compared by identity
    fresh: bool  # whether it was stored just now, not by an earlier run: callbacks are called then


# zrb pushes a result right after the action returned, without an await in between, in the same asyncio task. A push
# that never came, because of an interrupt, must not swallow a later one: an attempt begins with none.
expected_push: ContextVar[ExpectedPush | None] = ContextVar("zrb_store_expected_push", default=None)


P = ParamSpec("P")
R = TypeVar("R")

# Equal ones cannot be told apart: reading their row is as good as keeping the object.
PLAIN = (type(None), bool, int, float, str, bytes)
# With this many objects a queue first asks which of them other processes have taken.
_MANY = 256


if TYPE_CHECKING:

    class RunControl(Protocol):
        """What a queue needs of the run of its zrb session."""

        warn_once: Callable[[str], None]

        def stop(self, error: Exception) -> None:
            """End the run, because the store refuses it or cannot be used."""

        def step_failed(self, step: Owner) -> None:
            """Undo in memory what a step did that did not complete."""

        def warn_unstorable(self, owner: Owner | None, reason: Exception) -> None:
            """Warn once that a value is kept as its type and repr only."""


class KeptObject(NamedTuple):
    """An object that this process pushed."""

    value: Any
    text: int  # hash of its row's text; if that has another one, a person has replaced the value


@dataclass
class QueueMemory:
    """What this process remembers of one queue: callbacks, and the objects that it pushed."""

    push_callbacks: list[Callback] = field(default_factory=list)
    pop_callbacks: list[Callback] = field(default_factory=list)
    objects: dict[int, KeptObject] = field(default_factory=dict)
    check_at: int = _MANY


# The objects that running attempts and steps took. They come back if their owner does not complete.
_held: WeakKeyDictionary[Owner, list[tuple[QueueMemory, int]]] = WeakKeyDictionary()


def forget_objects_of(attempt: Owner, *, completed: bool) -> None:
    """Drop the cached objects that a completed attempt took; those of other attempts may come back."""
    for memory, seq in _held.pop(attempt, ()):
        if completed:
            memory.objects.pop(seq, None)


def _watched(method: Callable[Concatenate[ZrbXcom, P], R]) -> Callable[Concatenate[ZrbXcom, P], R]:
    """Make a method end the run on a lost lease or store, before the task's action sees the error."""

    @functools.wraps(method)
    def watched(self: ZrbXcom, /, *args: P.args, **kwargs: P.kwargs) -> R:
        try:  # not `with self._queues.watched()`, which is slower
            return method(self, *args, **kwargs)
        except (LeaseLost, StoreUnavailable) as error:
            self._run.stop(error)
            raise

    return watched


class ZrbXcom(Xcom):
    """One queue of a zrb session. `isinstance` takes it for zrb's own `Xcom`."""

    # zrb 1.21 and users' code ask isinstance(queue, Xcom). A class with this property cannot use super() without
    # arguments, so base methods are called by name below.
    __class__ = property(lambda self: compat.Xcom)

    _queues: ZrbXcoms
    _empty_pop, _empty_peek = compat.EMPTY["pop"], compat.EMPTY["peek"]

    def __init__(self, xcoms: ZrbXcoms, name: str) -> None:
        Xcom.__init__(self, xcoms, name)
        self._run = xcoms.run
        self.memory = xcoms.memory.setdefault(name, QueueMemory())
        self._push_callbacks = self.memory.push_callbacks
        self._pop_callbacks = self.memory.pop_callbacks

    def bound_to(self, owner: Owner | None) -> ZrbXcom:
        """Return the same queue with every operation belonging to `owner` (None: to the current attempt)."""
        return self._queues.bound_to(owner)[self.name]

    def replace(self, new: Sequence[Any], *, plain: bool = False) -> list[Any]:
        """Put these values in place of all live ones, which are returned, in one transaction and without callbacks."""
        items = [NewValue(self._encode(value), plain=plain) for value in new]
        objects = dict(self.memory.objects)  # a removed value may be forgotten at once
        removed: list[LiveValue] = []

        def editor(live: Live) -> Edit:
            removed[:] = live
            return Edit([each.seq for each in live], [], items)

        self._apply(editor, pushed=new)
        pairs = ((objects.get(each.seq), each.item.data) for each in removed)
        return [kept.value if kept and kept.text == hash(data) else codec.decode(data) for kept, data in pairs]

    def assign(self, value: Any) -> None:
        """Put a plain value in place of all values and callbacks, since a program gave the queue's name to it."""
        self.memory.push_callbacks.clear()
        self.memory.pop_callbacks.clear()
        self.replace([value], plain=True)

    @_watched
    def plain(self) -> tuple[Any, str] | None:
        """Return the plain value that has the queue's name, and how it is stored; None if the queue has its name."""
        found = self._find(lambda database, queue_id, _: queries.plain(database, queue_id))
        if found is None:
            return None
        seq, data = found
        value = self._decode(seq, data)
        if not isinstance(value, PLAIN):
            self.memory.objects[seq] = KeptObject(value, hash(data))  # a program may change it in place
        return value, data

    def store_changed(self, owner: Owner) -> None:
        """Store the plain value again if the program has changed it in place."""
        if changed := self._changed():
            self.bound_to(owner).assign(changed[0])

    def forget_changed(self) -> None:
        """Read the plain value from the store again if the program has changed it in place."""
        if changed := self._changed():
            for seq in [seq for seq, kept in list(self.memory.objects.items()) if kept.value is changed[0]]:
                del self.memory.objects[seq]

    def _changed(self) -> tuple[Any] | None:
        found = self.plain()
        if found is None or isinstance(found[0], PLAIN):
            return None
        value, data = found
        try:
            is_changed = codec.encode(value, limit=self._queues.max_value).data != data
        except (UnencodableValue, ValueTooLarge):
            is_changed = not isinstance(codec.decode(data), codec.Opaque)
        return (value,) if is_changed else None

    def delete(self) -> list[Any]:
        """Remove all values and callbacks, since the queue's name is deleted, and return the values that were live."""
        self.memory.push_callbacks.clear()
        self.memory.pop_callbacks.clear()
        return self.replace([])

    def _encode(self, value: Any) -> Encoded:
        """Return the value as it will be stored. Warn once if that is only its type and repr; never raise."""
        limit = self._queues.max_value
        try:
            return codec.encode(value, limit=limit)
        except (UnencodableValue, ValueTooLarge) as error:
            self._run.warn_unstorable(self._queues.owner_of_change(), error)
        return codec.encode(value, lenient=True, limit=limit)._replace(restorable=False)

    encode = _encode

    def _decode(self, seq: int, data: str) -> Any:
        kept = self.memory.objects.get(seq)
        return kept.value if kept is not None and kept.text == hash(data) else Xcom._decode(self, seq, data)

    def _after_push(self, seq: int, item: Encoded, value: Any) -> None:
        """Give readers in this process the very object that was pushed as `seq`."""
        if item.restorable and type(value) in PLAIN and value == value:  # NaN does not
            return
        self.memory.objects[seq] = KeptObject(value, hash(item.data))
        if len(self.memory.objects) >= self.memory.check_at:
            self._forget_taken_elsewhere()

    remember_object = _after_push

    def append_quietly(self, value: Any) -> None:
        """Add a value at the end without calling callbacks; zrb's own push calls them."""
        self._push(value, left=False)

    def _after_move(self, old: int, new: int) -> None:
        if old in self.memory.objects:
            self.memory.objects[new] = self.memory.objects[old]

    def _after_take(self, seqs: Sequence[int], owner: Owner | None) -> None:
        """Forget the objects that were taken: at once without an owner, else when the owning attempt completes."""
        objects = self.memory.objects
        if owner is None:
            for seq in seqs:
                objects.pop(seq, None)
        elif objects:
            _held.setdefault(owner, []).extend((self.memory, seq) for seq in seqs if seq in objects)

    def _forget_taken_elsewhere(self) -> None:
        memory = self.memory
        needed = {seq for held in list(_held.values()) for holder, seq in held if holder is memory}
        queue_id = self._queues.find_id(self.name)
        if queue_id:
            needed.update(queries.seqs_in_queue(self._queues.database, queue_id))
        memory.objects = {seq: value for seq, value in memory.objects.items() if seq in needed}
        memory.check_at = max(_MANY, 2 * len(memory.objects))

    def push(self, value: Any, *, delay: timedelta | float = 0, connection: Any = None) -> Any:
        """Add a value at the end. zrb's own push of a result that is already stored only calls the callbacks."""
        expected = expected_push.get()
        is_expected = expected is not None and expected.value is value and expected.place == self.place
        if delay or connection is not None or expected is None or not is_expected:
            return Xcom.push(self, value, delay=delay, connection=connection)
        expected_push.set(None)
        if expected.fresh:
            for callback in list(self.memory.push_callbacks):
                callback()
        return None

    def _get_oldest(self, default_value: Any = None) -> Any:
        """Return the oldest value without taking it, or the default."""
        try:
            return self.peek()
        except IndexError:
            return default_value

    get = _get_oldest if compat.GET_IS_OLDEST else _watched(Xcom.get)

    def copy(self) -> Values:
        """Return the current values in a queue in memory, as zrb makes it."""
        return compat.Xcom(self)

    def __reduce_ex__(self, protocol: SupportsIndex) -> Any:
        return self.copy().__reduce_ex__(protocol)

    _push = _watched(Xcom._push)
    _pop = _watched(Xcom._pop)
    _pop_many = _watched(Xcom._pop_many)
    peek = _watched(Xcom.peek)
    __len__ = _watched(Xcom.__len__)
    __getitem__ = _watched(Xcom.__getitem__)
    _first_equal = _watched(Xcom._first_equal)
    _apply = _watched(Xcom._apply)

    def __iter__(self) -> Iterator[Any]:
        with self._queues.watched():
            yield from Xcom.__iter__(self)


for _name in compat.WITHOUT_CALLBACKS:
    setattr(ZrbXcom, _name, vars(Xcom)[_name].__wrapped__)


class ZrbXcoms(Xcoms):
    """The queues of one session, as `ZrbXcom`."""

    def __init__(self, run: RunControl, database: Database, session: str, max_value: int) -> None:
        super().__init__(database, session, max_value)
        self.run = run
        self.memory: dict[str, QueueMemory] = {}

    def __getitem__(self, name: str) -> ZrbXcom:
        xcom = self._xcoms.get(name)
        if xcom is None:
            xcom = self._xcoms[name] = ZrbXcom(self, name)
        return xcom  # type: ignore[return-value]

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """End the run if the store refuses what the block asks for, before the task's action sees the error."""
        try:
            yield
        except (LeaseLost, StoreUnavailable) as error:
            self.run.stop(error)
            raise

    def step_ended(self, step: Owner, parent: Owner, *, completed: bool) -> None:
        """Keep the objects that a completed step took until its attempt ends: it may be given back with the attempt."""
        if not completed:
            self.run.step_failed(step)
        held = _held.pop(step, None)
        if held and completed:
            _held.setdefault(parent, []).extend(held)

    def warn(self, message: str) -> None:
        """Print one line for the user, once in the session."""
        self.run.warn_once(message)
