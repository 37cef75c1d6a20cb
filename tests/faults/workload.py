"""The workflow that tests kill. It can be started any number of times, and always leads to the same result."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable
from typing import Any

from tests.support.rows import query
from zrb_store import Run, SessionCompleted, Store, open_store, step
from zrb_store.queries.chunks import LONGEST

ITEMS = 5
QUEUES = ("inbox", "out", "both", "cards", "texts", "read")
LONG = "\u00e9" * LONGEST  # with its quotes it takes two chunks

Acknowledge = Callable[[str, Any], None]


class Broken(Exception):
    """The error with which some attempts fail."""


def workflow(store: Store, acknowledge: Acknowledge) -> None:
    """Finish the session, whatever was done before. Acknowledge each completion and each change outside of attempts."""
    shared = store.session("shared").xcom
    session = store.session("flow")

    def draw(*arguments: object) -> int:
        card: int = shared["cards"].pop()
        session.xcom["steps"].push([*arguments, card])
        return card

    def draw_what_cannot_be_stored() -> object:
        draw()
        return object()

    def load(run: Run, number: int, *, fails: bool) -> None:
        with run.attempt(f"load-{number}") as attempt, warnings.catch_warnings(action="ignore"):
            if number < 2:
                session.xcom["drawn"].push([number, step("draw", draw)])
                step("draw again", draw_what_cannot_be_stored)
            item = shared["inbox"].pop()
            if number < 2:
                step("rest on the item", draw, item)
            shared["out"].extend([item, -item])
            shared["read"].push(shared["texts"].pop() + str(item))
            shared["both"].rotate(2)
            shared["both"].insert(1, item)
            shared["both"].appendleft(shared["both"].popright())
            if fails:
                raise Broken
            attempt.complete(item * 10)
        acknowledge("completions", [attempt.name, item * 10])

    with contextlib.suppress(SessionCompleted), session.run() as run:
        for number in range(ITEMS):
            shared["journal"].push([run.number, number])
            acknowledge("pushes", [run.number, number])
            acknowledge("pops", shared["tickets"].pop())
            if not run.completed(f"load-{number}"):
                if number % 2:
                    with contextlib.suppress(Broken):
                        load(run, number, fails=True)
                load(run, number, fails=False)
        done = run.completed("load-0")
        undone = "SELECT 1 FROM zrb_attempt WHERE kind = 'task' AND given_back_at IS NOT NULL AND status = 'completed'"
        if done and not query(store, undone):
            run.give_back(done, "again")
            load(run, 0, fails=False)


def prepare(location: str) -> None:
    """Fill the queues that the workflow uses."""
    with open_store(location) as store:
        shared = store.session("shared").xcom
        shared["inbox"].extend(range(1, ITEMS + 1))
        shared["cards"].extend(range(1000))
        shared["texts"].extend([LONG] * ITEMS)
        shared["both"].extend(range(101, 106))
        shared["tickets"].extend(range(1000))


def result(store: Store) -> dict[str, list[Any]]:
    """Return the contents of the queues that the attempts of the workflow use."""
    found = {name: list(store.session("shared").xcom[name]) for name in QUEUES}
    return found | {name: list(queue) for name, queue in store.session("flow").xcom.items() if len(queue)}
