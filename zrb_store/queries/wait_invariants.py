"""Invariants of the rows of waits (`queries/waits.py`), which `queries/invariants.py` has beside its own."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from zrb_store.db.core import exists, is_one_of, sa, t
from zrb_store.queries.attempts import attempt_as, is_step
from zrb_store.queries.damage import invariant

if TYPE_CHECKING:
    from zrb_store.queries.damage import Condition

RERUN = "start or resume the session, which gives them back"


def _is_parked() -> Condition:
    return sa.and_(is_one_of(t.attempt.c.status, "waiting"), t.attempt.c.given_back_at.is_(None))


def parent_is(*conditions: Condition) -> sa.Exists:
    """Return the condition that there is the attempt around a step, and that it meets these conditions."""
    return exists(attempt_as("parent").c.id == t.attempt.c.parent_id, *conditions)


def _has_waiting_step() -> sa.Exists:
    step = t.attempt.alias("step")
    of_task = (step.c.session_id == t.attempt.c.session_id, step.c.step_of == t.attempt.c.task)
    return exists(*of_task, step.c.parent_id == t.attempt.c.id, is_one_of(step.c.status, "waiting"))


_attempt = functools.partial(invariant, "zrb_attempt", remedy=RERUN)
OF_WAITS = [
    _attempt(
        "wait-parent",
        "are steps that wait in an attempt that does not",
        lambda: sa.and_(
            is_step(),
            _is_parked(),
            ~parent_is(is_one_of(attempt_as("parent").c.status, "waiting")),
        ),
    ),
    _attempt(
        "wait-step",
        "wait although no step of them does",
        lambda: sa.and_(~is_step(), _is_parked(), ~_has_waiting_step()),
    ),
    invariant(
        "zrb_session",
        "session-waiting",
        "wait although their last run ended in another way",
        lambda: sa.and_(
            is_one_of(t.session.c.status, "waiting"),
            ~exists(
                t.run.c.session_id == t.session.c.id,
                t.run.c.number == t.session.c.fence,
                is_one_of(t.run.c.status, "waiting"),
            ),
        ),
        remedy=RERUN,
    ),
]
