"""Sessions that wait, for tests."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from zrb_store import Store, Waiting, wait
from zrb_store.attempt import Attempt
from zrb_store.queries import waits
from zrb_store.queries.waits import Wait
from zrb_store.run import RunSpec


def approve(_: object = None) -> Any:
    """Wait for an answer, as the action of a task."""
    return wait("approve", timeout="2d", say="Refund 120?")


def start(store: Store, action: Callable[[Attempt], object] = approve, **spec: Any) -> Any:
    """Run the task `refund` of the session `shop`, and return what the action returned; None if it waits."""
    run = store.session("shop").prepare(RunSpec(**spec))
    run.start()
    with contextlib.suppress(Waiting), run, run.attempt("refund") as attempt:
        result = action(attempt)
        attempt.complete(result)
        return result


def parked(store: Store) -> list[Wait]:
    """Return what `shop` waits for."""
    return waits.parked(store.database, [store.session("shop").record().id])


def set_deadlines(store: Store, ago: timedelta) -> None:
    """Let the deadlines of what waits now be this long ago."""
    for each in parked(store):
        set_deadline(store, each, ago)


def set_deadline(store: Store, waiting: Wait, ago: timedelta) -> None:
    """Let the deadline of a wait be this long ago."""
    past = waiting.moment - ago // timedelta(microseconds=1)
    _change(
        store,
        f"UPDATE zrb_attempt SET deadline_at = {past} WHERE status = 'waiting' AND deadline_at = {waiting.deadline}",
    )


def _change(store: Store, sql: str) -> None:
    store.database.transact(lambda transaction: transaction.driver.execute(sql))
