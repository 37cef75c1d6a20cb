"""No connection crosses a fork.

SQLite keeps its file locks per process and counts them in memory. A child that inherits an open connection believes
that it holds the lock that keeps others from deleting the -wal file, and loses what it commits once the parent has
closed the store. So each connection is closed before a fork, and opened anew by whoever needs it next. (`subprocess`
and asyncio do not fork in this sense.)
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import Protocol


class Forkable(Protocol):
    """What has a connection."""

    def before_fork(self) -> None:
        """Close the connection, and keep other threads from opening one."""

    def after_fork(self, in_child: bool) -> None:
        """Let other threads work again."""


_known: weakref.WeakSet[Forkable] = weakref.WeakSet()
_one_fork = threading.Lock()
_forking: list[Forkable] = []


def guard(one: Forkable) -> None:
    """Close the connection of this object before each fork, for as long as the object lives."""
    with _one_fork:  # a thread that opens one amid a fork would leave locked what is locked inside SQLite
        _known.add(one)


def _before() -> None:
    _one_fork.acquire()
    _forking.extend(_known)
    for one in _forking:
        one.before_fork()


def _after(in_child: bool) -> None:
    for one in _forking:
        one.after_fork(in_child)
    _forking.clear()
    _one_fork.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before,
        after_in_parent=lambda: _after(in_child=False),
        after_in_child=lambda: _after(in_child=True),
    )
