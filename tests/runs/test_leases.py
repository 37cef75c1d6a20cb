"""Only one process runs a session: leases expire, are renewed and taken over, by the clock of the database."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support.attempts import start
from tests.support.clocks import turn_until
from tests.support.postgres import wait_until
from tests.support.processes import Child
from tests.support.rows import all_rows, query
from tests.support.runners import run_in_a_forked_child, run_until_told, with_a_skewed_clock
from zrb_store import LeaseLost, SessionBusy, Store, StoreUnavailable, open_store
from zrb_store.db.clock import Clock
from zrb_store.db.clock import clock as process_clock
from zrb_store.operations.prune import Policy, prune
from zrb_store.operations.sessions import remove_sessions
from zrb_store.queries import lease as lease_queries
from zrb_store.runtime import lease
from zrb_store.testing import expire_lease

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("sound")]

ON_POSTGRESQL = pytest.mark.parametrize("location", ["postgresql"], indirect=True)


@contextmanager
def runner(location: str, store: Store, seconds: float) -> Iterator[tuple[Child, list[str]]]:
    """Start a process that runs the session `flow` and has taken "a"; yield it and the names of its writes."""
    store.session("shared").xcom["q"].extend(["a", "b", "c"])
    with Child(run_until_told, location, "flow", seconds) as child:
        assert child.receive() == (1, "a")
        yield child, child.receive()


def write(child: Child, what: str) -> Exception | None:
    """Let the child write, and return the error or None."""
    child.send(what)
    answer: Exception | None = child.receive()
    return answer


def until(store: Store, status: str) -> None:
    wait_until(lambda: store.session("flow").status == status, lambda: f"the session is not {status}")


@pytest.mark.promise(number=5)
def test_a_stopped_run_that_was_taken_over_changes_no_row(store: Store, location: str) -> None:
    """No kind of write gets through, as when a laptop slept (guarantees.md, promise 5)."""
    with runner(location, store, 1) as (child, writes):
        child.stop_between_writes(store)
        until(store, "stale")
        outlast_suspicion(store)
        with store.session("flow").run() as run:
            assert run.number == 2
            assert list(store.session("shared").xcom["q"]) == ["a", "b", "c"]
            with run.attempt("load") as attempt:
                assert attempt.number == 2
                before = all_rows(store, but=("zrb_run",))
                child.resume()
                for name in writes:
                    if name != "fork":
                        error = write(child, name)
                        assert isinstance(error, LeaseLost), (name, error)
                        assert "session flow was taken over" in str(error)
                assert all_rows(store, but=("zrb_run",)) == before
                assert [tuple(row) for row in query(store, "SELECT number, status FROM zrb_run ORDER BY id")] == [
                    (1, "lost"),
                    (2, None),
                ]
                child.send(None)
                assert child.receive() is True  # the value of run.lost


def test_a_stopped_run_that_nobody_took_over_goes_on(store: Store, location: str) -> None:
    with runner(location, store, 1) as (child, _):
        child.stop_between_writes(store)
        until(store, "stale")
        child.resume()
        assert write(child, "push") is None
        until(store, "running")
        assert write(child, "complete") is None
        assert write(child, "end") is None
    assert store.session("flow").status == "completed"


@pytest.mark.promise(number=5)
def test_a_lease_is_renewed_for_as_long_as_its_process_lives(store: Store, location: str) -> None:
    """A fork of the process makes no difference."""
    with runner(location, store, 1) as (child, _):
        assert write(child, "fork") is None
        for _ in range(5):  # five renewals take longer than the lease lasts
            wait_for_renewal(store)
        with pytest.raises(SessionBusy, match=f"pid {child.pid}"):
            store.session("flow").run().start()
        child.kill()
        assert start_at_once(store) == 2


def test_a_forked_child_renews_its_own_lease(store: Store, location: str) -> None:
    with Child(run_in_a_forked_child, location, 1) as child:
        pid = child.receive()
        until(store, "running")
        for _ in range(5):
            wait_for_renewal(store)
        with pytest.raises(SessionBusy, match=f"pid {pid}"):
            store.session("flow").run().start()


def expiry(store: Store) -> int:
    return int(query(store, "SELECT max(lease_expires_at) FROM zrb_run")[0][0])


def wait_for_renewal(store: Store) -> None:
    end = expiry(store)
    wait_until(lambda: expiry(store) > end, lambda: "the lease is not renewed any more")


def start_at_once(store: Store) -> int:
    with store.session("flow").run() as run:
        return run.number


@pytest.mark.promise(number=5)
@pytest.mark.parametrize(
    "elsewhere", [{"boot_id": "another machine"}, {"pid_namespace": "another container"}, {"boot_id": None}]
)
def test_a_run_whose_process_cannot_be_looked_at_is_waited_for(
    store: Store, location: str, elsewhere: dict[str, str | None]
) -> None:
    [(column, text)] = elsewhere.items()
    with runner(location, store, 60) as (child, _):
        child.kill()
    where = "NULL" if text is None else f"'{text}'"
    store.database.transact(lambda t: t.driver.execute(f"UPDATE zrb_run SET {column} = {where}"))
    assert store.session("flow").status == "running"
    with pytest.raises(SessionBusy):
        store.session("flow").run().start()
    expire_lease(store.session("flow"))
    assert store.session("flow").status == "stale"
    outlast_suspicion(store)
    assert start_at_once(store) == 2


def outlast_suspicion(store: Store) -> None:
    """Find a lease that has expired as somebody who wants to start does, and let 20 s pass."""
    for seconds in (20, 5):
        with pytest.raises(SessionBusy, match=f"which has not renewed its lease: start again in {seconds} s"):
            store.session("flow").run().start()
        store.database.transact(lambda t: t.driver.execute("UPDATE zrb_run SET suspected_at = suspected_at - 15000000"))


@pytest.mark.promise(number=5)
def test_a_process_at_work_keeps_its_session_without_a_lease(store: Store, location: str) -> None:
    """A clock that is ahead finds every lease expired, and one call may keep the renewal waiting."""
    ours = start(store, "ours")
    with runner(location, store, 60) as (child, _):
        store.database.transact(lambda t: t.driver.execute("UPDATE zrb_run SET lease_expires_at = 1"))
        with pytest.raises(SessionBusy, match=f"being run by pid {child.pid} .*, or end it with `zrb-store stop flow`"):
            store.session("flow").run().start()
        with pytest.raises(SessionBusy, match=r"wait for it$"):
            store.session("ours").run().start()
        with pytest.raises(SessionBusy):
            remove_sessions(store.database, "flow")
        assert [*prune(store.database, Policy(statuses=("stale",), keep_last=0))] == []
        assert write(child, "complete") is None
        assert write(child, "end") is None
    ours.end("completed")
    assert store.session("flow").status == "completed"


def test_the_status_stale_is_computed_and_never_stored(store: Store) -> None:
    start(store, "flow").begin("load")
    expire_lease(store.session("flow"))
    assert store.session("flow").status == "stale"
    assert [record.status for record in store.sessions()] == ["stale"]
    assert query(store, "SELECT status FROM zrb_session") == [("running",)]
    assert query(store, "SELECT status FROM zrb_attempt") == [("running",)]
    start(store, "flow")
    assert query(store, "SELECT status FROM zrb_attempt") == [("lost",)]
    assert store.session("flow").status == "running"


@pytest.mark.promise(number=5)
@ON_POSTGRESQL
@pytest.mark.parametrize("seconds", [3600, -3600])
def test_a_wrong_clock_on_one_machine_changes_nothing(store: Store, location: str, seconds: int) -> None:
    """A clock an hour ahead would find every lease expired; one an hour behind would create expired leases."""
    ours = store.session("ours").run().start()
    with Child(with_a_skewed_clock, location, seconds) as child:
        child.send("ours")
        assert isinstance(child.receive(), SessionBusy)
        assert not ours.lost
        child.send("theirs")
        assert child.receive() == 1
        with pytest.raises(SessionBusy):
            store.session("theirs").run().start()
        assert {record.name: record.status for record in store.sessions("running")} == {
            "ours": "running",
            "theirs": "running",
        }
        [[age]] = query(store, "SELECT extract(epoch FROM clock_timestamp()) * 1000000 - pushed_at FROM zrb_value")
        assert 0 <= age < 600_000_000
        child.send(None)
        child.join()


class TestRenewal:
    """The thread that renews leases."""

    def test_it_survives_whatever_goes_wrong(self, store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
        calls = []
        errors: list[Exception] = [StoreUnavailable("away"), RuntimeError("a bug")]
        renew = lease_queries.renew

        def failing_renew(*arguments: Any) -> Any:
            calls.append(arguments)
            if errors:
                raise errors.pop()
            return renew(*arguments)

        monkeypatch.setattr(lease, "renew", failing_renew)
        with store.session("flow").run():
            end = expiry(store)
            turn_until(clock, lambda: expiry(store) > end, lambda: "the lease is not renewed any more")
        assert len(calls) >= 3

    def test_it_tells_a_run_that_its_lease_is_lost(self, store: Store, clock: Clock) -> None:
        run = store.session("flow").run().start()
        store.database.transact(lambda t: t.driver.execute("UPDATE zrb_session SET fence = 2"))
        turn_until(clock, lambda: run.lost, lambda: "the run does not notice it")
        store.database.transact(lambda t: t.driver.execute("UPDATE zrb_session SET fence = 1"))

    def test_it_ends_with_the_last_lease_and_starts_again(self, store: Store) -> None:
        for name in ("one", "two"):
            with store.session(f"{name}-a").run(), store.session(f"{name}-b").run():
                assert renewal_runs()
            wait_until(ended, lambda: "the thread does not end")

    def test_a_lease_that_follows_at_once_is_not_renewed_at_once(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The thread is woken for the end of the last lease, and finds the next one. Its file would stay open."""
        wait_until(ended, lambda: "the thread of earlier tests does not end")
        renewed: list[Any] = []
        waits = threading.Semaphore(0)

        def noted_renew(*arguments: Any) -> bool:
            renewed.append(arguments)
            return True

        monkeypatch.setattr(lease, "renew", noted_renew)
        wait = process_clock.wait

        def counted_wait(condition: Any, seconds: float) -> bool:
            waits.release()
            return wait(condition, seconds)

        monkeypatch.setattr(process_clock, "wait", counted_wait)
        run = store.session("one").run().start()
        assert waits.acquire(timeout=60)
        renewed.clear()
        with lease._renewal._changed:  # the thread cannot look in between
            run.end("completed")
            store.session("two").run().start()
        assert waits.acquire(timeout=60)
        assert renewed == []

    def test_a_closed_store_ends_its_leases(self, location: str) -> None:
        with open_store(location) as store:
            store.session("flow").run().start()
        wait_until(ended, lambda: "the thread does not end")
        with open_store(location) as store:
            assert store.session("flow").status == "running"  # until the lease expires, since this process is alive

    def test_a_lease_that_is_being_renewed_can_be_expired(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        """`expire_lease` waits for the renewal, which would give the lease back after it."""
        under_way, expired = threading.Event(), threading.Event()
        renew = lease_queries.renew

        def late_renew(*arguments: Any) -> Any:
            under_way.set()
            expired.wait(0.5)  # comes only if `expire_lease` does not wait
            return renew(*arguments)

        monkeypatch.setattr(lease, "renew", late_renew)
        store.session("flow").run().start()
        lease.set_duration(60.0)  # renews all leases now
        assert under_way.wait(60)
        expire_lease(store.session("flow"))
        expired.set()
        wait_until(ended, lambda: "the thread does not end")
        assert start_at_once(store) == 2


def ended() -> bool:
    lease.set_duration(60.0)  # makes it forget the leases of closed stores of other tests
    return not renewal_runs()


def renewal_runs() -> bool:
    return any(thread.name == "zrb-store-lease" for thread in threading.enumerate())
