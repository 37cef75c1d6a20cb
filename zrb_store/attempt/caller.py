"""A method that has variants, as `attempt.step` has `attempt.step.transaction`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Self, TypeVar, overload

C = TypeVar("C")


class Caller(Generic[C]):
    """A method of a class. Read from an object, it is what `make` makes of that, which can be called."""

    def __init__(self, make: Callable[[Any], C]) -> None:
        self.make = make

    @overload
    def __get__(self, owner: None, of: type) -> Self: ...
    @overload
    def __get__(self, owner: object, of: type) -> C: ...
    def __get__(self, owner: object, of: type) -> Self | C:
        return self if owner is None else self.make(owner)
