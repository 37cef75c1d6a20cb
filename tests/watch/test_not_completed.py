"""Whoever looks for what went wrong does not read the sessions that have completed."""

from __future__ import annotations

import pytest

from tests.support.completed import Reader, check_rows, check_steps, with_completed
from zrb_store import Store
from zrb_store.watch.check import alerts
from zrb_store.watch.queries import running_unreported

READERS: dict[str, Reader] = {
    "untold": running_unreported,
    "check": lambda database: alerts(database, {}),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("location", ["sqlite"], indirect=True)
def test_reading_takes_no_more_steps_with_more_completed_sessions(filled: Store, reader: str) -> None:
    check_steps(with_completed(filled), READERS[reader])


@pytest.mark.unpooled  # each server process keeps its counts to itself until it reports them
@pytest.mark.parametrize("location", ["postgresql"], indirect=True)
def test_postgresql_reads_no_completed_session(filled: Store) -> None:
    check_rows(with_completed(filled), READERS)
