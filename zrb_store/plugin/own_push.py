"""zrb's own push of a task's result: the result is stored already when it comes, so it must do nothing more."""

from __future__ import annotations

import asyncio
import weakref
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Expected:
    """A push to come.

    Attributes:
        place: Session and name of the queue.
        value: The result, compared by identity.
        fresh: Whether the result was stored just now, so that callbacks are called.
    """

    place: tuple[str, str]
    value: Any
    fresh: bool


# zrb pushes a result right after the action returned, without an await in between, in the same asyncio task.
_expected: weakref.WeakKeyDictionary[asyncio.Task[Any], Expected] = weakref.WeakKeyDictionary()


def expect(place: tuple[str, str], value: Any, *, fresh: bool) -> None:
    """Expect zrb's push of this very object to this queue, in this asyncio task."""
    task = asyncio.current_task()
    if task is not None:
        _expected[task] = Expected(place, value, fresh)


def forget() -> None:
    """Expect no push: one that never came (an interrupt at that point) must not eat a later one of the same object."""
    task = asyncio.current_task()
    if task is not None:
        _expected.pop(task, None)


def arrived(place: tuple[str, str], value: Any) -> Expected | None:
    """The expectation that this push fulfils, or None if it is not zrb's own."""
    if not _expected:
        return None
    try:
        task = asyncio.current_task()
    except RuntimeError:  # a thread: never zrb itself
        return None
    found = _expected.get(task) if task else None
    if found is None or found.value is not value or found.place != place:
        return None
    forget()
    return found
