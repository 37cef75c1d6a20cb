"""Expressions of a library that is imported only if somebody needs what they make.

A `Deferred` records which attributes of a module were read, which functions were called and which operators were used,
and does all that later. Until then its text says what it would make: two of the same text make the same.
"""

from __future__ import annotations

import importlib
import operator
import threading
from collections.abc import Callable
from typing import Any

_MODULE, _ATTRIBUTE, _CALL, _OPERATOR = range(4)
_PLAIN = {str, int, float, bool, type(None)}
_making = threading.RLock()


class Deferred:
    """A module, or what an expression that begins with one would make."""

    __slots__ = ("_given", "_how", "_made", "_named", "_what")

    is_clause_element = False
    """SQLAlchemy asks for it, before it takes what `__clause_element__` returns."""

    def __init__(self, how: int, what: Any, given: tuple[Any, ...] = (), named: dict[str, Any] | None = None) -> None:
        """Record one part of an expression.

        Args:
            how: What is done.
            what: Name of the module, an object and the name of an attribute of it, a function, or an operator.
            given: The arguments, or the operands.
            named: Arguments that are given by name.
        """
        self._how = how
        self._what = what
        self._given = given
        self._named = named
        self._made: list[Any] = []  # what the expression makes, as soon as it was made

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # SQLAlchemy asks by such names what an object can do
            raise AttributeError(name)
        return Deferred(_ATTRIBUTE, self, (name,))

    def __call__(self, *given: Any, **named: Any) -> Deferred:
        return Deferred(_CALL, self, given, named)

    def __getitem__(self, key: Any) -> Deferred:
        return Deferred(_OPERATOR, operator.getitem, (self, key))

    def __clause_element__(self) -> Any:
        return made(self)

    __iter__ = None  # otherwise Python would call `__getitem__` with one number after the other, without end

    __hash__ = object.__hash__  # by identity, as long as `__eq__` makes expressions

    def __bool__(self) -> bool:
        # Dictionaries ask whether two keys with one hash are equal.
        if self._how == _OPERATOR and self._what in (operator.eq, operator.ne):
            return (self._given[0] is self._given[1]) is (self._what is operator.eq)
        raise TypeError("an expression that was not evaluated is neither true nor false")


def _recording(function: Callable[..., Any]) -> Callable[..., Deferred]:
    return lambda *operands: Deferred(_OPERATOR, function, operands)


def _reversed(function: Callable[..., Any]) -> Callable[..., Deferred]:
    return lambda right, left: Deferred(_OPERATOR, function, (left, right))


for _name in ("eq", "ne", "lt", "le", "gt", "ge", "add", "sub", "mul", "truediv", "mod", "and", "or", "neg", "invert"):
    setattr(Deferred, f"__{_name}__", _recording(getattr(operator, f"__{_name}__")))
for _name in ("add", "sub", "mul"):
    setattr(Deferred, f"__r{_name}__", _reversed(getattr(operator, f"__{_name}__")))


def module(name: str) -> Any:
    """Return a module that is imported when something that an expression makes of it is needed."""
    return Deferred(_MODULE, name)


def made(item: Any) -> Any:
    """Return what an expression makes, once and for all; anything else as it is."""
    kind = type(item)
    if kind is Deferred:
        if not item._made:
            # Two threads must not make an alias twice, because a statement would contain both. If a signal handler
            # interrupts this and makes it too, the one that was appended first counts.
            with _making:
                if not item._made:
                    item._made.append(_make(item))
        return item._made[0]
    if kind in (tuple, list):
        return kind(made(each) for each in item)
    if kind is dict:
        return {made(key): made(each) for key, each in item.items()}
    return item


def _make(item: Deferred) -> Any:
    if item._how == _MODULE:
        return importlib.import_module(item._what)
    if item._how == _ATTRIBUTE:
        return getattr(made(item._what), item._given[0])
    if item._how == _CALL:
        named = {name: made(each) for name, each in (item._named or {}).items()}
        return made(item._what)(*made(item._given), **named)
    return item._what(*made(item._given))


def text_of(item: Deferred) -> str | None:
    """Return an expression as text, or None if something in it has no text.

    What is contained twice is written once, because an alias that is used twice is another thing than two aliases.
    """
    parts: list[str] = []
    return "".join(parts) if _write(item, parts, {}) else None


def _write(item: Any, parts: list[str], written: dict[int, int]) -> bool:
    kind = type(item)
    if kind is Deferred:
        return _write_deferred(item, parts, written)
    if kind in _PLAIN:
        parts.append(repr(item))
        return True
    if kind in (tuple, list):
        return _write_all(item, parts, written)
    if kind is dict:
        return _write_all([each for pair in item.items() for each in pair], parts, written)
    return False


def _write_deferred(item: Deferred, parts: list[str], written: dict[int, int]) -> bool:
    how = item._how
    if how == _MODULE:
        parts.append(item._what)
        return True
    if how == _ATTRIBUTE:
        if not _write(item._what, parts, written):
            return False
        parts.append(f".{item._given[0]}")
        return True
    number = written.get(id(item))
    if number is not None:
        parts.append(f"#{number}")
        return True
    written[id(item)] = len(written)
    if how == _OPERATOR:
        parts.append(item._what.__name__)
        return _write_all(item._given, parts, written)
    if not _write(item._what, parts, written) or not _write_all(item._given, parts, written):
        return False
    return not item._named or _write(item._named, parts, written)


def _write_all(items: Any, parts: list[str], written: dict[int, int]) -> bool:
    parts.append("(")
    for each in items:
        if not _write(each, parts, written):
            return False
        parts.append(",")
    parts.append(")")
    return True
