"""Values and their lives say in a page what they say on a terminal."""

from __future__ import annotations

import contextlib
import datetime
import decimal
import json
import shlex
import uuid
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.page.browser.reports import write
from tests.support.commands import Commands
from tests.support.terminals import JOINED
from zrb_store import Store, codec
from zrb_store.inspect.trace import trace
from zrb_store.masking import printable
from zrb_store.operations.values import pop, push
from zrb_store.records import iso
from zrb_store.render.life import row_of_event
from zrb_store.render.readable import readable

VALUES: list[Any] = [
    "text", "", 'quo"te\n', 1, -0.5, 1.0, 1e22, 1e-7, 2**60, 2**53, True, None, float("nan"), float("-inf"),
    [], [1, [2.0]], {}, {"a": [1, {"b": None}]}, (), (1,), (1, "b"), {1, 2}, set(), frozenset(), frozenset({3}),
    {1: "a", (2,): 2.0}, OrderedDict(a=1), {"$": 1}, b"\x00a'\\\xff\t", bytearray(b"'\""), decimal.Decimal("24.90"),
    datetime.date(2026, 11, 24), datetime.datetime(2026, 11, 24, 3, 12, 45), datetime.time(3, 12),
    uuid.UUID(int=7), PurePosixPath("/srv/a b"), [decimal.Decimal("1.10")],
    datetime.timedelta(days=2, hours=3, microseconds=5), datetime.timedelta(seconds=-1), datetime.timedelta(days=-1),
    datetime.timedelta(microseconds=-1), datetime.datetime(2026, 11, 24, tzinfo=datetime.UTC),
    datetime.timezone(datetime.timedelta(hours=-5, minutes=-30)),
    datetime.timezone(datetime.timedelta(hours=1), "here"),
]  # fmt: skip


def test_a_page_shows_values_as_a_terminal_does(store: Store, tmp_path: Path, open_file: Callable[..., Page]) -> None:
    store.session("s").xcom["q"].extend(VALUES)
    page = open_file(write(store, "s", tmp_path))
    shown = page.evaluate(
        """async () => (await Page.read(document.getElementById("description"))).queues.q.values
            .map((value) => Readable.readable(value.value, 10000))"""
    )
    assert shown == [readable(codec.to_json(codec.encode(value).data)) for value in VALUES]


def test_a_part_of_a_value_reads_as_the_value_would_and_its_text_is_what_is_stored(
    store: Store, tmp_path: Path, open_file: Callable[..., Page]
) -> None:
    tree = {"left": datetime.timedelta(seconds=90), "pair": (1, b"x"), "by day": {1: decimal.Decimal("1.10")}}
    store.session("s").xcom["q"].push(tree)
    page = open_file(write(store, "s", tmp_path))
    page.evaluate("Page.select('s/q#1')")
    detail = page.locator(".value-detail")
    detail.get_by_role("button", name="Tree").click()
    for each in detail.locator(".branch .branch > summary").all():
        each.click()
    assert detail.locator(".leaf").all_inner_texts() == ["left: 0:01:30", "0: 1", "1: b'x'", "1: 1.10"]
    detail.get_by_role("button", name="Text").click()
    assert json.loads(detail.locator(".value-text").inner_text()) == codec.to_json(codec.encode(tree).data)


def test_a_page_keeps_the_joiners_that_a_terminal_keeps(
    store: Store, tmp_path: Path, open_file: Callable[..., Page]
) -> None:
    text = f"{JOINED} \u200cx a\u200db é\u200d\u200dé \u2067rtl\u2069\u200f"
    store.session("s").xcom["q"].push(text)
    page = open_file(write(store, "s", tmp_path))
    assert page.evaluate("(text) => Page.el('i', {}, text).textContent", text) == printable(text)


EVENTS = """
async (id) => {
    const found = await Page.read(document.getElementById("description"));
    const value = Object.values(found.queues).flatMap((queue) => queue.values).find((each) => each.id === id);
    const told = Lives.life(Lives.read(found), value);
    return told.map(({ at, event, by, note }) => [Page.time(at, "exact").slice(11, 26), event, by, note]);
}
"""


@pytest.mark.promise(number=14)
@pytest.mark.parametrize("name", ["night", "inbox", "dead"])
def test_the_life_of_a_value_is_that_of_trace(
    night: Store, tmp_path: Path, open_file: Callable[..., Page], name: str
) -> None:
    queue = night.session("dead").xcom["files"]
    queue.max_deliveries = 1
    queue.extend(["a", "b"])
    for _ in range(2):
        with contextlib.suppress(ZeroDivisionError), night.session("worker").run() as run, run.attempt("work"):
            queue.pop()
            raise ZeroDivisionError
    by_hand = night.session("inbox").xcom["by hand"]
    by_hand.extend(["by a step", "c"])
    with night.session("other").run() as run, run.attempt("work") as attempt:
        attempt.step("take it", by_hand.pop)
    push(night.database, "inbox", "by hand", codec.encode("d"), None)
    pop(night.database, "inbox", "by hand", None)
    page = open_file(write(night, name, tmp_path), timezone_id="UTC")
    for value in page.evaluate(
        """async () => Object.values((await Page.read(document.getElementById("description"))).queues)
            .flatMap((queue) => queue.values.map((value) => value.id))"""
    ):
        of, _, seq = value.partition("/")[2].rpartition("#")
        rows = map(row_of_event, trace(night.database, name, of, int(seq)).events)
        told = [
            [str(iso(row.at))[11:26], row.event, row.by, row.note]
            for row in rows
            if row.event not in ("moved", "copied from", "copied to")
        ]
        assert page.evaluate(EVENTS, value) == told, value


def test_the_command_below_a_value_prints_it(
    store: Store, command: Commands, tmp_path: Path, open_file: Callable[..., Page]
) -> None:
    store.session("s").xcom["my queue"].extend(["first", "second"])
    page = open_file(write(store, "s", tmp_path))
    page.evaluate("Page.select('s/my queue#1')")
    program, *args = shlex.split(page.locator(".value-detail code.command").inner_text())
    assert program == "zrb-store"
    assert command.ok(*args) == "first\n"
