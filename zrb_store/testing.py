"""Tools for the tests of programs that use a store: die at any commit, shorten the lease, work in a temporary place.

    def test_nothing_is_loaded_twice():
        with temporary_store() as store:
            with pytest.raises(Crash), crash_at("complete:inside"):
                nightly(store)
            expire_lease(store.session("nightly"))
            nightly(store)  # resumes
            assert loaded == ["a.csv"]

A process that imports this module obeys the environment variable `ZRB_STORE_TESTING`; for `zrb` that is
`ZRB_INIT_MODULES=zrb_store.plugin:zrb_store.testing`. The variable has words such as `crash_at=complete:inside` (the
process gets SIGKILL there), `crash_at=push:after#3` (at the third time), `stop_at=begin:before` (SIGSTOP) and `lease=2`
(seconds).
"""

from __future__ import annotations

import functools
import itertools
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

from zrb_store import open_store
from zrb_store.db.transaction import FailpointCallback, set_callback
from zrb_store.errors import InvalidArgument
from zrb_store.queries import runs
from zrb_store.queries.lease import renew
from zrb_store.runtime import lease

if TYPE_CHECKING:
    from zrb_store.store import Session, Store

POINTS = tuple(
    f"{change}:{place}"
    for change in (
        "ack",
        "begin",  # an attempt begins; the unfinished one before it is given back
        "change",  # an operation of several statements: extend, set, insert, remove, rotate and so on
        "command",  # the process of a consumer's command is recorded
        "complete",  # an attempt completes, its result with it
        "consume",  # a delivery begins with its value
        "create",  # a queue is created, and its session if there is none
        "drop",
        "end",  # a run ends
        "fail",  # an attempt fails
        "fork",
        "give_back",  # a completed attempt is given back, to run again
        "mark",
        "own_tables",  # a transaction of the user's database: its function has run, it commits, it is committed
        "pin",
        "pop",
        "prune",
        "push",
        "queue",  # what a queue allows is set, or it is paused
        "reclaim",  # a dead run is ended, and what it did to queues of other sessions is undone
        "replace",
        "requeue",
        "rm",
        "step_begin",  # a step begins
        "step_complete",  # a step completes with its result
        "start",  # a run takes the lease, and gives back what the runs before left unfinished
        "stop",  # the process of a run is asked to end it
        "wait",  # a wait takes its answer, or the attempt parks
    )
    for place in ("before", "inside", "after")
    if (change, place) != ("step_complete", "inside")
)
"""The points at which a crash can be simulated: `before` a change, `inside` its transaction just before the commit, and
`after` the commit.

A `push` or `pop` from Python is a single statement, which has no `inside`; nor has a `step_complete`, or a `begin`
or a `step_begin` that gives nothing back.
"""


class Crash(BaseException):
    """The death of the process, simulated by `crash_at`. No `except Exception` catches it."""


@contextmanager
def crash_at(point: str, *, visit: int = 1, kill: bool = False) -> Iterator[None]:
    """Die at a point: raise `Crash` there and at every later point, because a dead process writes nothing.

    Open runs keep their leases: use `expire_lease`, or `short_lease` and wait.

    Args:
        point: One of `POINTS`.
        visit: At which visit of the point to die.
        kill: Send this process SIGKILL instead.

    Raises:
        Crash: At the point.
        InvalidArgument: There is no such point.
    """
    dead = False

    def crash() -> None:
        nonlocal dead
        dead = True
        raise Crash(point)

    at = _at(point, visit, functools.partial(signal.raise_signal, signal.SIGKILL) if kill else crash)

    def reached(name: str) -> None:
        if dead:
            raise Crash(f"{name} is reached by a process that died at {point}")
        at(name)

    previous = set_callback(reached)
    try:
        yield
    finally:
        set_callback(previous)


@contextmanager
def short_lease(seconds: float) -> Iterator[None]:
    """Shorten the leases of this process, and renew them four times as often as they would end.

    Use it in the process that is to lose its lease: a test then waits less.
    """
    before = lease.set_duration(seconds)
    try:
        yield
    finally:
        lease.set_duration(before)


def expire_lease(session: Session) -> None:
    """End the lease of a session's run now: the next `session.run()` takes the session over.

    This works if this process started the run, or if the process of the run has died.
    """
    run = runs.last(session.database, session.record().id)
    if run is not None:
        lease.abandon(session.database, run.id)
        renew(session.database, run.id, 0)


@contextmanager
def temporary_store() -> Iterator[Store]:
    """Open a new SQLite store in a temporary folder, which is deleted at the end.

    `ZRB_STORE_URL` names it meanwhile: `open_store()` and child processes also use it.
    """
    with tempfile.TemporaryDirectory(prefix="zrb-store-") as folder:
        path = str(Path(folder) / "xcom.db")
        with mock.patch.dict(os.environ, {"ZRB_STORE_URL": path}):
            os.environ.pop("ZRB_STORE_ATTEMPT", None)  # tests that a zrb task runs: its attempt is of another store
            with open_store(path) as store:
                yield store


def obey_environment() -> None:
    """Do what `ZRB_STORE_TESTING` says, for as long as this process lives."""
    for word in os.environ.get("ZRB_STORE_TESTING", "").split():
        name, _, what = word.partition("=")
        point, _, visit = what.partition("#")
        try:
            if name == "lease":
                lease.set_duration(float(what))
            elif name in ("crash_at", "stop_at"):
                number = signal.SIGKILL if name == "crash_at" else signal.SIGSTOP
                set_callback(_at(point, int(visit or 1), functools.partial(signal.raise_signal, number)))
            else:
                raise ValueError(f"{name} is not known")
        except ValueError as error:
            raise InvalidArgument(f"ZRB_STORE_TESTING holds {word!r}: {error}") from None


def _at(point: str, visit: int, action: Callable[[], None]) -> FailpointCallback:
    """Make a callback that calls the action at the given visit of a point."""
    if point not in POINTS:
        raise InvalidArgument(f"there is no point {point!r}: use one of {', '.join(POINTS)}")
    visits = itertools.count(1)

    def reached(name: str) -> None:
        if name == point and next(visits) == visit:
            action()

    return reached


obey_environment()
