"""The threads of `consume`: each takes one value after the other, and runs the command for it."""

from __future__ import annotations

import math
import os
import shlex
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

from zrb_store.consume.command import CommandRunner
from zrb_store.consume.outcome import Outcome
from zrb_store.db.engine import StoreReplaced
from zrb_store.db.transaction import Transaction
from zrb_store.errors import AttemptClosed, InvalidArgument, StoreUnavailable, ZrbStoreError
from zrb_store.masking import ErrorText
from zrb_store.queries import attempts
from zrb_store.queries.deliveries import fate, set_command
from zrb_store.run.consumer import Consumer, Deliveries
from zrb_store.run.delivery import Delivery

_LOOK = 0.5  # seconds
_PATIENCE = 5.0  # seconds between two tries while the store is away


class Workers:
    """Threads that share a consumer, and a command for its values."""

    def __init__(
        self,
        consumer: Consumer,
        runner: CommandRunner,
        tally: Counter[str],
        finishing: threading.Event,
        *,
        wait: float,
        only_one: bool,
        between: Callable[[], object],
        report: Callable[[str], object],
    ) -> None:
        """Prepare to work.

        Args:
            consumer: Takes the values. It decodes them to the text that the command gets.
            tally: Counts what becomes of the values: `completed`, `failed` (the command failed, so they were given
                back) or `interrupted` (they were given back because the consumer had to end at once).
            finishing: When it is set, no more values are taken.
            between: Called between two values.
        """
        self._consumer = consumer
        self._runner = runner
        self._tally = tally
        self._finishing = finishing
        self._wait = wait
        self._only_one = only_one
        self._between = between
        self._report = report
        self._lock = threading.Lock()
        self._error: BaseException | None = None

    def work(self, jobs: int) -> None:
        """Work with so many threads until there is no value, or no more are to be taken."""
        threads = [threading.Thread(target=self._work, name=f"zrb-store-consume-{n}") for n in range(jobs)]
        for thread in threads:
            thread.start()
        for thread in threads:
            # Without a timeout, a signal that comes just before the waiting would be noticed only after it.
            while thread.is_alive():
                thread.join(_LOOK)
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        deliveries = Deliveries(self._consumer, self._wait, self._finishing)
        try:
            while (delivery := self._next(deliveries)) is not None:
                self._handle(delivery)
                if self._only_one or self._finishing.is_set():
                    return
                self._between()
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
                if not math.isinf(self._wait) or not self._may_wait(error):
                    raise
                self._report(f"waiting for the store: {error}")
                if self._finishing.wait(_PATIENCE):
                    return None

    def _may_wait(self, error: StoreUnavailable) -> bool:
        return not isinstance(error, StoreReplaced) and not self._consumer.database.is_stopping

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
                    self._report(f"{delivery.ids[0]}: waiting for the store: {error}")
                has_told = True
                time.sleep(_PATIENCE)
            except AttemptClosed:
                # The connection may have been lost after the commit.
                found = attempts.by_id(delivery.attempt.database, delivery.attempt.id)
                if not has_told or found is None or found.status != status:
                    raise
                return None

    def _handle(self, delivery: Delivery) -> None:
        name, began = delivery.ids[0], time.monotonic()
        try:
            outcome = self._runner.run(
                delivery.value,
                _environment(delivery),
                lambda *process: self._record(delivery, lambda: _record_command(delivery, *process), "running"),
            )
        except InvalidArgument as error:  # the command cannot get this value
            self._give_back(delivery, ErrorText("InvalidArgument", str(error), str(error)), str(error), "failed")
            self._count("failed")
        except OSError as error:  # no process can be started, which is no fault of the value
            self._give_back(delivery, error, f"the system starts no command: {error}", "interrupted")
            self._count("failed")
        else:
            if outcome.error is not None:
                # A command that was replaced or removed meanwhile is no fault of the value either.
                is_gone = outcome.exit_code in (126, 127) and not self._runner.can_run()
                status = "interrupted" if outcome.stopped or is_gone else "failed"
                self._give_back(delivery, _error_text(outcome), outcome.error, status)
                self._count("failed" if is_gone else status)
                return
            try:
                self._record(delivery, delivery.complete, "completed")
            except ZrbStoreError:
                self._report(f"{name}: completed, but the store could not record it, so it may be done again")
                raise
            self._count("completed")
            self._report(f"{name}: completed in {time.monotonic() - began:.1f} s")

    def _give_back(self, delivery: Delivery, error: Exception | ErrorText, why: str, status: str) -> None:
        self._record(delivery, lambda: delivery.fail(error, status), status)
        fate_of_value = _fate(delivery) if status == "failed" else "given back, and not counted as a delivery"
        self._report(f"{delivery.ids[0]}: {why} ({fate_of_value})")

    def _count(self, what: str) -> None:
        with self._lock:
            self._tally[what] += 1


def _environment(delivery: Delivery) -> dict[str, str]:
    """Return the environment of a command, whose pushes and pops belong to the delivery."""
    url = delivery.attempt.database.url.render_as_string(hide_password=False)
    inherited = {name: text for name, text in os.environ.items() if name != "ZRB_STORE_SESSION"}
    return {**inherited, "ZRB_STORE_URL": url, "ZRB_STORE_ATTEMPT": delivery.attempt.token}


def _record_command(delivery: Delivery, pid: int, started: str | None) -> None:
    def work(transaction: Transaction) -> bool:
        return set_command(transaction, delivery.attempt.id, pid, started)

    if not delivery.attempt.database.transact(work, "command"):
        delivery.attempt.refuse_if_closed()


def _error_text(outcome: Outcome) -> ErrorText:
    kind, message = "CommandTimedOut" if outcome.timed_out else "CommandFailed", outcome.error or ""
    # `log` shows only this text, so it ends as a traceback does: with what went wrong.
    return ErrorText(kind, message, f"{outcome.output.rstrip()}\n{kind}: {message}".lstrip())


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
        where = f"{session} {shlex.quote(queue)}"
        return f"delivery {found.deliveries}{allowed}: dead, `zrb-store show {where} --dead` tells more"
    return f"given back, delivery {found.deliveries}{allowed}"
