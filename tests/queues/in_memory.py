"""The queue that durable queues are compared with: zrb's queue in memory, as it is in zrb 3."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

# The public names of zrb.xcom.xcom.Xcom that a deque does not have, on every release since 1.21.
ZRB_NAMES = {
    "add_pop_callback",
    "add_push_callback",
    "append_pop_callback",
    "append_push_callback",
    "get",
    "peek",
    "popright",
    "push",
    "set",
}

ADVICE = (
    "Xcom is empty: peek()/pop() need a prior push() or the task's own return value. "
    "Check the upstream task actually ran and produced a value before reading it here."
)


class InMemory(deque[Any]):
    """A deque with callbacks, whose `pop` takes the oldest value."""

    def __init__(self, values: Iterable[Any] = ()) -> None:
        super().__init__(values)
        self._on_push: list[Callable[[], Any]] = []
        self._on_pop: list[Callable[[], Any]] = []

    def __repr__(self) -> str:
        return f"<Xcom {list(self)}>"

    def append_push_callback(self, callback: Callable[[], Any]) -> None:
        self._on_push.append(callback)

    def append_pop_callback(self, callback: Callable[[], Any]) -> None:
        self._on_pop.append(callback)

    add_push_callback = append_push_callback
    add_pop_callback = append_pop_callback

    def append(self, value: Any) -> None:
        super().append(value)
        _call(self._on_push)

    push = append

    def appendleft(self, value: Any) -> None:
        super().appendleft(value)
        _call(self._on_push)

    def extend(self, values: Iterable[Any]) -> None:
        super().extend(values)
        _call(self._on_push)

    def extendleft(self, values: Iterable[Any]) -> None:
        super().extendleft(values)
        _call(self._on_push)

    def insert(self, index: int, value: Any) -> None:
        super().insert(index, value)
        _call(self._on_push)

    def __setitem__(self, index: Any, value: Any) -> None:
        super().__setitem__(index, value)
        _call(self._on_push)

    def remove(self, value: Any) -> None:
        super().remove(value)
        _call(self._on_pop)

    def _pop(self, take: Callable[[], Any]) -> Any:
        if not self:
            raise IndexError(ADVICE)
        value = take()
        _call(self._on_pop)
        return value

    def popleft(self) -> Any:
        return self._pop(super().popleft)

    pop = popleft

    def popright(self) -> Any:
        return self._pop(super().pop)

    def peek(self) -> Any:
        if not self:
            raise IndexError(ADVICE)
        return self[0]

    def get(self, default_value: Any = None) -> Any:
        return self[-1] if self else default_value

    def set(self, new_value: Any) -> None:
        self.push(new_value)
        while len(self) > 1:
            self.pop()


def _call(callbacks: list[Callable[[], Any]]) -> None:
    for callback in callbacks:
        callback()
