"""The primary is killed, and its standby takes over: nothing that was acknowledged is lost or done twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.faults import failovers
from tests.support.postgres import wait_until
from tests.support.proxy import AFTER, MOMENTS, Interrupted, Proxy, cut, proxy
from tests.support.replication import Replicated, replicated
from zrb_store import Store, StoreUnavailable, open_store

pytestmark = [
    pytest.mark.parametrize("location", ["postgresql"], indirect=True),
    pytest.mark.unpooled,
    pytest.mark.slow,
]

UNKNOWN = r"^[^\n]*crashed or changed; the change may have been made[^\n]*$"


def cut_off(servers: Replicated) -> None:
    """Let the standby, which has all of the log, receive no more of it."""
    with servers.primary.connect() as primary, servers.standby.connect() as standby:
        sql = "SELECT pg_current_wal_lsn() = replay_lsn FROM pg_stat_replication"
        wait_until(lambda: primary.execute(sql).fetchone() == (True,), lambda: "the standby is behind")
        standby.execute("ALTER SYSTEM SET primary_conninfo = ''")
        standby.execute("SELECT pg_reload_conf()")
        sql = "SELECT count(*) FROM pg_stat_replication"
        wait_until(lambda: primary.execute(sql).fetchone() == (0,), lambda: "the standby is still connected")


def reuse_numbers(servers: Replicated) -> None:
    """Commit many transactions on the standby that took over: it gives numbers that the old primary had given."""
    with servers.standby.connect() as connection:
        for _ in range(20):
            assert connection.execute("SELECT txid_current()").fetchone()


def through(between: Proxy, servers: Replicated) -> str:
    """Return a URL that leads to the primary by a proxy, and to the standby directly."""
    return servers.url.replace(str(servers.primary.folder).replace("/", "%2F"), str(between.folder).replace("/", "%2F"))


def lose(store: Store, between: Proxy, moment: str, then: Callable[[], None]) -> None:
    """Cut the connection around the next COMMIT, and do something before the next one is opened."""
    transaction = store.database._connection()
    transaction.driver = Interrupted(transaction.driver, then)
    cut(between, moment)


@pytest.mark.promise(number=8)
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_failover_around_a_commit(location: str, moment: str) -> None:
    """The rows of attempts tell what became of it."""

    def fail_over() -> None:
        servers.fail_over()
        reuse_numbers(servers)

    with replicated() as servers, proxy(servers.primary.folder) as between:
        with open_store(through(between, servers)) as store, store.session("s").run() as run:
            attempt = run.begin("load")
            attempt.xcom["q"].push(0)
            lose(store, between, moment, fail_over)
            attempt.complete("done")
            assert between.cut_at is None
        with open_store(servers.url) as store:
            assert list(store.session("s").xcom["q"]) == [0]
            assert list(store.session("s").xcom["load"]) == ["done"]


@pytest.mark.promise(number=8)
def test_a_failover_after_a_commit_of_which_no_row_tells(location: str) -> None:
    """test_lost_commits.py has the other moment, with a crash."""

    def fail_over() -> None:
        servers.fail_over()
        reuse_numbers(servers)

    with (
        replicated() as servers,
        proxy(servers.primary.folder) as between,
        open_store(through(between, servers)) as store,
    ):
        queue = store.session("s").xcom["q"]
        queue.push(0)
        lose(store, between, AFTER, fail_over)
        with pytest.raises(StoreUnavailable, match=UNKNOWN):
            queue.extend([1, 2])
        assert list(queue) == [0, 1, 2]


@pytest.mark.promise(number=8)
def test_a_commit_that_the_standby_never_got(location: str) -> None:
    """An asynchronous standby takes over, and gives the number of the lost transaction to one that it commits."""
    numbers: list[str] = []

    def fail_over() -> None:
        servers.fail_over()
        reuse_numbers(servers)

    with (
        replicated(synchronous=False) as servers,
        proxy(servers.primary.folder) as between,
        open_store(through(between, servers)) as store,
        store.session("s").run() as run,
    ):
        attempt = run.begin("load")
        cut_off(servers)
        begin = store.database.dialect.begin

        def noted(driver: Any) -> Any:
            revision, ticket = begin(driver)
            assert ticket is not None
            numbers.append(ticket.number)
            return revision, ticket

        store.database.dialect.begin = noted  # type: ignore[method-assign]
        lose(store, between, AFTER, fail_over)
        attempt.complete("done")
        assert list(store.session("s").xcom["load"]) == ["done"]
        with servers.standby.connect() as admin:
            (status,) = admin.execute("SELECT txid_status(%s)", [numbers[0]]).fetchone() or [None]
        assert status == "committed"  # another transaction with the number that was lost


@pytest.mark.promise(number=8)
def test_a_store_is_used_across_failovers(location: str) -> None:
    """Processes push, consume and run workflows meanwhile; `python -m tests.faults.failovers` does it twenty times."""
    figures = failovers.fail_over(1)
    assert figures.failovers == 1
    assert figures.consumed > 0
    assert figures.tasks > 0
