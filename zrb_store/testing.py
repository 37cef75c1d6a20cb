"""Tools for the tests of programs that use a store: die at any commit, shorten the lease, work in a temporary place.

    def test_nothing_is_loaded_twice():
        with temporary_store() as store:
            with pytest.raises(Crash), crash_at("complete:inside"):
                nightly(store)
            expire_lease(store.session("nightly"))
            nightly(store)  # resumes
            assert loaded == ["a.csv"]

A real process, `zrb` too, obeys the environment variable `ZRB_STORE_TESTING` when it opens its first store. It has
words such as `crash_at=complete:inside` (the process gets SIGKILL there), `crash_at=push:after#3` (at the third
time), `stop_at=begin:before` (SIGSTOP) and `lease=2` (seconds).
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

from zrb_store import lease, open_store, points
from zrb_store.errors import InvalidName
from zrb_store.queries import sessions

if TYPE_CHECKING:
    from zrb_store.session import Session
    from zrb_store.store import Store

POINTS = tuple(
    f"{change}:{place}"
    for change in (
        "begin",  # an attempt begins; the unfinished one before it is given back
        "change",  # an operation of several statements: extend, set, insert, remove, rotate and so on
        "complete",  # an attempt completes, its result with it
        "create",  # a queue is made, with its session if need be
        "end",  # a run ends
        "fail",  # an attempt fails
        "fork",
        "give_back",  # a completed attempt is given back, to run again
        "mark",
        "pin",
        "pop",
        "prune",
        "push",
        "rm",
        "start",  # a run takes the lease, and gives back what the runs before left unfinished
    )
    for place in ("before", "inside", "after")
)
"""Every point: `before` a change, `inside` its transaction just before the commit, and `after` the commit.

A `push` or `pop` from Python is a single statement, which has no `inside`; nor has a `begin` that gives nothing back.
"""


class Crash(BaseException):
    """The death of the process, as `crash_at` plays it. No `except Exception` holds it up."""


@contextmanager
def crash_at(point: str, *, visit: int = 1, kill: bool = False) -> Iterator[None]:
    """Die at a point: raise `Crash` there, and at every point after it, since the dead write nothing more.

    What runs were under way still hold their leases: use `expire_lease`, or `short_lease` and wait.

    Args:
        point: One of `POINTS`.
        visit: At which of the visits to the point.
        kill: Send this process SIGKILL instead.

    Raises:
        Crash: At the point.
        InvalidName: There is no such point.
    """
    dead = False

    def crash() -> None:
        nonlocal dead
        dead = True
        raise Crash(point)

    at = _at(point, visit, _kill if kill else crash)

    def reached(name: str) -> None:
        if dead:
            raise Crash(f"{name} is reached by a process that died at {point}")
        at(name)

    previous = points.watch(reached)
    try:
        yield
    finally:
        points.watch(previous)


@contextmanager
def short_lease(seconds: float) -> Iterator[None]:
    """Let leases last so long in this process, renewed four times as often.

    A test that waits for the end of a lease waits so much less. The process that is to lose it needs the short one.
    """
    before = lease.DURATION, lease.RENEWAL
    _shorten(seconds)
    try:
        yield
    finally:
        lease.DURATION, lease.RENEWAL = before


def expire_lease(session: Session) -> None:
    """Let the lease of a session's run end now, as if its process had not been heard of for a minute.

    The next `session.run()` takes over.

    Raises:
        SessionNotFound: There is no such session.
    """
    database = session.store.database
    run = sessions.last_run(database, session.record().id)
    if run is not None:
        sessions.renew(database, run.id, 0)


@contextmanager
def temporary_store() -> Iterator[Store]:
    """A new SQLite store in a temporary folder, deleted at the end.

    `ZRB_STORE_URL` names it meanwhile: `open_store()` and child processes use it too.
    """
    with tempfile.TemporaryDirectory(prefix="zrb-store-") as folder:
        path = str(Path(folder) / "xcom.db")
        with mock.patch.dict(os.environ, {"ZRB_STORE_URL": path}):
            os.environ.pop("ZRB_STORE_ATTEMPT", None)  # tests that a zrb task runs: its attempt is of another store
            with open_store(path) as store:
                yield store


@functools.cache  # once per process, whose visits are counted from its first store on
def obey_environment() -> None:
    """Do what `ZRB_STORE_TESTING` says, for as long as this process lives.

    Raises:
        InvalidName: It says something else than described above.
    """
    for word in os.environ.get(points.VARIABLE, "").split():
        name, _, what = word.partition("=")
        point, _, visit = what.partition("#")
        try:
            if name == "lease":
                _shorten(float(what))
            elif name in ("crash_at", "stop_at"):
                points.watch(_at(point, int(visit or 1), _kill if name == "crash_at" else _stop))
            else:
                raise ValueError(f"{name} is not known")
        except ValueError as error:
            raise InvalidName(f"{points.VARIABLE} holds {word!r}: {error}") from None


def _at(point: str, visit: int, action: Callable[[], None]) -> points.At:
    """Calls the action when the point is visited for that time."""
    if point not in POINTS:
        raise InvalidName(f"there is no point {point!r}: use one of {', '.join(POINTS)}")
    visits = itertools.count(1)

    def reached(name: str) -> None:
        if name == point and next(visits) == visit:
            action()

    return reached


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _stop() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def _shorten(seconds: float) -> None:
    lease.DURATION, lease.RENEWAL = seconds, seconds / 4
    lease.renew_now()
