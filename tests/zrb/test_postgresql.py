"""The same on PostgreSQL: a workflow dies and resumes, and of many processes only one runs it."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.support.replication import Replicated, replicated
from tests.zrb.conftest import Zrb, lines, only, until
from tests.zrb.workflows import ASSIGNING, CHAIN, GIVEN, UNDISTURBED, killed_and_resumed
from zrb_store import open_store


@pytest.fixture
def postgres_zrb(zrb: Zrb, new_postgres: str) -> Zrb:
    """zrb with an empty PostgreSQL schema as its store."""
    zrb.db.unlink()
    zrb.url = new_postgres
    return zrb


@only(lambda version: version < (2,) or version >= (3, 28))  # the oldest and newest suffice: zrb uses no database
def test_a_killed_session_on_postgresql_is_resumed_by_one_of_four(postgres_zrb: Zrb) -> None:
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


@pytest.mark.promise(number=7)
@only(lambda version: version >= (3, 28))
def test_assigned_inputs_on_postgresql(postgres_zrb: Zrb) -> None:
    done = killed_and_resumed(postgres_zrb, ASSIGNING)
    assert done == str(sorted({**GIVEN, "day": "monday!?", "extra": [1]}.items()))
    assert postgres_zrb.ran == ["step"]


@pytest.fixture
def servers(zrb: Zrb) -> Iterator[Replicated]:
    """A primary and a synchronous standby with the store of the project."""
    with replicated() as pair:
        zrb.db.unlink()
        zrb.url = pair.url
        with open_store(zrb.url):  # makes the tables
            yield pair


WAITS = "async def HALF(ctx): mark('in-load'); await wait_for('go-on')\n" + CHAIN


@pytest.mark.promise(number=8)
@pytest.mark.slow
@only(lambda version: version >= (3, 28))
@pytest.mark.parametrize("crash", ["kill", "stop_at_once"])
def test_a_workflow_goes_on_after_a_failover(zrb: Zrb, servers: Replicated, crash: str) -> None:
    """The primary dies amid a task. The next change waits for the standby to take over."""
    zrb.tasks(WAITS)
    running = zrb.start("report", ZRB_STORE_SESSION="etl").reaches("in-load")
    getattr(servers.primary, crash)()
    zrb.mark("go-on")
    servers.promote()
    ended = running.done()
    assert (ended.code, ended.out.strip()) == (0, UNDISTURBED.replace("whole", "half")), ended.err
    assert zrb.ran == ["count", "load", "report"]
    assert zrb.stored("etl").tasks == {name: ["completed"] for name in ("count", "load", "report")}
    assert zrb.run("report", ZRB_STORE_SESSION="etl").out.strip() == ended.out.strip()  # the stored result


@pytest.mark.promise(number=8)
@pytest.mark.slow
@only(lambda version: version >= (3, 28))
def test_a_workflow_that_dies_with_the_primary_resumes_on_the_standby(zrb: Zrb, servers: Replicated) -> None:
    zrb.tasks(WAITS)
    running = zrb.start("report", ZRB_STORE_SESSION="etl").reaches("in-load")
    running.signal(signal.SIGKILL).done()
    servers.primary.kill()
    (line,) = lines(zrb.run("xcom", "show", "etl", code=69).err)[-1:]
    assert "cannot be reached" in line
    servers.promote()
    assert zrb.resume("etl", ZRB_STORE_URL=zrb.url).out.strip() == UNDISTURBED
    assert zrb.ran == ["count", "load", "load", "report"]
    assert zrb.stored("etl").tasks == {"count": ["completed"], "load": ["lost", "completed"], "report": ["completed"]}
