"""The card in a real browser: cause, command and counts come first at every width, and nothing is lost on paper."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.page.browser.reports import faults, write
from tests.support.attempts import failing
from tests.support.consumers import two_deaths
from zrb_store import Store

Open = Callable[..., Page]
ERROR = 'could not connect to warehouse: FATAL: database "dwh" is starting up'


def night(store: Store) -> None:
    """Make a session of forty tasks, one of which fails twice while it holds a value."""
    session = store.session("etl")
    session.xcom["files"].extend([f"orders-{number:02}.csv" for number in range(12)])
    for _ in range(2):
        with contextlib.suppress(ConnectionError), session.run(task="publish") as run:
            for number in range(39):
                run.task(f"extract-{number}", lambda: {"rows": 7})
            with run.attempt("join-5") as attempt:
                attempt.xcom["files"].pop()
                raise ConnectionError(ERROR)


@pytest.mark.promise(number=14)
def test_the_cause_the_command_and_the_counts_come_first(
    store: Store, tmp_path: Path, open_file: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["/srv/etl.py"])  # a worker of pytest-xdist has no program
    night(store)
    two_deaths(store)
    for name, cause, counts in (
        ("etl", f"join-5 failed twice: ConnectionError: {ERROR}", ["39 tasks kept", "1 to run", "1 value comes back"]),
        ("inbox", "2 of 4 values died: ValueError: cannot decode corrupt-*", ["2 dead"]),
    ):
        file = write(store, name, tmp_path)
        for width in (1440, 390):
            page = open_file(file, viewport={"width": width, "height": 900}, reduced_motion="reduce")
            expect(page.locator(".headline")).to_have_text(cause)
            assert page.locator(".sum > span:not(.go)").all_inner_texts() == counts
            for part in (".headline", ".sum", ".go code"):
                box = page.locator(part).bounding_box()
                assert box is not None
                assert box["y"] + box["height"] < 600
            assert [(fault["scheme"], fault["id"]) for fault in faults(page)] == []
            assert page.evaluate("document.documentElement.scrollWidth") == width


@pytest.mark.parametrize("width", [1440, 390])
def test_many_causes_are_a_list_and_what_was_tried_again_is_pale(
    store: Store, tmp_path: Path, open_file: Open, width: int
) -> None:
    with contextlib.suppress(OSError), store.session("etl").run(task="publish") as run:
        for number in range(14):
            failing(run, f"load-{number}", list)
            if number % 2:
                run.task(f"load-{number}", int)
        raise OSError("the disk is full " * 20)
    page = open_file(write(store, "etl", tmp_path), viewport={"width": width, "height": 900}, reduced_motion="reduce")
    *failed, own = page.locator(".causes li").all_inner_texts()
    assert failed == [f"load-{number}#1: Broken" for number in (12, 10, 8, 6, 4, 2, 0)]
    assert own.startswith("run 1: OSError: the disk is full")
    pale = page.locator("header .picture .faded").all()
    assert [each.get_attribute("data-leads") for each in pale] == [f"attempt-load-{each}#1" for each in range(1, 14, 2)]
    assert [(fault["scheme"], fault["id"]) for fault in faults(page)] == []
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_the_error_opens_from_the_card_and_what_is_looked_at_is_in_the_address(
    store: Store, tmp_path: Path, open_file: Open
) -> None:
    night(store)
    file = write(store, "etl", tmp_path)
    page = open_file(file)
    assert page.locator("#timeline .lane-name").first.inner_text() == "join-5", "failing rows come first"
    page.locator("details[data-attempt='join-5#2'] summary").click()
    page.locator(".headline a").click()
    expect(page.locator("details[data-attempt='join-5#2'] .traceback")).to_be_visible()
    page.locator("header rect[data-leads='attempt-join-5#1']").hover()
    tip = page.get_by_role("tooltip")
    expect(tip).to_contain_text(ERROR)
    said = tip.inner_text()
    page.mouse.move(0, 0)
    expect(tip).to_be_hidden()
    page.locator("#timeline button.bar").first.hover()
    expect(tip).to_have_text(said, use_inner_text=True)
    page.locator("#timeline button.bar").first.click()
    assert page.evaluate("Page.addressed()") == "attempt-join-5#1"
    page.keyboard.press("/")
    page.keyboard.type("orders-07")
    assert page.evaluate("Page.addressed()") == "search=orders-07"
    expect(page.locator("#values .rows .name")).to_have_text(["files#8"])  # the rows follow what is typed
    page.locator("#values .rows .value-row").click()
    found = open_file(file.rename(tmp_path / "other.html"))
    assert found.locator("#value-detail h3").count() == 0
    found.goto(found.url + page.evaluate("location.hash"))
    found.reload()
    expect(found.locator("#value-detail h3")).to_contain_text("etl/files#8")


def test_paper_has_every_row(store: Store, tmp_path: Path, open_file: Open) -> None:
    night(store)
    page = open_file(write(store, "etl", tmp_path))
    folded = page.locator("#moment .results")
    assert folded.inner_text() == "▸ 39 results"
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("#timeline .lane").count() == 40
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    pages = page.pdf(format="A4").count(b"/Type /Page\n")
    assert 0 < pages <= 8
