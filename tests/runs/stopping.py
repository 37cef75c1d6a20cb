"""Functions of child processes that are stopped while they work (test_stop.py)."""

from __future__ import annotations

import os
import signal
import sys
import time
from multiprocessing.connection import Connection

from tests.support.processes import DEADLINE
from zrb_store import open_store, process, system
from zrb_store.testing import short_lease

HANDLERS = {
    "none": None,
    "sys.exit": lambda number, frame: sys.exit(1),
    "sys.exit(0)": lambda number, frame: sys.exit(0),
    "os._exit": lambda number, frame: os._exit(1),
    "ignores": signal.SIG_IGN,
}


def work(pipe: Connection, location: str, handler: str, ignores_interrupts: bool, also: str | None = None) -> None:
    """Take a value by a delivery, in a session with this handler of SIGTERM, and work until the process is stopped."""
    signal.signal(signal.SIGINT, signal.SIG_IGN if ignores_interrupts else signal.default_int_handler)
    if HANDLERS[handler] is not None:
        signal.signal(signal.SIGTERM, HANDLERS[handler])
    with open_store(location) as store:
        if also is not None:
            store.session(also).run().start()
        try:
            with store.session("work").run() as run:
                for delivery in run.consume(store.session("inbox").xcom["files"]):
                    with delivery:
                        pipe.send("works")
                        _sleep()
        except KeyboardInterrupt:
            os._exit(0)


def work_elsewhere(pipe: Connection, location: str) -> None:
    """Look as if from elsewhere, and work as a script's background process: it ignores SIGINT, and dies of SIGTERM."""
    elsewhere()
    with short_lease(1):
        work(pipe, location, "none", True)


def run_two(pipe: Connection, location: str) -> None:
    """Look as if from elsewhere, run `first`, and once it was told to go on, `second`; tell what interrupted either."""
    elsewhere()
    with short_lease(1), open_store(location) as store:
        for name in ("first", "second"):
            try:
                with store.session(name).run():
                    pipe.send(name)
                    if pipe.recv() == "wait":
                        _sleep()
            except KeyboardInterrupt:
                pipe.send(f"{name} interrupted")
        pipe.send("done")


def elsewhere() -> None:
    """Let this process seem to run on another machine."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    system.here().boot_id = lambda: "elsewhere"  # type: ignore[method-assign]
    process.identity.cache_clear()


def _sleep() -> None:
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:  # a handler may return
        time.sleep(1)
