"""Attempts for tests to begin, to act as, and to let fail."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from zrb_store import Attempt, Run, Store
from zrb_store.testing import expire_lease
from zrb_store.xcom import current_attempt


class Broken(Exception):
    """What an attempt fails with."""


def failing(run: Run, task: str, do: Callable[[], Any]) -> None:
    """An attempt that does something and fails."""
    with contextlib.suppress(Broken), run.attempt(task):
        do()
        raise Broken


@contextlib.contextmanager
def acting_as(attempt: Attempt) -> Iterator[Attempt]:
    """What happens here belongs to the attempt, which goes on afterwards."""
    token = current_attempt.set(attempt)
    try:
        yield attempt
    finally:
        current_attempt.reset(token)


def start(store: Store, name: str) -> Run:
    """A run of the session, whatever runs it now."""
    session = store.session(name)
    if name in [record.name for record in store.sessions()]:
        expire_lease(session)
    return session.run().start()
