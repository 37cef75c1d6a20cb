"""What does it cost that a shared queue heals itself?

An attempt pushes to a queue of another session and pops from it, where nobody has died. The same operations are
measured without the search for what dead processes hold. A delivery takes a value with an attempt of its own and
completes it; it is compared with an attempt in which the same value is popped.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from unittest import mock

from benchmarks.contest import new_folder
from benchmarks.harness import Contestant, Effort, Race, timed
from benchmarks.queues import SMALL
from benchmarks.report import Answer, at_most, ratios
from tests.support import postgres
from zrb_store import open_store
from zrb_store.xcom import current_attempt
from zrb_store.xcom.session_queues import SessionQueues

SEARCHING, BLIND = "as it is", "without the search"
DELIVERY, ATTEMPT = "a delivery", "an attempt with a pop"


def _find_nothing(queues: SessionQueues, queue_id: int, owner: object, *, missing: bool = False) -> bool:
    """Look for nothing, as fast as any function can; a mock would take longer than the search."""
    return False


def push_and_pop(stack: ExitStack, location: str, times: int) -> dict[str, Contestant]:
    """Return two contestants that use one queue of another session: one searches, the other does not."""
    store = stack.enter_context(open_store(location))
    queue = store.session("inbox").xcom["values"]
    run = stack.enter_context(store.session("worker").run())
    stack.callback(current_attempt.reset, current_attempt.set(run.begin("work")))

    def searching() -> dict[str, float]:
        return {"push": timed(lambda: queue.push(SMALL), times), "pop": timed(queue.pop, times)}

    def blind() -> dict[str, float]:
        with mock.patch.object(SessionQueues, "reclaim", _find_nothing):
            return searching()

    return {BLIND: blind, SEARCHING: searching}


def deliveries(stack: ExitStack, location: str, times: int) -> dict[str, Contestant]:
    """Return two contestants that take values one by one: by deliveries, and by attempts that pop."""
    store = stack.enter_context(open_store(location))
    queue = store.session("inbox").xcom["values"]
    run = stack.enter_context(store.session("consumer").run())

    def by_attempts() -> dict[str, float]:
        queue.extend([SMALL] * times)
        began = time.perf_counter()
        for number in range(times):
            with run.begin(f"take {began} {number}"):
                queue.pop()
        return {"take": (time.perf_counter() - began) / times}

    def by_deliveries() -> dict[str, float]:
        queue.extend([SMALL] * times)
        began = time.perf_counter()
        for delivery in run.consume(queue):
            with delivery:
                pass
        return {"take": (time.perf_counter() - began) / times}

    return {ATTEMPT: by_attempts, DELIVERY: by_deliveries}


def run(effort: Effort) -> Answer:
    """Run the races on each database."""
    answer = Answer()
    with ExitStack() as stack:
        locations = {"SQLite": str(new_folder(stack) / "store.db")}
        if postgres.available():
            locations["PostgreSQL"] = stack.enter_context(postgres.private_server()).url
        for name, location in locations.items():
            with ExitStack() as turn:
                race = Race(push_and_pop(turn, location, effort(40, 10)), effort(41, 5), effort(8, 3))
            with ExitStack() as turn:
                taking = Race(deliveries(turn, location, effort(40, 10)), effort(15, 3), effort(4, 2))
            answer.add(f"{name}:", "", *ratios(race, {"push": "push", "pop": "pop"}, BLIND))
            answer.add(*ratios(taking, {"take": "take and complete"}, ATTEMPT))
            for operation in ("push", "pop"):
                what = f"{name}: {operation} of a shared queue where nobody died"
                answer.goals.append(at_most(what, 1.03, race.ratio(operation, SEARCHING, BLIND)))
    return answer
