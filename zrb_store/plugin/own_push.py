"""zrb's own push of a task's result. The result is stored already by then, so the push must do nothing more."""

from __future__ import annotations

import asyncio
import weakref
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ExpectedPush:
    """A push that zrb will do next.

    Attributes:
        place: Session and name of the queue.
        value: The result, compared by identity.
        fresh: Whether the result was stored just now, not by an earlier run: callbacks are called then.
    """

    place: tuple[str, str]
    value: Any
    fresh: bool


# zrb pushes a result right after the action returned, without an await in between, in the same asyncio task.
_expected: weakref.WeakKeyDictionary[asyncio.Task[Any], ExpectedPush] = weakref.WeakKeyDictionary()


def expect(place: tuple[str, str], value: Any, *, fresh: bool) -> None:
    """Expect zrb's push of this very object to this queue, in this asyncio task."""
    task = asyncio.current_task()
    if task is not None:
        _expected[task] = ExpectedPush(place, value, fresh)


def forget() -> None:
    """Expect no push any more. One that never came, because of an interrupt, must not swallow a later one."""
    task = asyncio.current_task()
    if task is not None:
        _expected.pop(task, None)


def arrived(place: tuple[str, str], value: Any) -> ExpectedPush | None:
    """Return what was expected if this push is zrb's own, else None."""
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
