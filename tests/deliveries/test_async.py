"""`Run.consume` in asyncio programs: it blocks no event loop, and a cancelled task leaves no value held."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from tests.support.attempts import Broken
from tests.support.processes import DEADLINE
from tests.support.rows import faults, query, states
from zrb_store import Run, Store, ZrbStoreError, open_store
from zrb_store.db.engine import Database
from zrb_store.db.transaction import set_callback
from zrb_store.run.deliveries import Deliveries
from zrb_store.xcom import current_attempt


@pytest.fixture(autouse=True)
def sound(store: Store) -> Iterator[None]:
    """After each test no invariant of the rows is broken, and nothing is held."""
    yield
    set_callback(None)
    assert faults(store) == []
    assert query(store, "SELECT count(*) FROM zrb_attempt WHERE status = 'running'") == [(0,)]


def statuses(store: Store) -> list[str]:
    return [row[0] for row in query(store, "SELECT status FROM zrb_attempt ORDER BY id")]


async def taken(deliveries: Deliveries) -> list[Any]:
    seen = []
    async for delivery in deliveries:
        async with delivery as value:
            seen.append(value)
    return seen


def tell_at(point: str) -> asyncio.Event:
    """Return an event of this loop that is set when a thread reaches the point."""
    loop, event = asyncio.get_running_loop(), asyncio.Event()

    def reached(name: str) -> None:
        if name == point:
            loop.call_soon_threadsafe(event.set)

    set_callback(reached)
    return event


def test_each_value_has_an_attempt_of_its_own(store: Store, inbox: Any) -> None:
    async def main(run: Run) -> list[Any]:
        seen = []
        async for delivery in run.consume(inbox):
            async with delivery as value:
                store.session("done").xcom["files"].push(value)
                seen.append(value)
                if value == "b":
                    raise Broken
        return seen

    with store.session("worker").run() as run:
        assert asyncio.run(main(run)) == ["a", "b", "c"]
    assert statuses(store) == ["completed", "failed", "completed"]
    assert states(store, "done", "files") == [("a", "live"), ("b", "retracted"), ("c", "live")]


def test_it_can_raise_instead(store: Store, inbox: Any) -> None:
    async def main(run: Run) -> None:
        async for delivery in run.consume(inbox, on_error="raise"):
            async with delivery:
                raise Broken

    with store.session("worker").run() as run, pytest.raises(Broken):
        asyncio.run(main(run))
    assert list(inbox) == ["a", "b", "c"]


def test_a_batch_is_delivered_as_a_list_in_a_coroutine(store: Store, inbox: Any) -> None:
    with store.session("worker").run() as run:
        assert asyncio.run(taken(run.consume(inbox, batch=2))) == [["a", "b"], ["c"]]


def test_a_delivery_that_has_not_ended_before_the_next_one(store: Store, inbox: Any) -> None:
    async def main(run: Run) -> None:
        async for _ in run.consume(inbox):
            pass

    with store.session("worker").run() as run, pytest.raises(ZrbStoreError, match="was not ended"):
        asyncio.run(main(run))
    assert list(inbox) == ["a", "b", "c"]


@pytest.mark.promise(number=10)
def test_waiting_and_taking_let_other_tasks_run(store: Store, location: str) -> None:
    """The value comes from another task of the same loop, after the store was slow."""
    queue = store.session("inbox").xcom["files"]

    async def main(run: Run) -> list[Any]:
        slow, go_on = asyncio.Event(), threading.Event()
        loop = asyncio.get_running_loop()

        def reached(point: str) -> None:
            if point in ("consume:before", "complete:before"):
                loop.call_soon_threadsafe(slow.set)
                assert go_on.wait(DEADLINE)
                go_on.clear()

        set_callback(reached)

        async def help_out() -> None:
            with open_store(location) as other:
                await asyncio.to_thread(other.session("inbox").xcom["files"].push, "a")
            for _ in ("take", "complete"):
                await slow.wait()
                slow.clear()
                go_on.set()

        helper = asyncio.create_task(help_out())
        seen = []
        async for delivery in run.consume(queue, wait=math.inf):
            async with delivery as value:
                seen.append(value)
            break
        await helper
        return seen

    with store.session("worker").run() as run:
        assert asyncio.run(asyncio.wait_for(main(run), DEADLINE)) == ["a"]


def test_the_thread_of_the_loop_never_uses_the_store(store: Store, inbox: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    users = set()
    operate = Database.operate

    def recorded(self: Database, *args: Any, **options: Any) -> Any:
        users.add(threading.get_ident())
        return operate(self, *args, **options)

    async def main(run: Run) -> None:
        monkeypatch.setattr(Database, "operate", recorded)
        async for delivery in run.consume(inbox, wait=0.2):
            async with delivery as value:
                if value == "b":
                    raise Broken
        monkeypatch.undo()

    with store.session("worker").run() as run:
        asyncio.run(main(run))
    assert users
    assert threading.get_ident() not in users


def test_the_attempt_of_one_task_is_not_that_of_another(store: Store) -> None:
    queue = store.session("inbox").xcom["files"]
    queue.extend(range(20))

    async def worker(run: Run, together: asyncio.Barrier) -> None:
        async for delivery in run.consume(queue):
            async with delivery as value:
                if value < 4:
                    await together.wait()  # all four are inside a block
                assert current_attempt.get() is delivery.attempt
                store.session("done").xcom["files"].push([value, delivery.attempt.number])
                await asyncio.to_thread(store.session("done").xcom["in threads"].push, [value, delivery.attempt.number])
                await asyncio.sleep(0)
            assert current_attempt.get() is None

    async def main(run: Run) -> None:
        together = asyncio.Barrier(4)
        await asyncio.gather(*(worker(run, together) for _ in range(4)))

    with store.session("worker").run() as run:
        asyncio.run(asyncio.wait_for(main(run), DEADLINE))
    owners = query(
        store,
        "SELECT v.data, a.number FROM zrb_value v JOIN zrb_attempt a ON a.id = v.pushed_by ORDER BY v.queue_id, v.seq",
    )
    assert len(owners) == 40
    assert all(data.endswith(f",{number}]") for data, number in owners)
    assert statuses(store) == ["completed"] * 20


Cancel = Callable[["asyncio.Task[Any]"], Awaitable[None]]


async def once(task: asyncio.Task[Any]) -> None:
    task.cancel()


async def again_and_again(task: asyncio.Task[Any]) -> None:
    for _ in range(5):
        task.cancel()
        await asyncio.sleep(0)


@pytest.mark.promise(number=10)
@pytest.mark.parametrize("cancel", [once, again_and_again])
@pytest.mark.parametrize(
    ("point", "left"),
    [
        ("consume:before", ["a", "b", "c"]),
        ("consume:inside", ["a", "b", "c"]),
        ("consume:after", ["a", "b", "c"]),
        ("complete:before", ["b", "c"]),
        ("complete:inside", ["b", "c"]),
        ("complete:after", ["b", "c"]),
        ("fail:before", ["a", "b", "c"]),
        ("fail:inside", ["a", "b", "c"]),
        ("fail:after", ["a", "b", "c"]),
    ],
)
def test_a_task_cancelled_while_a_thread_works_for_it(
    store: Store, inbox: Any, point: str, left: list[str], cancel: Cancel
) -> None:
    """The cancellation arrives while the thread is at the point; what the thread does is done and known."""

    async def consume(run: Run) -> None:
        async for delivery in run.consume(inbox):
            async with delivery:
                if point.startswith("fail"):
                    raise Broken

    async def main(run: Run) -> None:
        reached, go_on = asyncio.Event(), threading.Event()
        loop = asyncio.get_running_loop()

        def stop(name: str) -> None:
            if name == point and not go_on.is_set():
                loop.call_soon_threadsafe(reached.set)
                assert go_on.wait(DEADLINE)

        set_callback(stop)
        task = asyncio.create_task(consume(run))
        await reached.wait()
        await cancel(task)
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        # Before the run ends, which would give back what is held.
        set_callback(None)
        assert await asyncio.to_thread(list, inbox) == left
        assert "running" not in await asyncio.to_thread(statuses, store)

    with store.session("worker").run() as run:
        asyncio.run(asyncio.wait_for(main(run), DEADLINE))


def test_a_value_that_a_cancelled_task_gave_back_is_not_passed_over(store: Store, inbox: Any) -> None:
    async def main(run: Run) -> list[Any]:
        deliveries = run.consume(inbox)
        began = tell_at("consume:before")
        task = asyncio.create_task(anext(deliveries))
        await began.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return await taken(deliveries)

    with store.session("worker").run() as run:
        assert asyncio.run(main(run)) == ["a", "b", "c"]


def test_a_task_cancelled_in_its_block(store: Store, inbox: Any) -> None:
    """The delivery is interrupted, which does not count."""

    async def main(run: Run) -> None:
        inside = asyncio.Event()

        async def consume() -> None:
            async for delivery in run.consume(inbox):
                async with delivery:
                    inside.set()
                    await asyncio.sleep(DEADLINE)

        task = asyncio.create_task(consume())
        await inside.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(list, inbox) == ["a", "b", "c"]

    with store.session("worker").run() as run:
        asyncio.run(main(run))
    assert statuses(store) == ["interrupted"]
    assert query(store, "SELECT max(failed_deliveries) FROM zrb_value") == [(0,)]


def test_a_task_cancelled_while_it_waits(store: Store) -> None:
    async def main(run: Run) -> None:
        queue = store.session("inbox").xcom["files"]
        task = asyncio.create_task(taken(run.consume(queue, wait=math.inf)))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with store.session("worker").run() as run:
        asyncio.run(main(run))


def test_a_program_that_ends_amid_a_taking(store: Store, inbox: Any) -> None:
    """`asyncio.run` cancels every task that is left, all at once."""

    async def main(run: Run) -> None:
        began = tell_at("consume:inside")
        task = asyncio.create_task(taken(run.consume(inbox)))
        await began.wait()
        assert not task.done()

    with store.session("worker").run() as run:
        asyncio.run(main(run))
        assert "running" not in statuses(store)


@pytest.mark.slow
def test_a_timeout_in_a_block_is_a_failure(store: Store, inbox: Any) -> None:
    async def main(run: Run) -> None:
        async for delivery in run.consume(inbox):
            async with delivery, asyncio.timeout(0):
                await asyncio.sleep(DEADLINE)

    with store.session("worker").run() as run:
        asyncio.run(main(run))
    assert statuses(store) == ["failed"] * 3
