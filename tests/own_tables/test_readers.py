"""What readers say of a step that was committed to a user's database: where."""

from __future__ import annotations

import contextlib

import pytest

from tests.own_tables.shops import ANYWHERE, Shop, load
from tests.page.pages import Pages, description
from tests.support.commands import Commands
from tests.support.sessions import parse
from zrb_store import Store, step

pytestmark = [pytest.mark.promise(number=22)]


@ANYWHERE
def test_every_reader_says_where_it_was_committed(store: Store, shop: Shop, command: Commands, location: str) -> None:
    with contextlib.suppress(ZeroDivisionError), store.session("s").run() as run, run.attempt("load"):
        step("plain", len, "ab")
        step.transaction(shop.engine, "order", load, 1, 2)
        step.transaction(shop.engine, "fails", lambda connection: 1 // 0)
    assert "order (once, committed in shop.db) = 2" in " ".join(command.ok("show", "s").split())
    (task,) = parse("show", command.ok("show", "s", "--format", "json"))["tasks"]
    assert [each["note"] for each in task["steps"]] == [None, "committed in shop.db", None]
    (task,) = description(store.database, "s")["tasks"]
    assert [each["note"] for each in task["steps"]] == ['"ab"', "1, 2; committed in shop.db", "none"]
    with contextlib.closing(Pages(location)) as pages:
        texts = command.ok("report", "s"), pages("/session/s").text
    for page in texts:
        assert "order (once, committed in shop.db)" in page
    assert "shop.db" not in command.ok("report", "s", "--redact")
