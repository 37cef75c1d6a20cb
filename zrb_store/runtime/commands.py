"""Ends the commands that are left of attempts which were cut off (guarantees.md, promise 21)."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from collections.abc import Iterable

from zrb_store.db.clock import clock
from zrb_store.db.engine import Database
from zrb_store.errors import SessionBusy
from zrb_store.process import identity, process_started, send_signal
from zrb_store.queries.commands import LeftCommand, left_commands, refuse_immortal
from zrb_store.records import SessionRecord

GRACE = 10.0
"""Seconds between SIGTERM and SIGKILL."""
_KILLED = 10.0  # seconds that a process may take to be gone after SIGKILL
_LOOK = 0.05  # seconds between two looks whether they have ended

_log = logging.getLogger("zrb_store")


def end_commands(database: Database, session: SessionRecord, *, task: str | None = None, running: bool = True) -> None:
    """End what `left_commands` finds: with SIGTERM, and with SIGKILL ten seconds later.

    Raise `SessionBusy` if something of it cannot be ended.
    """
    began, asked = clock.monotonic(), set[tuple[int, str | None]]()
    while left := left_commands(database, session, database.url, task=task, running=running):
        # A group whose leader has just ended is the one that was recorded.
        groups = {pid for pid, _ in asked}
        refuse_immortal(session, [each for each in left if each.pid not in groups])
        seconds = clock.monotonic() - began
        if seconds > GRACE + _KILLED:
            raise SessionBusy(
                f"session {session.name} cannot start: {left[0].text()} does not end, not even by SIGKILL"
            )
        is_over = seconds >= GRACE
        new = [each for each in left if (each.pid, each.started) not in asked]
        for each in new:
            _log.warning("%s in session %s has outlived its run, and is ended", each.text(), session.name)
        _send(left if is_over else new, signal.SIGKILL if is_over else signal.SIGTERM)
        asked.update((each.pid, each.started) for each in left)
        clock.sleep(_LOOK)


def _send(commands: Iterable[LeftCommand], number: int) -> None:
    me = identity()
    for each in commands:
        if not each.is_group:
            send_signal(me.boot_id, me.pid_namespace, each.pid, each.started, number)
        elif each.started is None or process_started(each.pid) == each.started:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(each.pid, number)
