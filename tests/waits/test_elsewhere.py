"""What people do with sessions that wait: fork, copy, export, look back, prune; and clocks that are set."""

from __future__ import annotations

import contextlib
import json
from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.clocks import set_back
from tests.support.commands import Commands
from tests.support.rows import faults
from tests.support.waits import approve, parked, set_deadline, start
from zrb_store import SessionWaiting, Store, Waiting, open_store, step, wait
from zrb_store.attempt import Attempt
from zrb_store.errors import waiting_in
from zrb_store.operations import prune

pytestmark = [pytest.mark.promise(number=18), pytest.mark.usefixtures("sound")]


def plan_and_ask(attempt: Attempt) -> str:
    step("plan", int, "7")
    attempt.xcom["outside"].push(1)
    return str(approve())


@pytest.mark.slow
@pytest.mark.needs("transfer")
def test_a_copy_waits_and_continues(store: Store, command: Commands, tmp_path: Path) -> None:
    start(store, plan_and_ask)
    store.session("shop").xcom["approve"].push("yes")
    there = str(tmp_path / "there.db")
    command.ok("copy", store.database.url.render_as_string(hide_password=False), there)
    exported = command.ok("export", "shop")
    with open_store(there) as copy:
        assert copy.session("shop").status == "waiting"
        assert parked(copy)[0].text().startswith("for approve, 2 d left, which is there")
        assert start(copy, plan_and_ask) == "yes"
        assert faults(copy) == []
    exported = command.ok("export", "shop")
    command.ok("rm", "shop")
    command.ok("import", "-", stdin=exported)
    assert start(store, plan_and_ask) == "yes"


def test_a_fork_asks_again(store: Store) -> None:
    start(store, plan_and_ask)
    store.session("shop").xcom["approve"].push("yes")
    start(store, plan_and_ask)
    fork = store.fork("shop", from_task="refund")
    assert fork.status == "open"
    assert list(fork.xcom["approve"]) == []


def test_the_past_is_as_it_was(store: Store, command: Commands) -> None:
    start(store, plan_and_ask)
    waiting = json.loads(command.ok("show", "shop", "--at", "after:refund#1", "--format", "json"))
    assert (waiting["status"], waiting["tasks"][0]["status"], waiting["waits"]) == ("running", "waiting", [])
    store.session("shop").xcom["approve"].push("yes")
    start(store, plan_and_ask)
    before = json.loads(command.ok("show", "shop", "--at", "before:refund#2", "--format", "json"))
    assert before["tasks"][0]["status"] == "waiting"
    assert [value["state"] for value in before["queues"]["approve"]["values"]] == ["live"]


def test_retention_leaves_it_until_its_deadline(store: Store) -> None:
    policy = prune.Policy(older_than=timedelta(0))
    with store.session("shop").run() as run:
        for task in ("approve", "other"):
            with contextlib.suppress(Waiting):
                run.task(task, wait, task, timeout="1d")
    assert list(prune.prune(store.database, policy)) == []
    first, second = parked(store)
    set_deadline(store, first, timedelta(seconds=1))
    assert list(prune.prune(store.database, policy)) == []  # the other one still waits
    set_deadline(store, second, timedelta(seconds=1))
    assert [each.session for each in prune.prune(store.database, policy)] == ["shop"]
    start(store, lambda _: wait("approve"))
    assert list(prune.prune(store.database, policy)) == []


def test_only_the_deadline_follows_the_clock(store: Store) -> None:
    start(store)
    set_back(store, 24 * 3600)
    with pytest.raises(SessionWaiting, match="for approve, 3 d left"):
        start(store)
    set_back(store, -60 * 3600)
    with pytest.raises(TimeoutError):
        start(store)
    set_back(store, 240 * 3600)
    store.session("shop").xcom["approve"].push("yes")
    assert start(store) == "yes"


@pytest.mark.on_sqlite
def test_a_group_waits_if_it_has_nothing_else() -> None:
    waiting, nested = Waiting("mail"), Waiting("mail")
    assert waiting_in(BaseExceptionGroup("both", [waiting, ValueError()])) is None
    assert waiting_in(BaseExceptionGroup("both", [BaseExceptionGroup("one", [nested])])) is nested
