"""Helpers that begin attempts, act as one, and let one fail."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from zrb_store import Run, Store
from zrb_store.queries.attempts import Owner
from zrb_store.testing import expire_lease
from zrb_store.xcom import current_attempt

A = TypeVar("A", bound=Owner)


class Broken(Exception):
    """The error with which an attempt fails."""


def failing(run: Run, task: str, do: Callable[[], Any]) -> None:
    """Run an attempt that calls `do` and fails."""
    with contextlib.suppress(Broken), run.attempt(task):
        do()
        raise Broken


@contextlib.contextmanager
def acting_as(attempt: A) -> Iterator[A]:
    """Let the code of the block act for the attempt or step, which stays open afterwards."""
    token = current_attempt.set(attempt)
    try:
        yield attempt
    finally:
        current_attempt.reset(token)


def start(store: Store, name: str) -> Run:
    """Start a run of the session. If another run holds its lease, let that expire first."""
    session = store.session(name)
    if name in [record.name for record in store.sessions()]:
        expire_lease(session)
    return session.run().start()
