"""The values that a run consumes, each by an attempt of its own (`Delivery`).

A `Consumer` takes them from a queue, and `Deliveries` is the loop over it, a `for` or an `async for`. The threads of
`zrb-store consume` have one loop each over one consumer. `OpenDeliveries` are those of a run that have not ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import logging
import math
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from zrb_store import codec
from zrb_store.attempt import Attempt, status_after
from zrb_store.db.clock import clock
from zrb_store.db.engine import Database
from zrb_store.db.transaction import Executor, Transaction
from zrb_store.errors import InvalidArgument, StoreUnavailable, ZrbStoreError
from zrb_store.masking import ErrorText, printable
from zrb_store.names import full_name, storable_name
from zrb_store.queries import attempts, deliveries, queues, takes, values
from zrb_store.queries.attempts import Owner
from zrb_store.queries.by_hand import dead_values
from zrb_store.queries.deliveries import NextValue
from zrb_store.queries.give_back import undo_ended
from zrb_store.queries.pushers import EVERYBODY, Alive
from zrb_store.queries.takes import Front
from zrb_store.queries.values import lock_queue
from zrb_store.run.in_thread import in_thread
from zrb_store.run.lifecycle import RunLifecycle
from zrb_store.runtime import reclaim
from zrb_store.runtime.waiting import QueueWait, check_seconds
from zrb_store.wings import needed
from zrb_store.xcom import Xcom, current_attempt, leave

if TYPE_CHECKING:
    from zrb_store.observe import Observed

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0  # seconds
_FEW = 100  # values that failed here: so many may be dead meanwhile, and still be remembered

_log = logging.getLogger("zrb_store")

T = TypeVar("T")


class Delivery:
    """A value taken from a queue by an attempt of its own; a context manager, also for `async with`.

    The block gets the value. At its end the attempt completes. If the block raises, its changes to all queues are
    undone, and above all the value is given back. `complete` and `fail` raise what those of `Attempt` raise.

    Attributes:
        attempt: The attempt.
        value: The value; in batches, the list of values.
        place: Session and name of the queue.
        seqs: The seqs of the values.
        ids: The values, as SESSION/QUEUE#SEQ.
    """

    def __init__(
        self,
        attempt: Attempt,
        place: tuple[str, str],
        seqs: Sequence[int],
        value: Any,
        on_end: Callable[[bool], None],
        *,
        raises: bool,
    ) -> None:
        """Describe a delivery that has begun. At its end, `on_end` gets whether it completed.

        With `raises`, an exception that ends the block is raised again after it was recorded.
        """
        self.attempt = attempt
        self.value = value
        self.place = place
        self.seqs = seqs
        self.ids = tuple(full_name(*place, seq) for seq in seqs)
        self._on_end = on_end
        self._has_ended = False
        self._raises = raises
        self._token: contextvars.Token[Owner | None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether it has not ended."""
        return self.attempt.is_open

    def complete(self) -> None:
        """Complete the delivery, as the end of the block does."""
        self.attempt.complete()
        self._note_end(True)

    def fail(self, error: BaseException | ErrorText | None = None, status: str = "failed") -> None:
        """Give everything back that the delivery did, and record why.

        Args:
            error: What ended it.
            status: `failed`, or `interrupted`: that does not count as a delivery of the value.
        """
        self._note_end(False)
        self.attempt.fail(error, status)

    def transaction(self, engine: Any) -> Any:
        """Use as `with delivery.transaction(engine) as (connection, value)`: its rows are written exactly once.

        The block has a transaction of your database, as in `step.transaction`; in `async with`, an engine of
        `create_async_engine`. At its end the changes are committed, and the delivery completes. If the process dies
        between the two, the next taker completes the delivery, and its block does not run.
        """
        return needed("delivery_transaction", "delivery.transaction")(self, engine)

    def _note_end(self, completed: bool) -> None:
        if not self._has_ended:
            self._has_ended = True
            self._on_end(completed)
            if completed and self.attempt.span is not None:
                self.attempt.span.end("completed")

    def __enter__(self) -> Any:
        self._token = current_attempt.set(self.attempt)
        if self.attempt.span is not None:
            self.attempt.span.enter()
        return self.value

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self._leave()
        return self._end(error)

    async def __aenter__(self) -> Any:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self._leave()
        return await in_thread(lambda: self._end(error))

    def _leave(self) -> None:
        if self._token is not None:
            leave(self._token)
            self._token = None
            if self.attempt.span is not None:
                self.attempt.span.leave()

    def _end(self, error: BaseException | None) -> bool:
        """End the delivery after its block. Return whether the exception is dealt with, and not to be raised again."""
        if not self.is_open:
            return False
        if error is None:
            self.complete()
            return False
        if self._raises or not isinstance(error, Exception):
            with contextlib.suppress(ZrbStoreError):  # the exception itself says more
                self.fail(error, status_after(error))
            return False
        self.fail(error)
        _log.warning("%s failed: %s: %s", self.attempt.full_name, type(error).__name__, printable(str(error)))
        return True


class OpenDeliveries:
    """The open deliveries of a run, which all its consumers share.

    If the connection is lost while a delivery begins, nobody knows whether it has begun. If it has, it holds a value
    that nobody works on, so it is given back before the next one begins.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        # Those that somebody can still end. They stay known while their end cannot be recorded.
        self._known: weakref.WeakValueDictionary[int, Attempt] = weakref.WeakValueDictionary()
        self._in_doubt = False

    def begin(self, run_id: int, take: Callable[[], tuple[Attempt, T]]) -> tuple[Attempt, T]:
        """Begin a delivery of a run by `take`, which returns its attempt and something else."""
        with self._lock:  # so that no delivery is taken for one that nobody knows
            if self._in_doubt:
                self._database.transact(functools.partial(self._give_back_unknown, run_id), "fail")
                self._in_doubt = False
            try:
                begun = take()
            except StoreUnavailable:
                self._in_doubt = True
                raise
            self._known[begun[0].id] = begun[0]
            return begun

    def _give_back_unknown(self, run_id: int, transaction: Transaction) -> None:
        for attempt_id in deliveries.running(transaction, run_id):
            if attempt_id not in self._known and attempts.fail(transaction, attempt_id, "interrupted", None):
                undo_ended(transaction, [attempt_id], "interrupted")


class _NothingToTakeError(Exception):
    """Another process was faster, or a pusher may have died: undo the attempt that has just begun."""


class Consumer:
    """Takes the values of a queue for a run. Several threads may share one.

    It passes over the values that it has given back itself: others may have more luck with them. After failures in a
    row it asks for a pause, so that a short outage does not use up the deliveries of every value.
    """

    def __init__(
        self,
        run: RunLifecycle,
        open_deliveries: OpenDeliveries,
        queue: Xcom,
        *,
        batch: int | None = None,
        raises: bool = False,
        decode: Callable[[str], Any] = codec.decode,
        tell: Callable[[str], object] = _log.warning,
    ) -> None:
        """Prepare to take values of a queue, which need not exist yet.

        A delivery has one value, or a list of up to `batch` values. `raises` says whether exceptions that end
        deliveries are raised. `tell` gets a line about each pause, of this consumer or of the queue.
        """
        if batch is not None and (type(batch) is not int or batch < 1):
            raise InvalidArgument(f"batch={batch!r} is not a number of values: give 1 or more")
        if not queue.is_in(run.database):
            raise InvalidArgument(f"the queue {'/'.join(queue.place)} belongs to another store than this run")
        self.task = storable_name("/".join(queue.place))  # which its deliveries are attempts of
        self._run = run
        self.database = run.database
        self._open = open_deliveries
        self._place = queue.place
        self._has_any = deliveries.has_value(run.database, *queue.place, unpaused=True)
        self._batch = batch
        self._raises = raises
        self._decode = decode
        self._tell = tell
        self._lock = threading.Lock()
        self._is_paused = False  # as was last seen, and told
        # Values by queue and seq.
        self._skipped: set[tuple[int, int]] = set()
        self._given_back: set[tuple[int, int]] = set()  # those that have failed here, skipped or not
        self._forget_at = _FEW
        self._failures = 0  # in a row, of values that had not failed here before
        self._rounds = 0  # how often the skipped values were tried again, without success

    @property
    def pause(self) -> float:
        """Seconds to wait before the next value is taken, because one value after the other has failed."""
        return _pause(self._failures - 2) if self._failures > 1 else 0.0

    def announced_pause(self) -> float:
        """Return the pause, and tell of it if there is one."""
        pause = self.pause
        if pause:
            self._tell(f"{self.task}: {self._failures} values failed in a row, the next one waits for {pause:g} s")
        return pause

    def has_value(self) -> bool:
        """Whether the queue has a value that this consumer has not given back itself. This locks nothing."""
        if not self._skipped:
            return self._has_any()
        queue_id = self._find_queue()
        return queue_id is not None and self._has_value_in(queue_id)

    def _find_queue(self) -> int | None:
        """Return the queue's id; None if there is no such queue, or if it is paused, which is told once."""
        found = queues.find_for_consumer(self.database, *self._place)
        is_paused = found is not None and found.is_paused
        with self._lock:
            is_news, self._is_paused = is_paused and not self._is_paused, is_paused
        if is_news:
            self._tell(queues.being_paused(*self._place))
        return None if found is None or is_paused else found.id

    def _has_value_in(self, queue_id: int) -> bool:
        if not self._skipped:
            return takes.has_live(self.database, queue_id)
        return bool(self._next_values(self.database, queue_id, takes.known_front(self.database, queue_id)))

    def retry_skipped(self) -> None:
        """Offer every skipped value again."""
        with self._lock:
            self._skipped.clear()
            self._rounds += 1

    def waiting(self, seconds: float) -> QueueWait:
        """Return the waiting for a value to take.

        If it is for ever, it ends as soon as this consumer may try the values again that it has skipped.
        """
        with self._lock:
            if math.isinf(seconds) and self._skipped:
                seconds = _pause(self._rounds)
        return QueueWait(self.database, *self._place, seconds, self.has_value)

    def take(self) -> Delivery | None:
        """Take the oldest value that this consumer has not given back itself; None if there is none.

        A batch has the oldest values that never came back from anybody. One that did comes alone, so that a value which
        makes deliveries fail does not take others with it.
        """
        self._run.refuse_if_over()
        if current_attempt.get() is not None:
            raise ZrbStoreError(f"a delivery of {self.task} cannot begin inside an attempt: end that one first")
        was_vain = False
        while (queue_id := self._find_queue()) is not None:
            self._forget_dead(queue_id)
            has_value = self._has_value_in(queue_id)
            missing = was_vain or not has_value
            found_dead = reclaim.search(self.database, queue_id, self._run.session, missing=missing)
            if not has_value and not found_dead:
                return None
            taken = self._take(queue_id, EVERYBODY if was_vain else reclaim.known_alive(self.database, queue_id))
            if taken is not None:
                attempt, found = taken
                if self._run.span is not None:
                    self._observe(self._run.span, attempt, queue_id, found)
                seqs, decoded = [seq for seq, _ in found], [self._decode(data) for _, data in found]
                value = decoded[0] if self._batch is None else decoded
                on_end = functools.partial(self._note_end, queue_id, seqs)
                return Delivery(attempt, self._place, seqs, value, on_end, raises=self._raises)
            self._run.refuse_if_over()  # another thread may have ended it just now
            was_vain = True
        return None

    def _observe(self, run: Observed, attempt: Attempt, queue_id: int, found: Sequence[tuple[int, str]]) -> None:
        """Tell whoever observes the run that a delivery has begun, and which spans pushed its values."""
        seqs = [seq for seq, _ in found]
        details: dict[str, str | int | None] = {**attempt._details, "kind": "delivery", "queue": self.task}
        details["value"] = full_name(*self._place, seqs[0]) if len(seqs) == 1 else None
        details["values"] = len(seqs)
        details["data"] = found[0][1] if len(seqs) == 1 else f"[{','.join(data for _, data in found)}]"
        links = values.traceparents(self.database, queue_id, seqs)
        attempt.span = run.begin("delivery", self._place[1], details, links)

    def _forget_dead(self, queue_id: int) -> None:
        """Forget values that are dead, now and then: a consumer may go on for years."""
        if len(self._given_back) < self._forget_at:
            return
        dead = {(queue_id, seq) for seq in dead_values(self.database, queue_id)}
        with self._lock:
            self._skipped -= dead
            self._given_back -= dead
            self._forget_at = max(_FEW, 2 * len(self._given_back))

    def _take(self, queue_id: int, alive: Alive) -> tuple[Attempt, list[tuple[int, str]]] | None:
        front = takes.known_front(self.database, queue_id)
        seconds = 0.0

        def work(transaction: Transaction) -> tuple[Attempt, list[tuple[int, str]]]:
            nonlocal seconds
            run = self._run
            begun = attempts.begin(transaction, run.session_id, run.id, run.number, self.task, "delivery", None)
            if begun is None:
                raise run._lost_error()
            attempt = Attempt(run._xcoms, begun.id, self.task, begun.number, run.number)
            if transaction.dialect_name != "sqlite":  # SQLite has one writer at a time
                lock_queue(transaction, queue_id)  # those who give values back lock these in any order
            began = time.perf_counter()
            found = self._next_values(transaction, queue_id, front, self._batch or 1, alive, lock=True)
            seconds = time.perf_counter() - began
            if not all(each.pusher_is_alive for each in found):
                raise _NothingToTakeError
            if self._batch is None or (found and found[0].came_back):
                chosen = [each.seq for each in found[:1]]
            else:
                chosen = [each.seq for each in found if not each.came_back]
            taken = deliveries.take(transaction, queue_id, chosen, attempt.id, self._run.id)
            if not taken:
                raise _NothingToTakeError
            return attempt, taken

        def is_made(transaction: Transaction, taken: tuple[Attempt, list[tuple[int, str]]]) -> bool:
            return attempts.status_of(transaction, taken[0].id) == "running"

        try:
            taken = self._open.begin(self._run.id, lambda: self.database.transact(work, "consume", is_made=is_made))
        except _NothingToTakeError:
            return None
        first = None if self._skipped else taken[1][0][0]
        takes.note_search(self.database, queue_id, front, seconds, first)
        return taken

    def _note_end(self, queue_id: int, seqs: Sequence[int], completed: bool) -> None:
        with self._lock:
            places = [(queue_id, seq) for seq in seqs]
            is_new = self._given_back.isdisjoint(places)
            if completed:
                self._failures = 0
                self._rounds = self._rounds if is_new else 0
                self._given_back.difference_update(places)
                return
            self._failures += is_new
            if len(places) == 1:  # the values of a failed batch come again, each alone
                self._skipped.update(places)
                self._given_back.update(places)

    def _next_values(
        self,
        executor: Executor,
        queue_id: int,
        front: Front | None,
        count: int = 1,
        alive: Alive = EVERYBODY,
        *,
        lock: bool = False,
    ) -> list[NextValue]:
        with self._lock:
            passed_over = [seq for of_queue, seq in self._skipped if of_queue == queue_id]
        return deliveries.next_values(executor, queue_id, passed_over, count, front, alive, lock=lock)


def _pause(times: int) -> float:
    return min(_FIRST_PAUSE * 2.0 ** min(times, 10), _LONGEST_PAUSE)


class Deliveries(Iterator[Delivery], AsyncIterator[Delivery]):
    """What `Run.consume` returns. Iteration ends when the queue has been empty for the time to wait.

    Each delivery must have ended before the next one: use it in a `with` block.
    """

    def __init__(self, consumer: Consumer, wait: float, finishing: threading.Event | None = None) -> None:
        """Wait up to `wait` seconds for a value. The iteration ends when `finishing` is set."""
        self._consumer = consumer
        self._wait = wait
        self._finishing = finishing or threading.Event()
        self._last: Delivery | None = None
        check_seconds(wait)

    def __next__(self) -> Delivery:
        self._refuse_if_open()
        if clock.wait(self._finishing, self._pause()):
            raise StopIteration
        waiting = None
        while (delivery := self._consumer.take()) is None:
            waiting = waiting or self._consumer.waiting(self._wait)
            if not waiting.wait(self._finishing.is_set):
                if not math.isinf(self._wait) or self._finishing.is_set():
                    raise StopIteration
                self._consumer.retry_skipped()
                waiting = None
        self._last = delivery
        return delivery

    def __aiter__(self) -> Deliveries:
        return self

    async def __anext__(self) -> Delivery:
        self._refuse_if_open()
        await asyncio.sleep(await in_thread(self._pause))
        waiting = None
        while (delivery := await in_thread(self._consumer.take, _give_back)) is None:
            waiting = waiting or self._consumer.waiting(self._wait)
            if not await _wait_in_thread(waiting):
                if not math.isinf(self._wait):
                    raise StopAsyncIteration
                self._consumer.retry_skipped()
                waiting = None
        self._last = delivery
        return delivery

    def _pause(self) -> float:
        """Return how many seconds to pause before the next value; 0 if there is none and the loop ends at once."""
        is_over = not self._wait and self._consumer.pause and not self._consumer.has_value()
        return 0.0 if is_over else self._consumer.announced_pause()

    def _refuse_if_open(self) -> None:
        last, self._last = self._last, None
        if last is not None and last.is_open:
            last.fail(status="interrupted")
            name = last.attempt.full_name
            raise ZrbStoreError(f"{name} was not ended before the next delivery: use `with delivery as value:`")


def _give_back(delivery: Delivery | None) -> None:
    if delivery is not None:
        delivery.attempt.fail(status="interrupted")  # not a failure of the consumer, which may well take it next


async def _wait_in_thread(waiting: QueueWait) -> bool:
    """Do what `QueueWait.wait` does without blocking the event loop."""
    while (pause := waiting.next_pause()) is not None:
        await asyncio.sleep(pause)
        if await asyncio.to_thread(waiting.is_time_to_look):
            return True
    return False
