"""Starts the command of `ZRB_STORE_NOTIFY` when a run fails or waits, a value dies, or the store cannot be used.

Nothing here raises an error of the store: whoever calls it has something worse to report, or works on.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import IO, TYPE_CHECKING

from zrb_store import settings
from zrb_store.db.clock import clock
from zrb_store.db.engine import Database
from zrb_store.db.location import StoreUrl, shown_url, store_url, url_for_commands
from zrb_store.errors import ZrbStoreError
from zrb_store.masking import mask_printed, mask_text, one_line, storable
from zrb_store.names import full_name
from zrb_store.queries import runs, sessions
from zrb_store.queries.clock import now_micros
from zrb_store.queries.last_errors import last_errors
from zrb_store.queries.lease import cause_of_death, is_live
from zrb_store.queries.waits import parked
from zrb_store.records import RunRecord, iso
from zrb_store.watch import queries
from zrb_store.watch.wing import VARIABLES

if TYPE_CHECKING:
    from zrb_store.watch.alert import Alert

_NOT_INHERITED = (*VARIABLES, "ZRB_STORE_NOTIFY", "ZRB_STORE_ATTEMPT", settings.SECRETS)
_MOST_VALUES = 20  # of those that die together
_MOST_CHARACTERS = 16 * 1024  # of one variable: the system allows 128 KiB
_QUIET_FOR = 600.0  # seconds
_MOST_COMMANDS = 20  # that are started at once: the next check reports the others
PATIENCE = 10.0
"""Seconds that a command is waited for. After that it goes on alone."""
_TAIL = 4096  # bytes of its output in which its last line is looked for
_LONGEST = 200  # characters of that line

_log = logging.getLogger("zrb_store")


def notify_end(database: Database, session: str, run_id: int) -> None:
    """Report that a run has ended without completing its session; its end has recorded the notification."""
    with _reporting(session):
        _notify_of_session(database, session, run_id, None)


def notify_death(database: Database, session: str, dead: RunRecord, died: str) -> None:
    """Report once that a run is dead, which `died` explains, unless its session is a child."""
    if settings.notify_command() is None:
        return
    with _reporting(session):
        found = sessions.find(database, session)
        if found is not None and found.parent is None and queries.claim(database, dead):
            _notify_of_session(database, session, dead.id, died)


def has_unreported(database: Database) -> bool:
    """Whether there is a stale session that was not reported yet."""
    moment = now_micros(database)
    return any(not is_live(database, run, moment) for _, run in queries.running_unreported(database))


def notify_stale(database: Database) -> None:
    """Report each root run whose process died, once, whichever process finds it first."""
    reported = 0
    with _reporting("stale sessions"):
        for session, run in queries.running_unreported(database):
            died = cause_of_death(database, run, now_micros(database))
            if died is not None and reported < _MOST_COMMANDS:
                notify_death(database, session, run, died)
                reported += 1


def notify_dead_values(database: Database, died: Sequence[tuple[int, int]]) -> None:
    """Report that values (queue id and seq of each) have died, once for all that died in one transaction."""
    if settings.notify_command() is None:
        return
    with _reporting("a dead value"):
        found = []
        for queue_id, seq in sorted(died)[:_MOST_VALUES]:
            value = queries.died_value(database, queue_id, seq)
            if value is not None:  # it was not requeued or removed meanwhile
                found.append((full_name(value.session, value.queue, seq), value))
        if not found:
            return
        names, last = [name for name, _ in found], found[-1][1]
        more = f" and {len(died) - 1} more" if len(died) > 1 else ""
        times = "1 delivery" if last.failed_deliveries == 1 else f"{last.failed_deliveries} deliveries"
        from zrb_store.inspect.advice import requeue
        from zrb_store.watch.alert import Alert

        event = Alert(
            event="dead",
            what=f"value {names[0]}{more}, after {times}",
            why=last.error.text() if last.error else None,
            at=None,
            remedy=requeue(names),
            session=last.session,
            project=last.project,
            task=last.task,
            queue=last.queue,
        )
        _start(event, database.url, values=names)


_notified_unavailable: list[float] = []
"""When this process reported that a store cannot be used: a worker that tries again must not do so each time."""


def notify_unavailable(
    error: ZrbStoreError,
    url: StoreUrl | None = None,
    *,
    session: str | None = None,
    task: str | None = None,
    remedy: str | None = None,
) -> None:
    """Report that the store cannot be used, at most every ten minutes.

    An error that does not end a command with exit code 69 is ignored. It may end the run of a session with this main
    task. The command that helps is by default one that looks at the store.
    """
    now = clock.monotonic()
    is_reported = bool(_notified_unavailable) and now - _notified_unavailable[-1] < _QUIET_FOR
    if settings.notify_command() is None or error.exit_code != 69 or is_reported:
        return
    _notified_unavailable[:] = [now]
    with _reporting("the store"):
        url = store_url() if url is None else url
        what = f"session {session}" if session else f"the store {shown_url(url)}"
        from zrb_store.watch.alert import Alert

        _start(
            Alert("unavailable", what, str(error), None, remedy or "zrb-store db status", session=session, task=task),
            url,
        )


def _notify_of_session(database: Database, session: str, run_id: int, died: str | None) -> None:
    from zrb_store.watch import alert

    with database.snapshot() as transaction:
        found = sessions.get(transaction, session)
        every = runs.of_session(transaction, found.id)
        every = runs.with_last_signs(transaction, every) if died else every
        error = last_errors(transaction, [run_id]).get(run_id)
        waits = parked(transaction, [found.id] if found.status == "waiting" else [])
        if waits and all(each.queue is None for each in waits):
            return  # nobody can answer
        known = [run for run in every if run.id <= run_id]  # the session may have been resumed since
        status = "stale" if died else next((run.status for run in known if run.id == run_id), None) or "failed"
        event = alert.of_session(transaction, replace(found, status=status), known, error, died, None, waits)
    _start(event, database.url)


def _start(event: Alert, url: StoreUrl, values: Sequence[str] = ()) -> None:
    command = settings.notify_command()
    if command is None:
        return
    at = "" if event.at is None else (iso(event.at) or "").partition(".")[0].replace("T", " ") + "Z"
    texts = {
        "EVENT": event.event,
        "SESSION": event.session,
        "TASK": event.task,
        "VALUE": "\n".join(values),
        "ERROR": event.why,
        "REMEDY": event.remedy,
        "MESSAGE": event.line(at),
        "SHOWN_URL": shown_url(url),
    }
    environment = {name: text for name, text in os.environ.items() if name not in _NOT_INHERITED}
    for name, text in texts.items():
        if text:
            environment[f"ZRB_STORE_{name}"] = storable(mask_text(text))[:_MOST_CHARACTERS]
    environment["ZRB_STORE_URL"] = url_for_commands(url)
    start_command("the command of ZRB_STORE_NOTIFY", command, environment)


@contextlib.contextmanager
def _reporting(what: str) -> Iterator[None]:
    """Log an error of the store, instead of raising it."""
    try:
        yield
    except ZrbStoreError as error:
        _log.warning("the command of ZRB_STORE_NOTIFY is not started for %s: %s", what, error)


class BackgroundCommands:
    """The commands that this process has started. At its end it waits for them, but not longer than that."""

    def __init__(self) -> None:
        self._pid = 0
        self._waiting: list[tuple[threading.Thread, float]] = []
        self._alone: list[subprocess.Popen[bytes]] = []

    def start(self, name: str, command: str, environment: Mapping[str, str]) -> None:
        """Start a command by the shell. If it fails, or takes long, a warning that calls it `name` is logged.

        It gets a session of its own, so that neither the end of this process nor Ctrl-C ends it. What it prints is kept
        from our output, which may be a pipe that somebody reads to its end.
        """
        try:
            printed = tempfile.TemporaryFile()  # noqa: SIM115 - the thread closes it
            process = subprocess.Popen(
                ["/bin/sh", "-c", command],
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            _log.warning("%s cannot be started: %s", name, error)
            return
        # A daemon: the interpreter must not wait for it any longer than we do.
        thread = threading.Thread(target=self._wait, args=(name, process, printed), daemon=True)
        if self._pid != os.getpid():  # the first one of this process, which may be a fork of another one
            self._pid = os.getpid()
            self._waiting = []
            atexit.register(self.wait_for_all)
        self._waiting = [each for each in self._waiting if each[0].is_alive()]
        try:
            thread.start()
        except RuntimeError:  # the interpreter ends, or there are too many: the command goes on alone
            printed.close()
            self._alone.append(process)  # Python warns if the object of a running process is deleted
            return
        self._waiting.append((thread, clock.monotonic() + PATIENCE))

    def _wait(self, name: str, process: subprocess.Popen[bytes], printed: IO[bytes]) -> None:
        with printed:
            try:
                code = process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                _log.warning("%s still runs after %.0f s; zrb-store stops waiting for it", name, PATIENCE)
            else:
                if code:
                    how = f"failed with exit code {code}" if code > 0 else f"was ended by signal {-code}"
                    said = _last_line(printed)
                    _log.warning("%s %s%s", name, how, f": {said}" if said else "")
                return
        process.wait()  # no zombie is left

    def wait_for_all(self) -> None:
        """Wait for the commands of this process, for each at most `PATIENCE` seconds from its start."""
        if self._pid != os.getpid():
            return
        with contextlib.suppress(KeyboardInterrupt):
            for thread, until in self._waiting:
                thread.join(max(0.0, until - clock.monotonic() + 0.5))  # the thread has to log its warning


def _last_line(printed: IO[bytes]) -> str:
    printed.seek(0, os.SEEK_END)
    printed.seek(max(0, printed.tell() - _TAIL))
    # Masked before it is divided: of a secret with several lines, one alone may not be recognised.
    lines = mask_printed(printed.read().decode(errors="backslashreplace")).strip().splitlines()
    return one_line(lines[-1])[:_LONGEST] if lines else ""


_commands = BackgroundCommands()
start_command = _commands.start
wait_for_all = _commands.wait_for_all
