"""The deliveries of a queue, one after the other, in a `for` or an `async for` loop."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import AsyncIterator, Iterator

from zrb_store.errors import ZrbStoreError
from zrb_store.run.consumer import Consumer
from zrb_store.run.delivery import Delivery
from zrb_store.run.in_thread import in_thread
from zrb_store.waiting import QueueWait, check_seconds


class Deliveries(Iterator[Delivery], AsyncIterator[Delivery]):
    """What `Run.consume` returns. Iteration ends when the queue has been empty for the time to wait.

    Each delivery must have ended before the next one: use it in a `with` block.
    """

    def __init__(self, consumer: Consumer, wait: float, finishing: threading.Event | None = None) -> None:
        """Prepare to take values.

        Args:
            consumer: Takes them.
            wait: How many seconds to wait for a value; `math.inf` for ever.
            finishing: When it is set, the iteration ends.

        Raises:
            InvalidArgument: The time is negative or no number.
        """
        self._consumer = consumer
        self._wait = wait
        self._finishing = finishing or threading.Event()
        self._last: Delivery | None = None
        check_seconds(wait)

    def __next__(self) -> Delivery:
        self._refuse_if_open()
        if self._finishing.wait(self._pause()):
            raise StopIteration
        waiting = None
        while (delivery := self._consumer.take()) is None:
            waiting = waiting or self._consumer.waiting(self._wait)
            if not waiting.wait(self._finishing.is_set):
                if not math.isinf(self._wait) or self._finishing.is_set():
                    raise StopIteration
                self._consumer.forgive()
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
                self._consumer.forgive()
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
