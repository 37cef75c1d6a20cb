"""Rows of steps, for tests that must not rely on the API."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import sqlalchemy as sa

from zrb_store import Store
from zrb_store.attempt import Attempt
from zrb_store.db.dialect import new_id
from zrb_store.db.tables import attempt
from zrb_store.queries import attempts
from zrb_store.records import AttemptRecord


def insert_step(store: Store, parent: str, step: str, number: int, *, attempt_number: int = 1, **columns: Any) -> int:
    """Insert an attempt of a step, completed unless `columns` say otherwise, and return its id.

    Args:
        store: The store.
        parent: The attempt that the step runs in, as SESSION/TASK#NUMBER.
        step: Name of the step.
        number: The step's number in its task.
        attempt_number: The number of the attempt of the step.
        columns: Other columns.
    """
    session, _, name = parent.partition("/")
    task, _, parent_number = name.rpartition("#")
    around = attempts.by_name(store.database, session, task, int(parent_number))
    assert around is not None
    row = {
        "session_id": around.session_id,
        "run_id": around.run_id,
        "fence": around.fence,
        "task": f"{task}/{number}",
        "number": attempt_number,
        "kind": "step",
        "status": "completed",
        "started_at": around.started_at,
        "started_tick": around.started_tick,
        "ended_at": around.started_at,
        "ended_tick": around.started_tick,
        "parent_id": around.id,
        "step_of": task,
        "step": step,
        "step_number": number,
        **columns,
    }
    insert = sa.insert(attempt).values(row).values(id=new_id("zrb_attempt"))
    step_id: int = store.database.execute(insert.returning(attempt.c.id))[0][0]
    return step_id


def fill_with_steps(store: Store, parent: str, *, running: bool) -> None:
    """Insert steps of an attempt: completed, failed and repeated, without a stored result, and perhaps a running one.

    The session's queue `pages` gets a value, which the first step has taken.
    """
    session, _, name = parent.partition("/")
    first = insert_step(store, parent, "page", 1, arguments="[[1],{}]", result='"one"')
    around = sa.select(attempt.c.started_at).where(attempt.c.id == first).scalar_subquery()
    tick = sa.select(attempt.c.ended_tick).where(attempt.c.id == first).scalar_subquery()
    insert_step(
        store, parent, "page~2", 2, status="failed", error_type="ValueError", given_back_at=around, given_back_tick=tick
    )
    insert_step(store, parent, "page~2", 2, attempt_number=2, once=True, result="[2]")
    insert_step(store, parent, "connect", 3, restorable=False)
    if running:
        insert_step(store, parent, "page~3", 4, status="running", ended_at=None, ended_tick=None)
    pages = store.session(session).xcom["pages"]
    pages.push(f"taken by a step of {name}")
    store.database.execute(
        sa.text(
            f"UPDATE zrb_value SET state = 'taken', ended_at = pushed_at, ended_tick = pushed_tick, taken_by = {first} "
            f"WHERE queue_id = (SELECT q.id FROM zrb_queue q JOIN zrb_session s ON s.id = q.session_id "
            f"WHERE s.name = '{session}' AND q.name = 'pages')"
        )
    )


class Boom(Exception):
    """Raised by the tests' own functions."""


def failing(*_: object) -> None:
    raise Boom


@contextlib.contextmanager
def attempt_of(store: Store, task: str = "convert", *, fails: bool = False) -> Iterator[Attempt]:
    """Run one attempt of a task in a run of its own."""
    with (
        contextlib.suppress(*[Boom] if fails else []),
        store.session("night").run() as run,
        run.attempt(task) as attempt,
    ):
        yield attempt
        if fails:
            raise Boom


def recorded(store: Store, step_id: str, number: int = 1) -> AttemptRecord:
    """Return the attempt STEP_ID#NUMBER of the session `night`."""
    found = attempts.by_name(store.database, "night", step_id, number)
    assert found is not None
    return found


class Counted:
    """A function that counts its calls."""

    def __init__(self, function: Callable[..., object] = lambda *args: list(args)) -> None:
        self.calls = 0
        self._function = function

    def __call__(self, *args: object) -> object:
        self.calls += 1
        return self._function(*args)
