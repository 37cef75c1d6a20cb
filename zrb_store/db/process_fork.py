"""Close connections before a fork.

SQLite keeps its file locks per process and counts them in memory. A child process that inherits an open connection
believes that it holds the lock that keeps others from deleting the -wal file, and loses what it commits once the parent
has closed the store. So each connection is closed before a fork, and each of the two processes opens a new one when it
needs it. (`subprocess` and asyncio are not affected: their children execute another program.)
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import Protocol


class Forkable(Protocol):
    """An object that has a connection."""

    def before_fork(self) -> None:
        """Close the connection, and keep other threads from opening one."""

    def after_fork(self, in_child: bool) -> None:
        """Let other threads open connections again."""


_known: weakref.WeakSet[Forkable] = weakref.WeakSet()
_fork_lock = threading.Lock()
_about_to_fork: list[Forkable] = []


def protect_from_fork(forkable: Forkable) -> None:
    """Close the connection of this object before each fork, for as long as the object lives."""
    # If a thread opened a connection during a fork, locks inside SQLite could stay locked in the child.
    with _fork_lock:
        _known.add(forkable)


def _before() -> None:
    _fork_lock.acquire()
    _about_to_fork.extend(_known)
    for forkable in _about_to_fork:
        forkable.before_fork()


def _after(in_child: bool) -> None:
    for forkable in _about_to_fork:
        forkable.after_fork(in_child)
    _about_to_fork.clear()
    _fork_lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before,
        after_in_parent=lambda: _after(in_child=False),
        after_in_child=lambda: _after(in_child=True),
    )
