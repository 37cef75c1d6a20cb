"""What `consume` does: it waits for a value, starts a run, and lets its threads work."""

from __future__ import annotations

import math
import os
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable

from zrb_store.consume.child import EndingSignals
from zrb_store.consume.command import CommandRunner
from zrb_store.consume.workers import Workers
from zrb_store.errors import InputsDiffer, SessionBusy, SessionNotFound
from zrb_store.queries.clock import now_micros
from zrb_store.queries.lease import refuse_live
from zrb_store.queries.queues import find_queue
from zrb_store.run import Run
from zrb_store.run.retention import apply_retention
from zrb_store.runtime import reclaim
from zrb_store.runtime.waiting import QueueWait
from zrb_store.store import Store
from zrb_store.xcom import Xcom

_MOST_NAMES = 1000
_RETENTION_EVERY = 600.0  # seconds
_LAST_WAIT = 3.0  # seconds that the store may stay locked when everything has to end


class ShellConsumer:
    """Runs a command for the values of a queue, until there are none or a signal ends it.

    Attributes:
        tally: What became of the values, as in `Workers`.
        signals: The signals that came.
    """

    def __init__(
        self,
        store: Store,
        queue: Xcom,
        runner: CommandRunner,
        *,
        name: str | None,
        wait: float,
        only_one: bool,
        jobs: int,
        text: Callable[[str], str],
        report: Callable[[str], object],
    ) -> None:
        """Prepare to consume.

        Args:
            name: The consumer's session; None: the first of consume.HOST.N that is free.
            jobs: How many commands run at a time.
            text: Formats stored data as the text that the command gets.
        """
        self.tally: Counter[str] = Counter()
        self._finishing = threading.Event()
        self.signals = EndingSignals(self._finishing.set, self._stop)
        self._store = store
        self._queue = queue
        self._runner = runner
        self._name = name
        self._wait = wait
        self._only_one = only_one
        self._jobs = jobs
        self._text = text
        self._report = report
        self._prune_at = time.monotonic() + _RETENTION_EVERY

    def consume(self) -> None:
        """Consume.

        A consumer that finds nothing leaves nothing in the store, so that cron may start one every minute.

        Raises:
            SessionBusy: Another process consumes under this name.
            InputsDiffer: The session of this name is for something else.
            LeaseLost: Another process has taken over the session.
        """
        with self.signals:
            if self._name is not None:
                self._refuse_busy(self._name)
            began = time.monotonic()
            if not math.isinf(self._wait) and not self._wait_for_value():
                return
            with self._start() as run:
                workers = Workers(
                    run.consumer(self._queue, decode=self._text, tell=self._report),
                    self._runner,
                    self.tally,
                    self._finishing,
                    wait=max(0.0, self._wait - (time.monotonic() - began)),
                    only_one=self._only_one,
                    between=self._prune,
                    report=self._report,
                )
                workers.work(self._jobs)
                if self.signals.count > 1:
                    run.end("interrupted")
                elif self.tally["failed"]:
                    run.end("failed")

    def _refuse_busy(self, name: str) -> None:
        database = self._store.database
        try:
            session = self._store.session(name).record()
        except SessionNotFound:
            return
        refuse_live(database, session, now_micros(database))

    def _wait_for_value(self) -> bool:
        """Wait until the queue has a value, or gets one back from a dead process."""
        database = self._store.database
        waiting = QueueWait(database, *self._queue.place, self._wait)
        while not waiting.has_value():
            queue_id = find_queue(database, *self._queue.place) if waiting.may_get_value() else None
            if queue_id is not None and reclaim.search(database, queue_id, None, missing=True):
                continue
            if not waiting.wait(self._finishing.is_set):
                return False
        return True

    def _start(self) -> Run:
        """Start a run of the consumer's session: a new one every time, also if the session has completed."""
        task = "/".join(self._queue.place)
        host = re.sub(r"[^A-Za-z0-9._:+-]", "-", socket.gethostname())[:100] or "localhost"
        free = (f"consume.{host}.{number}" for number in range(1, _MOST_NAMES + 1))
        for name in [self._name] if self._name else free:
            session = self._store.session(name)
            run = session.run(task=task, origin="cli", again=True, on_lost=lambda error: self._runner.stop())
            try:
                return run.start()
            except (SessionBusy, InputsDiffer):
                if self._name:
                    raise
        raise SessionBusy(f"{_MOST_NAMES} consumers run on this host already: give this one a name with --as")

    def _prune(self) -> None:
        """Now and then apply the retention of the store, which otherwise waits for the end of the run."""
        if os.environ.get("ZRB_STORE_RETENTION") and time.monotonic() > self._prune_at:
            self._prune_at = time.monotonic() + _RETENTION_EVERY
            apply_retention(self._store.database)

    def _stop(self) -> None:
        self._runner.stop()
        self._store.database.stop_waiting(_LAST_WAIT)
