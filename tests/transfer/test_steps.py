"""`export`, `import` and `copy` preserve steps, and `import` refuses what no step can be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.support.rows import query
from tests.support.steps import fill_with_steps
from tests.transfer.exports import WRONG, exported, forged, imported, refusal
from zrb_store import Store, open_store
from zrb_store.operations.copy import copy

pytestmark = pytest.mark.long_on_postgresql


def steps_of(store: Store) -> list[Any]:
    """Return each attempt of a step with the attempt around it, and the columns that only steps have."""
    return query(
        store,
        "SELECT s.name, a.task, a.number, p.session_id = a.session_id, p.task, p.number, a.step_of, a.step, "
        "a.step_number, a.once, a.result FROM zrb_attempt a JOIN zrb_session s ON s.id = a.session_id "
        "LEFT JOIN zrb_attempt p ON p.id = a.parent_id WHERE a.step_of IS NOT NULL ORDER BY a.id",
    )


def test_steps_keep_the_attempts_around_them(store: Store, tmp_path: Path) -> None:
    other, back = open_store(tmp_path / "other.db"), open_store(tmp_path / "back.db")
    for at, name in ((store, "s"), (other, "unrelated")):
        run = at.session(name).run().start()
        for task in ("load", "load", "clean") if at is store else ("load",):
            run.begin(task).fail(ValueError())
        run.end("failed")
    for parent in ("s/load#2", "s/clean#1"):
        fill_with_steps(store, parent, running=False)
    store.database.execute(sa.text("UPDATE zrb_attempt SET parent_id = NULL WHERE step = 'connect'"))
    here = steps_of(store)
    assert [row[3:6] for row in here] == [*[(True, "load", 2)] * 3, (None,) * 3, *[(True, "clean", 1)] * 3, (None,) * 3]
    copy(store.database, other.database)
    imported(back, exported(other, "s"), {"s": "renamed"})
    assert steps_of(other) == here
    assert steps_of(back) == [("renamed", *row[1:]) for row in here]


# A change of the first record whose fields are those that are given, and the error message or the invariant.
STEPS: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"step": "page"}, {"step_of": None}, "step-id"),
    ({"step": "page"}, {"step": None}, "step-id"),
    ({"step": "page"}, {"step_number": None}, "step-id"),
    ({"task": "read"}, {"parent": "reader/read#1"}, "session reader names attempt read#1, which does not exist"),
    ({"task": "read"}, {"once": True}, "step-id"),
    ({"task": "read"}, {"result": "1"}, "step-id"),
    ({"step": "page"}, {"task": "load/7"}, "session etl names attempt load/1#1, which does not exist"),
    ({"step": "page~2"}, {"step": "page"}, "step-number"),
    ({"step": "page~2"}, {"step_number": 1, "task": "load/1", "number": 9}, "step-number"),
    ({"step": "page~2"}, {"step": "page~1"}, "step-number"),
    ({"step": "page"}, {"step": "x" * 521}, "step is not a valid name"),
    ({"step": "page"}, {"result": "{"}, "result is not JSON"),
    ({"step": "page"}, {"result_queue": "log", "result_seq": 1}, "attempt-result"),
    ({"step": "page"}, {"status": "lost"}, "attempt-unfinished"),
    ({"step": "page~2"}, {"given_back_at": None}, "attempt-unfinished"),
    ({"step": "page"}, {"parent": "reader/read#1"}, "its parent is not of session etl"),
    ({"step": "page"}, {"parent": "etl/load#9"}, "session etl names attempt load#9, which does not exist"),
    ({"step": "page"}, {"parent": "etl/extract#1"}, "step-parent"),
    ({"task": "load", "number": 1}, {"kind": "delivery"}, "step-parent"),
    ({"task": "t/4"}, {"parent": None}, "step-running"),
    ({"task": "t/4"}, {"status": "completed"}, "attempt-status"),
    ({"queue": "pages"}, {"pushed_by": "etl/load#1", "orphaned": True}, "step-rests"),
]


@pytest.mark.parametrize(("which", "change", "why"), STEPS, ids=[f"{change}"[:60] for _, change, _ in STEPS])
def test_lies_about_a_step_are_refused(
    empty_store: Store, sample_export: bytes, which: dict[str, Any], change: dict[str, Any], why: str
) -> None:
    all_lines = [json.loads(line) for line in sample_export.splitlines()]
    place = next(place for place, line in enumerate(all_lines) if line.items() >= which.items())
    assert WRONG.get(why, why) in refusal(empty_store, forged((place - 1, change), content=sample_export))
