"""The story of a session: the sentence with which its report begins."""

from __future__ import annotations

import re

import sqlalchemy as sa

from tests.sessions import etl, inbox
from zrb_store import Store
from zrb_store.inspect.report import describe
from zrb_store.page.render import story


def told(store: Store, name: str = "etl") -> str:
    return re.sub(r"\d+(\.\d+)? (ms|s)\b", "T", story(describe(store.database, name)))


def test_the_story(filled: Store) -> None:
    assert told(filled, "etl-24") == "load failed in run 1 after 2 of 4 tasks"
    assert told(filled, "etl-25") == "completed 4 tasks in T"
    assert told(filled, "inbox") == "has 3 values in 1 queue, and no run"


def test_the_story_of_a_resume(store: Store) -> None:
    inbox(store, "a.csv", "b.csv", "c.csv")
    etl(store, "etl", broken=True)
    etl(store, "etl", broken=False)
    assert told(store) == "load failed in run 1 after 2 of 4 tasks; resumed T later; completed"
    store.database.execute(sa.text("UPDATE zrb_run SET \"user\" = 'bob', host = 'db-2' WHERE number = 2"))
    assert told(store) == ("load failed in run 1 after 2 of 4 tasks; resumed T later by bob on db-2; completed")


def test_the_story_of_a_run_that_goes_on_or_died(store: Store) -> None:
    with store.session("etl").run() as run:
        run.task("a", int)
        run.begin("b")
        assert told(store) == "run 1 has been running for T, now in b, after 1 of 2 tasks"
        store.database.execute(sa.text("UPDATE zrb_run SET lease_expires_at = 1000000, boot_id = 'other', host = 'x'"))
        assert told(store) == "the process of run 1 died in b after 1 of 2 tasks"
