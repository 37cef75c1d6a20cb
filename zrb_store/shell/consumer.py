"""`consume`: it waits for a value, starts a run, and lets threads run the command for its values."""

from __future__ import annotations

import math
import os
import re
import socket
import sys
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass

from zrb_store.attempt import record_command
from zrb_store.db.clock import clock
from zrb_store.db.engine import StoreReplaced
from zrb_store.errors import (
    AttemptClosed,
    InputsDiffer,
    InvalidArgument,
    SessionBusy,
    SessionNotFound,
    StoreUnavailable,
    ZrbStoreError,
)
from zrb_store.masking import ErrorText
from zrb_store.operations.prune import apply_retention
from zrb_store.queries import attempts
from zrb_store.queries.clock import now_micros
from zrb_store.queries.deliveries import fate, has_value
from zrb_store.queries.lease import refuse_live
from zrb_store.queries.queues import being_paused, find_for_consumer
from zrb_store.run import Run, RunSpec
from zrb_store.run.deliveries import Consumer, Deliveries, Delivery
from zrb_store.runtime import reclaim
from zrb_store.runtime.waiting import QueueWait
from zrb_store.shell.child import EndingSignals
from zrb_store.shell.command import CommandRunner, environment_of
from zrb_store.store import Store
from zrb_store.xcom import Xcom

_LOOK = 0.5  # seconds
_PATIENCE = 5.0  # seconds between two tries while the store is away
_MOST_NAMES = 1000
_RETENTION_EVERY = 600.0  # seconds
_LAST_WAIT = 3.0  # seconds that the store may stay locked when everything has to end


@dataclass(eq=False)
class ShellConsumer:
    """Runs a command for the values of a queue, until there are none or a signal ends it."""

    store: Store
    queue: Xcom
    runner: CommandRunner
    _: KW_ONLY
    name: str | None  # of its session; None for a free one
    wait: float  # seconds that it waits for a value
    only_one: bool  # whether it ends after one value
    jobs: int  # how many commands run at a time
    text: Callable[[str], str]  # makes of an encoded value what the command gets
    report: Callable[[str], object]  # is called with messages

    def __post_init__(self) -> None:
        # What became of the values: `completed`, `failed` (the command failed, so they were given back) or
        # `interrupted` (they were given back because the consumer had to end at once).
        self.tally: Counter[str] = Counter()
        self._finishing = threading.Event()
        self.signals = EndingSignals(lambda _: self._finishing.set(), lambda _: self._stop())
        self.told: str | None = None  # what it has reported while it waited for the first value
        self._prune_at = clock.monotonic() + _RETENTION_EVERY
        self._lock = threading.Lock()
        self._error: BaseException | None = None

    def consume(self) -> None:
        """Consume. If nothing is found, nothing is left in the store, so that cron may start this every minute."""
        with self.signals:
            if self.name is not None:
                database = self.store.database
                with suppress(SessionNotFound):
                    refuse_live(database, self.store.session(self.name).record(), now_micros(database))
            began = clock.monotonic()
            if not math.isinf(self.wait) and not self._wait_for_value():
                return
            with self._start() as run:
                consumer = run.consumer(self.queue, decode=self.text, tell=self.report)
                self._work_in_threads(consumer, max(0.0, self.wait - (clock.monotonic() - began)))
                if self.signals.count > 1:
                    run.end("interrupted")
                elif self.tally["failed"]:
                    run.end("failed")

    def _wait_for_value(self) -> bool:
        """Wait until the queue has a value, or gets one back from a dead process."""
        database = self.store.database
        place = self.queue.place
        waiting = QueueWait(database, *place, self.wait, has_value(database, *place, unpaused=True))
        while not waiting.has_value():
            found = find_for_consumer(database, *place) if waiting.may_get_value() else None
            if found is not None and found.is_paused:
                if self.wait and self.told is None:
                    self.told = being_paused(*place)
                    self.report(self.told)
            elif found is not None and reclaim.search(database, found.id, None, missing=True):
                continue
            if not waiting.wait(self._finishing.is_set):
                return False
        return True

    def _start(self) -> Run:
        """Start a run of the consumer's session: a new one every time, also if the session has completed."""
        task = "/".join(self.queue.place)
        host = re.sub(r"[^A-Za-z0-9._:+-]", "-", socket.gethostname())[:100] or "localhost"
        free = (f"consume.{host}.{number}" for number in range(1, _MOST_NAMES + 1))
        for name in [self.name] if self.name else free:
            session = self.store.session(name)
            spec = RunSpec(task=task, origin="cli", command=sys.argv, again=True)
            run = session.prepare(spec, lambda error: self.runner.stop())
            try:
                return run.start()
            except (SessionBusy, InputsDiffer):
                if self.name:
                    raise
        raise SessionBusy(f"{_MOST_NAMES} consumers run on this host already: give this one a name with --as")

    def _prune(self) -> None:
        """Now and then apply the retention of the store, which otherwise waits for the end of the run."""
        if os.environ.get("ZRB_STORE_RETENTION") and clock.monotonic() > self._prune_at:
            self._prune_at = clock.monotonic() + _RETENTION_EVERY
            apply_retention(self.store.database)

    def _stop(self) -> None:
        self.runner.stop()
        self.store.database.stop_waiting(_LAST_WAIT)

    # -- the threads, each of which takes one value after the other

    def _work_in_threads(self, consumer: Consumer, wait: float) -> None:
        """Work until there is no value, or no more are to be taken."""
        threads = [
            threading.Thread(target=self._work, args=(consumer, wait), name=f"zrb-store-consume-{n}")
            for n in range(self.jobs)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            # Without a timeout, a signal that comes just before the waiting would be noticed only after it.
            while thread.is_alive():
                thread.join(_LOOK)
        if self._error is not None:
            raise self._error

    def _work(self, consumer: Consumer, wait: float) -> None:
        deliveries = Deliveries(consumer, wait, self._finishing)
        try:
            while (delivery := self._next(deliveries)) is not None:
                self._handle(delivery)
                if self.only_one or self._finishing.is_set():
                    return
                self._prune()
        except BaseException as error:  # noqa: BLE001 - raised again in the main thread
            with self._lock:
                self._error = self._error or error
            self._finishing.set()

    def _next(self, deliveries: Deliveries) -> Delivery | None:
        """Return the next delivery. A consumer that is to go on for ever outlives a store that is away for a while."""
        while True:
            try:
                return next(deliveries, None)
            except StoreUnavailable as error:
                if not math.isinf(self.wait) or not self._may_wait(error):
                    raise
                self.report(f"waiting for the store: {error}")
                if clock.wait(self._finishing, _PATIENCE):
                    return None

    def _may_wait(self, error: StoreUnavailable) -> bool:
        return not isinstance(error, StoreReplaced) and not self.store.database.is_stopping

    def _record(self, delivery: Delivery, end: Callable[[], None], status: str) -> None:
        """Record the end of a delivery, however long the store is away: what was done must not be done again."""
        has_told = False
        while True:
            try:
                return end()
            except StoreUnavailable as error:
                if not self._may_wait(error):
                    raise
                if not has_told:
                    self.report(f"{delivery.ids[0]}: waiting for the store: {error}")
                has_told = True
                clock.sleep(_PATIENCE)
            except AttemptClosed:
                # The connection may have been lost after the commit.
                found = attempts.by_id(delivery.attempt.database, delivery.attempt.id)
                if not has_told or found is None or found.status != status:
                    raise
                return None

    def _handle(self, delivery: Delivery) -> None:
        name, began = delivery.ids[0], clock.monotonic()
        try:
            outcome = self.runner.run(
                delivery.value,
                environment_of(delivery.attempt),
                lambda *process: self._record(delivery, lambda: record_command(delivery.attempt, *process), "running"),
            )
        except InvalidArgument as error:  # the command cannot get this value
            self._give_back(delivery, ErrorText("InvalidArgument", str(error), str(error)), str(error), "failed")
            self._count("failed")
        except OSError as error:  # no process can be started, which is no fault of the value
            self._give_back(delivery, error, f"the system cannot start a command: {error}", "interrupted")
            self._count("failed")
        else:
            if outcome.error is not None:
                # A command that was replaced or removed meanwhile is no fault of the value either.
                is_gone = outcome.exit_code in (126, 127) and not self.runner.can_run()
                status = "interrupted" if outcome.stopped or is_gone else "failed"
                self._give_back(delivery, outcome.error_text(), outcome.error, status)
                self._count("failed" if is_gone else status)
                return
            try:
                self._record(delivery, delivery.complete, "completed")
            except ZrbStoreError:
                self.report(f"{name}: completed, but the store could not record it, so it may run again")
                raise
            self._count("completed")
            self.report(f"{name}: completed in {clock.monotonic() - began:.1f} s")

    def _give_back(self, delivery: Delivery, error: Exception | ErrorText, why: str, status: str) -> None:
        self._record(delivery, lambda: delivery.fail(error, status), status)
        fate_of_value = _fate(delivery) if status == "failed" else "given back, and not counted as a delivery"
        self.report(f"{delivery.ids[0]}: {why} ({fate_of_value})")

    def _count(self, what: str) -> None:
        with self._lock:
            self.tally[what] += 1


def _fate(delivery: Delivery) -> str:
    """Describe what became of the value of a delivery that failed."""
    found = None
    with suppress(ZrbStoreError):
        found = fate(delivery.attempt.database, *delivery.place, delivery.seqs[0])
    if found is None:
        return "given back"
    session, queue = delivery.place
    allowed = f" of {found.max_deliveries}" if found.max_deliveries else ""
    if found.state == "dead":
        from zrb_store.inspect.advice import look_at_dead_values

        look = look_at_dead_values(session, queue)
        return f"delivery {found.failed_deliveries}{allowed}: dead, `{look}` shows more"
    return f"given back, delivery {found.failed_deliveries}{allowed}"
