"""guarantees.md, promise 10: a live consumer keeps its value through an outage of the server or of its machine."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.faults.elsewhere import Elsewhere, lose_the_server, outlive, suspend, why_impossible
from tests.support.rows import faults, query, states
from zrb_store import Store
from zrb_store.queries import lease

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(why_impossible()), reason=f"no namespaces can be made here: {why_impossible()}"),
]
on_postgresql = pytest.mark.parametrize("location", ["postgresql"], indirect=True)
LEASE, SUSPICION = 2.0, 3.0  # seconds, in the ordinary tests


@pytest.fixture
def short_suspicion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "SUSPICION", SUSPICION)


@pytest.mark.promise(number=10)
@pytest.mark.usefixtures("short_suspicion")
def test_a_server_that_was_away_longer_than_a_lease() -> None:
    assert "no value changed hands" in lose_the_server(LEASE + 1, SUSPICION, LEASE)


@pytest.mark.promise(number=10)
@pytest.mark.on_sqlite
@pytest.mark.usefixtures("short_suspicion")
def test_a_machine_that_was_suspended(location: str) -> None:
    """Everything stands still: also those who might reclaim."""
    assert "no value changed hands" in outlive(location, LEASE, SUSPICION, suspend(LEASE + SUSPICION + 1))


@on_postgresql
@pytest.mark.usefixtures("short_suspicion")
class TestTwoHosts:
    @pytest.mark.promise(number=10)
    def test_a_live_holder_is_left_alone_and_a_dead_one_reclaimed_after_its_lease(
        self, location: str, store: Store
    ) -> None:
        inbox: Any = store.session("inbox").xcom["files"]
        inbox.extend(["a", "b"])
        with Elsewhere(location, "dies", LEASE) as dies, Elsewhere(location, "lives", LEASE) as lives:
            told = {dies.says(), lives.says()}
            assert told == {"took a", "took b"}
            hosts = "SELECT DISTINCT host, pid FROM zrb_run"
            assert query(store, hosts) == [("elsewhere", 1)], "the two of them look alike"
            dies.kill()
            killed = time.monotonic()
            with store.session("taker").run() as run:
                delivery = run.consumer(inbox).take()
                assert delivery is None, "nobody here can know that it is dead"
                for delivery in run.consume(inbox, wait=60):
                    with delivery as value:
                        waited = time.monotonic() - killed
                        break
                assert run.consumer(inbox).take() is None
            assert waited >= SUSPICION
            told.discard(f"took {value}")
            lives.go_on()
            assert lives.says() == told.pop().replace("took", "did")
        told_why = query(store, "SELECT DISTINCT reason FROM zrb_return")
        assert told_why == [("reclaimed by taker: its lease had expired",)]
        assert store.session("dies").status == "stale"
        assert faults(store) == []

    @pytest.mark.promise(number=10)
    def test_one_that_was_stopped_beyond_its_lease_changes_nothing(self, location: str, store: Store) -> None:
        inbox: Any = store.session("inbox").xcom["files"]
        inbox.push("a")
        with Elsewhere(location, "sleeper", LEASE) as sleeper:
            assert sleeper.says() == "took a"
            sleeper.stop()
            with store.session("taker").run() as run:
                for delivery in run.consume(inbox, wait=60):
                    with delivery as value:
                        store.session("done").xcom["files"].push(value)
                    break
            before = query(store, "SELECT * FROM zrb_value ORDER BY queue_id, seq")
            sleeper.resume()
            sleeper.go_on()
            assert "session sleeper was taken over" in sleeper.says()
        assert query(store, "SELECT * FROM zrb_value ORDER BY queue_id, seq") == before
        assert states(store, "done", "files") == [("a", "live")]
        assert faults(store) == []
