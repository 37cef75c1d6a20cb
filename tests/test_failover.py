"""The primary is killed, and its standby takes over: nothing that was acknowledged is lost or done twice."""

from __future__ import annotations

from typing import Any

import pytest

from tests import failovers
from tests.postgres import wait_until
from tests.proxy import AFTER, MOMENTS, Interrupted, Proxy, cut, proxy
from tests.replication import Replicated, replicated
from zrb_store import StoreUnavailable, open_store

pytestmark = [
    pytest.mark.parametrize("location", ["postgresql"], indirect=True),
    pytest.mark.unpooled,
    pytest.mark.slow,
]


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


@pytest.mark.promise(number=8)
@pytest.mark.parametrize("flushed", [True, False])
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_failover_around_a_commit(location: str, moment: str, flushed: bool) -> None:
    """The standby knows what became of it, whether it has the beginning of the transaction or not."""

    def fail_over() -> None:
        if flushed:  # the standby has all that was written up to now
            with servers.primary.connect() as admin:
                admin.execute("CREATE TABLE later ()")
        servers.fail_over()
        reuse_numbers(servers)

    with replicated() as servers, proxy(servers.primary.folder) as between:
        with open_store(through(between, servers)) as store:
            queue = store.session("s").xcom["q"]
            queue.push(0)
            transaction = store.database._connection()
            transaction.driver = Interrupted(transaction.driver, fail_over)
            cut(between, moment)
            queue.extend([1, 2])
            assert list(queue) == [0, 1, 2]
        with servers.standby.connect() as admin:
            assert admin.execute("SELECT count(*) FROM zrb_value").fetchone() == (3,)


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
    ):
        queue = store.session("s").xcom["q"]
        queue.push(0)
        cut_off(servers)
        transaction = store.database._connection()
        transaction.driver = Interrupted(transaction.driver, fail_over)
        begin = store.database.dialect.begin

        def noted(driver: Any) -> Any:
            revision, ticket = begin(driver)
            assert ticket is not None
            numbers.append(ticket.text.split(" ")[0])
            return revision, ticket

        store.database.dialect.begin = noted  # type: ignore[method-assign]
        cut(between, AFTER)
        queue.extend([1, 2])
        assert list(queue) == [0, 1, 2]
        with servers.standby.connect() as admin:
            (status,) = admin.execute("SELECT txid_status(%s)", [numbers[0]]).fetchone() or [None]
        assert status == "committed"  # another transaction with the number that was lost


@pytest.mark.promise(number=8)
def test_what_nobody_can_tell_is_said(location: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The standby that took over was restarted meanwhile, and has forgotten where it took over."""

    def fail_over() -> None:
        servers.fail_over()
        servers.standby.restart()

    with (
        replicated() as servers,
        proxy(servers.primary.folder) as between,
        open_store(through(between, servers)) as store,
    ):
        queue = store.session("s").xcom["q"]
        queue.push(0)
        transaction = store.database._connection()
        transaction.driver = Interrupted(transaction.driver, fail_over)
        cut(between, AFTER)
        with pytest.raises(StoreUnavailable, match=r"^[^\n]*crashed or changed; the change may have been made[^\n]*$"):
            queue.extend([1, 2])
        assert list(queue) == [0, 1, 2]


@pytest.mark.promise(number=8)
def test_a_store_is_used_across_failovers(location: str) -> None:
    """Processes push, consume and run workflows meanwhile; `python -m tests.failovers` does it twenty times."""
    figures = failovers.fail_over(2)
    assert figures.failovers == 2
    assert figures.consumed > 0
    assert figures.tasks > 0
