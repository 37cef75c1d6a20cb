"""The output of an attempt, and its way into the store: a second after it was printed, and at the end.

`Output` is that of one attempt; `Writer` is the thread that stores those of all attempts. `output_capture.py` keeps
what was printed until it is stored.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from zrb_store.db.clock import clock
from zrb_store.db.engine import Database
from zrb_store.db.transaction import Transaction
from zrb_store.errors import ZrbStoreError
from zrb_store.queries import attempts
from zrb_store.queries import output as queries
from zrb_store.runtime.output_capture import NOTHING, OutputBuffer, Parse, newest

INTERVAL = 1.0
"""Seconds between the first line that is not stored and its storing."""

_IDLE = 10.0  # seconds without output after which the thread ends

_log = logging.getLogger("zrb_store")

R = TypeVar("R")


class Writer:
    """The thread. It starts with the first line that any attempt prints, and ends when nobody prints for a while."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget the thread and what it has to do: a forked child has neither."""
        self._due: dict[Output, None] = {}
        self._changed = threading.Condition(threading.RLock())  # a signal handler may print
        self._thread: threading.Thread | None = None

    def wake(self, output: Output) -> bool:
        """Store this output in a second; return False if no thread can be started at the moment: ask again."""
        with self._changed:
            self._due[output] = None
            if self._thread is not None:
                self._changed.notify()
                return True
            self._thread = threading.Thread(target=self._store_all, name="zrb-store-output", daemon=True)
            try:
                self._thread.start()
            except RuntimeError:
                self._thread = None
                return False
            return True

    def _store_all(self) -> None:
        while True:
            with self._changed:
                if not self._due:
                    clock.wait(self._changed, _IDLE)
                if not self._due:  # it may have come as the time was over
                    self._thread = None
                    return
            clock.sleep(INTERVAL)
            with self._changed:
                due, self._due = list(self._due), {}
            for output in due:
                try:
                    output.store()
                except Exception as error:  # noqa: BLE001 - output must never break a task, nor that of other attempts
                    _log.warning("the output of an attempt could not be stored: %s", error)


writer = Writer()

os.register_at_fork(after_in_child=writer.reset)

_REST = 0.005  # seconds after which new texts are measured, while they are in the processor's cache


class Output:
    """What one attempt prints and logs: the end of it is stored, at most once a second.

    Nothing that it does raises an error: what cannot be stored now is tried again with what comes next.
    """

    def __init__(self, database: Database, attempt_id: int, name: str, limit: int, end: queries.End | None) -> None:
        """Begin with nothing. `end` is where the stored output of the attempt ends; None if that is not known."""
        # What ends so is not noted. It is empty after the end of the attempt: nothing is noted.
        self._ignored_ending: str | None = None
        self._database = database
        self._attempt_id = attempt_id
        self._name = name
        self._limit = limit
        self._buffer = OutputBuffer(limit)
        self._pid = os.getpid()
        self._is_due = False  # whether the writer knows that there is something to store
        self._rests_until = 0.0  # when `_tend` is called again, at the next text
        self._is_over = False
        self._has_warned = False
        self._lock = threading.RLock()  # is held while lines are stored
        self._lines: list[queries.OutputLine] = []  # taken from the buffer, and not stored yet
        self._skipped = 0
        self._end = end
        self._is_end_sure = True  # False if a transaction failed: it may have stored more

    def add(self, stream: str, data: str | bytes) -> None:
        """Add text with its newlines, or bytes of it. Any thread may call this."""
        if self._is_over or self._is_inherited:
            return
        self._buffer.add(stream, data)
        if not self._is_due:
            self._wake()

    def noting(self, print_text: Callable[[str], R], parse: Parse) -> Callable[[str], R]:
        """Return a function that adds each text to the output before it calls `print_text`, which keeps it in memory.

        It is as quick as it can be, since some tasks print very much. `parse` finds streams and texts in such texts.
        """
        self._buffer.parse = parse
        times, texts, now = self._buffer.times, self._buffer.texts, time.time

        def note(message: str) -> R:
            ending = self._ignored_ending
            if ending is None or not message.endswith(ending):
                at = now()
                times.append(at)
                texts.append(message)
                if at > self._rests_until:
                    self._tend(at)
            return print_text(message)

        return note

    def ignore(self, ending: str | None) -> None:
        """Let functions made by `noting` not add what ends so, since it is added in another way; None to add all."""
        if not self._is_over:
            self._ignored_ending = ending

    @property
    def _is_inherited(self) -> bool:
        """Whether this is a forked child: its parent stores the output, and may have held the locks as it forked."""
        return os.getpid() != self._pid

    def _tend(self, at: float) -> None:
        """Do what need not be done for each text that is noted."""
        # Before `_is_due` is read. `store` writes the two in the opposite order, so that what is noted meanwhile wakes
        # the writer again.
        self._rests_until = at + _REST
        if self._is_inherited:
            return
        if self._is_due or not self._wake():
            self._buffer.trim()  # a task that prints little need not be trimmed

    def _wake(self) -> bool:
        self._is_due = True  # before the writer can say that it has stored it
        if not writer.wake(self):
            self._is_due = False
        return self._is_due

    def last_line(self, stream: str) -> str | None:
        """Return the last line of a stream that is not blank, or None."""
        if self._is_inherited:
            return None
        with self._lock:
            self._take(all_of_it=True)
            return self._buffer.last_line(stream)

    def store(self) -> None:
        """Store what was printed since the last time. The writer calls this."""
        if self._is_inherited:
            return
        with self._lock:
            self._is_due, self._rests_until = False, 0.0
            if self._is_over:
                return
            self._take(all_of_it=False)
            if self._lines:
                self._try_to_store()
            if (self._lines or self._buffer.has_beginning) and not self._is_due and not self._is_over:
                self._wake()

    def _take(self, *, all_of_it: bool) -> None:
        printed = self._buffer.take(all_of_it=all_of_it)
        if printed is NOTHING:  # as of most tasks
            return
        if printed.skipped or not self._lines:
            self._skipped += printed.skipped + sum(line.size for line in self._lines)
            self._lines = printed.lines
            return
        self._lines += printed.lines
        self._lines, dropped = newest(self._lines, self._limit)  # the store could not be reached for a while
        self._skipped += dropped

    def _try_to_store(self) -> None:
        try:
            end = self._database.transact(
                lambda transaction: (
                    self._write(transaction) if attempts.may_write(transaction, self._attempt_id) else None
                ),
                in_background=True,
            )
            if end is None:
                self._stop()  # another run has taken over, or the attempt was ended elsewhere
            else:
                self._lines, self._skipped, self._end, self._is_end_sure = [], 0, end, True
        except ZrbStoreError as error:
            self._is_end_sure = False
            if not self._has_warned:
                self._has_warned = True
                _log.warning("the output of %s could not be stored yet: %s", self._name, error)

    def _write(self, transaction: Transaction) -> queries.End:
        if self._end is None:
            self._end = queries.end_of(transaction, self._attempt_id)
        elif not self._is_end_sure:
            queries.drop_after(transaction, self._attempt_id, self._end)
        return queries.add(transaction, self._attempt_id, self._end, self._lines, self._limit, self._skipped)

    @contextlib.contextmanager
    def ending(self) -> Iterator[Output]:
        """Yield this output for the transaction that ends the attempt. Nothing is added after it, if it succeeds."""
        with self._lock:
            self._take(all_of_it=True)
            yield self
            self._stop()

    def _stop(self) -> None:
        self._is_over, self._ignored_ending = True, ""

    def write_rest(self, transaction: Transaction) -> None:
        """Store the rest in the transaction that has ended the attempt."""
        if self._lines:
            self._write(transaction)
