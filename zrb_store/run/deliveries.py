"""The deliveries of a queue, one after the other, in a `for` or an `async for` loop."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Iterator

from zrb_store.errors import ZrbStoreError
from zrb_store.operations.lookout import Lookout
from zrb_store.run.consumer import Consumer
from zrb_store.run.delivery import Delivery
from zrb_store.run.in_thread import in_thread


class Deliveries(Iterator[Delivery], AsyncIterator[Delivery]):
    """What `Run.consume` returns. Iteration ends when the queue has been empty for the time to wait.

    Each delivery must have ended before the next one: use it in a `with` block.
    """

    def __init__(self, consumer: Consumer, wait: float) -> None:
        """Prepare to take values.

        Args:
            consumer: Takes them.
            wait: How many seconds to wait for a value; `math.inf` for ever.

        Raises:
            InvalidArgument: The time is negative or no number.
        """
        self._consumer = consumer
        self._wait = wait
        self._last: Delivery | None = None
        consumer.lookout(wait)

    def __next__(self) -> Delivery:
        self._refuse_if_open()
        time.sleep(self._consumer.pause)
        lookout = self._consumer.lookout(self._wait)
        while (delivery := self._consumer.take()) is None:
            if not lookout.wait():
                if not math.isinf(self._wait):
                    raise StopIteration
                lookout = self._begin_again()
        self._last = delivery
        return delivery

    def __aiter__(self) -> Deliveries:
        return self

    async def __anext__(self) -> Delivery:
        self._refuse_if_open()
        await asyncio.sleep(self._consumer.pause)
        lookout = self._consumer.lookout(self._wait)
        while (delivery := await in_thread(self._consumer.take, _give_back)) is None:
            if not await _wait_in_thread(lookout):
                if not math.isinf(self._wait):
                    raise StopAsyncIteration
                lookout = self._begin_again()
        self._last = delivery
        return delivery

    def _begin_again(self) -> Lookout:
        """Try what this consumer has passed over, since it is to go on for ever."""
        self._consumer.forgive()
        return self._consumer.lookout(self._wait)

    def _refuse_if_open(self) -> None:
        last, self._last = self._last, None
        if last is not None and last.is_open:
            last.fail(status="interrupted")
            name = last.attempt.full_name
            raise ZrbStoreError(f"{name} was not ended before the next delivery: use `with delivery as value:`")


def _give_back(delivery: Delivery | None) -> None:
    if delivery is not None:
        delivery.attempt.fail(status="interrupted")  # not a failure of the consumer, which may well take it next


async def _wait_in_thread(lookout: Lookout) -> bool:
    """Do what `Lookout.wait` does without blocking the event loop."""
    while (pause := lookout.next_pause()) is not None:
        await asyncio.sleep(pause)
        if await asyncio.to_thread(lookout.is_time_to_look):
            return True
    return False
