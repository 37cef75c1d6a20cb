"""Whoever looks for sessions that have not completed does not read those that have."""

from __future__ import annotations

import pytest

from tests.support.completed import Reader, check_rows, check_steps, with_completed
from zrb_store import Store
from zrb_store.inspect.list import list_sessions
from zrb_store.queries.queues import queues_of_open_sessions
from zrb_store.records import HALTED

READERS: dict[str, Reader] = {
    "queues": queues_of_open_sessions,
    "failed": lambda database: list_sessions(database, statuses=["failed"], limit=50),
    "halted": lambda database: list_sessions(database, statuses=HALTED, limit=50),
    "open": lambda database: list_sessions(database, statuses=["open"], limit=50),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("location", ["sqlite"], indirect=True)
def test_reading_takes_no_more_steps_with_more_completed_sessions(filled: Store, reader: str) -> None:
    check_steps(with_completed(filled), READERS[reader])


@pytest.mark.unpooled  # each server process keeps its counts to itself until it reports them
@pytest.mark.parametrize("location", ["postgresql"], indirect=True)
def test_postgresql_reads_no_completed_session(filled: Store) -> None:
    check_rows(with_completed(filled), READERS)
