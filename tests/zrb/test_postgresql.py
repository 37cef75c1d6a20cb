"""The same on PostgreSQL: a workflow dies and resumes, and of many processes only one runs it."""

from __future__ import annotations

import signal

import pytest

from tests.zrb.conftest import Zrb, lines, only, until
from tests.zrb.test_workflow import CHAIN, UNDISTURBED


@pytest.fixture
def postgres_zrb(zrb: Zrb, new_postgres: str) -> Zrb:
    """zrb with an empty PostgreSQL schema as its store."""
    zrb.db.unlink()
    zrb.url = new_postgres
    return zrb


@only(lambda version: version < (2,) or version >= (3, 28))  # the oldest and newest suffice: zrb uses no database
def test_on_postgresql(postgres_zrb: Zrb) -> None:
    zrb = postgres_zrb
    zrb.tasks("async def HALF(ctx): await hang('in-load')\n" + CHAIN)
    running = zrb.start("report", ZRB_STORE_SESSION="etl").reaches("in-load")
    refused = zrb.run("report", code=75, ZRB_STORE_SESSION="etl")
    (line,) = lines(refused.err)
    assert f"pid {running.pid}" in line
    running.signal(signal.SIGKILL).done()
    starts = [zrb.start("report", ZRB_STORE_SESSION="etl") for _ in range(4)]
    until(lambda: all(one.ended() for one in starts))
    ends = [one.done() for one in starts]
    # A refused process came during the resume. A later one got the stored result.
    assert {end.code for end in ends} <= {0, 75}
    assert {end.out.strip() for end in ends if end.code == 0} == {UNDISTURBED}
    assert zrb.ran == ["count", "load", "load", "report"]
    assert zrb.stored("etl").tasks == {"count": ["completed"], "load": ["lost", "completed"], "report": ["completed"]}
