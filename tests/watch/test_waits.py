"""A session that waits: somebody is told what it asks, and `check` reports it past its deadline."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from tests.support.commands import Commands
from tests.support.waits import set_deadlines, start
from tests.watch.alerts import Told
from zrb_store import Store


@pytest.mark.promise(number=18)
def test_it_is_told_and_counted_and_reported_when_it_is_late(store: Store, command: Commands, told: Told) -> None:
    start(store, task="refund", path=["shop", "refund"], project="/srv/shop")
    [one] = told.all()
    question, answer = "for approve, 2 d left: Refund 120?", """zrb-store push shop approve '"yes"'"""
    assert (one["EVENT"], one["ERROR"], one["REMEDY"]) == ("waiting", question, answer)
    assert command("check").code == 0
    [stats] = json.loads(command.ok("stats", "--format", "json"))
    assert (stats["runs"], stats["waits"], stats["completed_share"]) == (1, 1, None)
    assert stats["waited_seconds"] >= 0
    assert "zrb_store_waited_seconds" in command.ok("stats", "--format", "prometheus")
    set_deadlines(store, timedelta(hours=3))
    late = command("check")
    assert late.code == 1
    assert "session shop (refund): for approve, 3 h late: Refund 120?; `zrb xcom resume shop --here`" in late.out
