"""Sessions with steps, for tests that read."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any

import pytest

from zrb_store import Attempt, Store
from zrb_store.attempt import Step
from zrb_store.attempt.steps import StoredResult
from zrb_store.run import RunSpec


class Broken(Exception):
    """The error with which tasks and steps of these sessions fail."""


def fail() -> None:
    raise Broken("no column 'price'\nin row 3")


@contextlib.contextmanager
def execution(attempt: Attempt, name: str) -> Iterator[Step | StoredResult]:
    """Run a block in place of the function of a step, which the block gets; or the result of a step that is done."""
    with attempt.steps.claim(name, (), {}) as claim:
        step = attempt.steps.begun_or_stored(claim, once=False)
        with contextlib.nullcontext() if isinstance(step, StoredResult) else step:
            yield step


@contextlib.contextmanager
def attempt_of(
    store: Store, session: str = "night", task: str = "convert", *, fails: bool = False, **options: Any
) -> Iterator[Attempt]:
    """Run one attempt of a task in a run of its own."""
    with (
        contextlib.suppress(Broken),
        store.session(session).prepare(RunSpec(**options)) as run,
        run.attempt(task) as attempt,
    ):
        yield attempt
        if fails:
            raise Broken("too many rows")


def night(store: Store) -> None:
    """Let the session `night` fail after three steps, one of which took a file of the session `inbox`.

    One more step has failed twice.
    """
    inbox = store.session("inbox").xcom["files"]
    inbox.extend(["a.csv", "b.csv"])
    with attempt_of(store, fails=True, path=["convert"]) as attempt:

        def take() -> object:
            attempt.xcom["done"].push("page 1")
            return inbox.pop(), 2.5

        attempt.step("page 1", take)
        attempt.step("charge", int, "7", once=True)
        for _ in range(2):
            with pytest.raises(Broken):
                attempt.step("mail", fail)
        attempt.step("notify", print, end="")


def many(store: Store) -> None:
    """Let the session `night` fail after 57 steps, three of which failed before they completed."""
    with attempt_of(store, fails=True) as attempt:
        for page in range(57):
            if page in (3, 4, 50):
                with pytest.raises(Broken):
                    attempt.step(f"page {page}", fail)
            attempt.step(f"page {page}", dict)


def rows(text: str, title: str = "Tasks") -> list[str]:
    """Return the rows of a table, each without its times, and with single spaces."""
    lines = text.splitlines()
    table = lines[lines.index(title) + 2 :]
    end = table.index("") if "" in table else len(table)
    return [" ".join(re.sub(r"[\d-]*[ ]?[\d:]+Z +\d+ m?s", "", line).split()) for line in table[:end]]
