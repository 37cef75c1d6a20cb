"""Starts the command of `ZRB_STORE_ON_FAILURE` when a run fails, a value dies, or the store cannot be used.

Nothing here raises an error of the store: whoever calls it has something worse to report, or works on.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from zrb_store import settings
from zrb_store.db.engine import Database
from zrb_store.db.urls import StoreUrl, shown_url, store_url, url_for_commands
from zrb_store.errors import ZrbStoreError
from zrb_store.inspect import alert
from zrb_store.inspect.alert import Alert
from zrb_store.names import full_name
from zrb_store.operations import background_command
from zrb_store.queries import on_failure as queries
from zrb_store.queries import runs, sessions
from zrb_store.queries.last_errors import last_errors
from zrb_store.records import RunRecord, iso
from zrb_store.safe_text import mask_text, storable

_NOT_INHERITED = (*settings.TOLD, "ZRB_STORE_ON_FAILURE", "ZRB_STORE_ATTEMPT")
_MOST_VALUES = 20  # of those that die together
_MOST_CHARACTERS = 16 * 1024  # of one variable: the system allows 128 KiB
_QUIET_FOR = 600.0  # seconds

_log = logging.getLogger("zrb_store")


def tell_end(database: Database, session: str, run_id: int) -> None:
    """Tell that a run has ended without completing its session.

    Args:
        database: The store.
        session: Name of the session.
        run_id: The run. Its end says already that somebody is told.
    """
    with _reporting(session):
        _tell_of_session(database, session, run_id, None)


def tell_death(database: Database, session: str, dead: RunRecord, died: str) -> None:
    """Tell that a run is dead, unless its session is a child session, or somebody was told before.

    Args:
        database: The store.
        session: Name of the session.
        dead: The run. It is known to be dead.
        died: How that is known.
    """
    if settings.on_failure() is None:
        return
    with _reporting(session):
        found = sessions.find(database, session)
        if found is not None and found.parent is None and queries.claim(database, dead):
            _tell_of_session(database, session, dead.id, died)


def tell_dead_values(database: Database, died: Sequence[tuple[int, int]]) -> None:
    """Tell that values have died, once for all that died in one transaction.

    Args:
        database: The store.
        died: Queue id and seq of each value.
    """
    if settings.on_failure() is None:
        return
    with _reporting("a dead value"):
        found = []
        for queue_id, seq in died[:_MOST_VALUES]:
            value = queries.died_value(database, queue_id, seq)
            if value is not None:  # it was not requeued or removed meanwhile
                found.append((full_name(value.session, value.queue, seq), value))
        if not found:
            return
        names, last = [name for name, _ in found], found[-1][1]
        more = f" and {len(died) - 1} more" if len(died) > 1 else ""
        times = "1 delivery" if last.deliveries == 1 else f"{last.deliveries} deliveries"
        event = Alert(
            event="dead",
            what=f"value {names[0]}{more}, after {times}",
            why=last.error.text() if last.error else None,
            at=None,
            remedy=f"zrb-store requeue {shlex.join(names)}",
            session=last.session,
            project=last.project,
            task=last.task,
            queue=last.queue,
        )
        _start(event, database.url, values=names)


class _Unavailable:
    """When this process last told that a store cannot be used: a worker that tries again must not tell each time."""

    def __init__(self) -> None:
        self._told_at: float | None = None

    def is_due(self) -> bool:
        """Whether it is time to tell. The caller tells then."""
        moment = time.monotonic()
        if self._told_at is not None and moment - self._told_at < _QUIET_FOR:
            return False
        self._told_at = moment
        return True


_unavailable = _Unavailable()


def tell_unavailable(
    error: ZrbStoreError,
    url: StoreUrl | None = None,
    *,
    session: str | None = None,
    task: str | None = None,
    remedy: str | None = None,
) -> None:
    """Tell that the store cannot be used, at most every ten minutes.

    Args:
        error: Why. An error that does not end a command with exit code 69 is ignored.
        url: The URL of the store; by default the one that the settings name.
        session: The session whose run it ends.
        task: The main task of that session.
        remedy: The command that helps; by default one that looks at the store.
    """
    if settings.on_failure() is None or error.exit_code != 69 or not _unavailable.is_due():
        return
    with _reporting("the store"):
        url = store_url() if url is None else url
        what = f"session {session}" if session else f"the store {shown_url(url)}"
        _start(
            Alert("unavailable", what, str(error), None, remedy or "zrb-store db status", session=session, task=task),
            url,
        )


def _tell_of_session(database: Database, session: str, run_id: int, died: str | None) -> None:
    with database.snapshot() as transaction:
        found = sessions.get(transaction, session)
        every = runs.of_session(transaction, found.id)
        error = last_errors(transaction, [run_id]).get(run_id)
    known = [run for run in every if run.id <= run_id]  # the session may have been resumed since
    status = "stale" if died else next((run.outcome for run in known if run.id == run_id), None) or "failed"
    _start(alert.of_session(replace(found, status=status), known, error, died, None), database.url)


def _start(event: Alert, url: StoreUrl, values: Sequence[str] = ()) -> None:
    command = settings.on_failure()
    if command is None:
        return
    told = {
        "EVENT": event.event,
        "SESSION": event.session,
        "TASK": event.task,
        "VALUE": "\n".join(values),
        "ERROR": event.why,
        "REMEDY": event.remedy,
        "MESSAGE": event.line(_time(event)),
        "SHOWN_URL": shown_url(url),
    }
    environment = {name: text for name, text in os.environ.items() if name not in _NOT_INHERITED}
    for name, text in told.items():
        if text:
            environment[f"ZRB_STORE_{name}"] = storable(mask_text(text))[:_MOST_CHARACTERS]
    environment["ZRB_STORE_URL"] = url_for_commands(url)
    background_command.start("the command of ZRB_STORE_ON_FAILURE", command, environment)


def _time(event: Alert) -> str:
    return (iso(event.at) or "").partition(".")[0].replace("T", " ") + "Z" if event.at is not None else ""


@contextlib.contextmanager
def _reporting(what: str) -> Iterator[None]:
    """Log an error of the store, instead of raising it."""
    try:
        yield
    except ZrbStoreError as error:
        _log.warning("the command of ZRB_STORE_ON_FAILURE is not started for %s: %s", what, error)
