"""Reports of large sessions in a real browser: they open at once, and scroll smoothly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.page.browser.reports import is_once_below, processor_time, write
from tests.page.documents import ATTEMPTS, STEPS, VALUES, Document, insert
from zrb_store import open_store

pytestmark = pytest.mark.slow

NewPage = Callable[..., Page]

SCROLL = """
async (list) => {
    for (let at = 0; at < 50; at++) {
        list.scrollTop += list.scrollHeight / 50;
        list.dispatchEvent(new Event("scroll"));  // and not when the next frame comes
        list.getBoundingClientRect();
        await new Promise(requestAnimationFrame);
    }
}
"""


@pytest.fixture(scope="module")
def many_values(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a session of 100,000 values."""
    folder = tmp_path_factory.mktemp("values")
    with open_store(folder / "store.db") as store:
        store.session("s").xcom["q"].push(0)
        insert(store, 100_000, VALUES)
        return write(store, "s", folder)


@pytest.fixture(scope="module")
def many_attempts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a session of 20,000 attempts and 20,000 steps."""
    folder = tmp_path_factory.mktemp("attempts")
    with open_store(folder / "store.db") as store:
        with store.session("s").run():
            pass
        insert(store, 20_000, ATTEMPTS)
        insert(store, 20_000, STEPS)
        return write(store, "s", folder)


@pytest.mark.long
@pytest.mark.promise(number=14)
def test_a_hundred_thousand_values_open_at_once_scroll_and_are_searched(many_values: Path, new_page: NewPage) -> None:
    assert many_values.stat().st_size <= 5_000_000
    queue = Document(many_values.read_text()).description["queues"]["q"]
    assert (queue["left_out"], len(queue["values"])) == (0, 100_000)
    page = new_page()
    # It takes 7 on an idle machine; to draw every value would take hundreds.
    assert is_once_below(20, page, lambda: page.goto(many_values.as_uri()))
    grid = page.get_by_role("grid")
    expect(grid).to_have_attribute("aria-rowcount", "100000")
    assert page.locator("#values .rows .value-row").count() < 50
    assert is_once_below(5, page, lambda: grid.evaluate(SCROLL))
    assert page.locator("#values .rows .value-row").count() < 50
    page.get_by_label("Search", exact=True).fill("98765.25")
    expect(page.locator("#values .rows .name")).to_have_text(["q#98765"])
    grid.focus()
    page.keyboard.press("ArrowDown")
    expect(page.locator(".value-detail h3")).to_contain_text("s/q#98765")


@pytest.mark.long
def test_many_attempts_and_steps(many_attempts: Path, new_page: NewPage) -> None:
    page = new_page()
    assert many_attempts.stat().st_size <= 5_000_000
    assert processor_time(page, lambda: page.goto(many_attempts.as_uri())) < 10
    chart = page.locator("#timeline")
    expect(chart.locator(".left-out")).to_contain_text(" earlier attempts and ")
    expect(chart.locator(".left-out code")).to_have_text("zrb-store show s --all")
    assert 1 <= chart.locator("button.bar").count() < 2000
    chart.get_by_role("button", name="Steps of load").click()
    body = chart.locator(".timeline-body")
    assert chart.locator(".lane").count() < 50
    assert processor_time(page, lambda: body.evaluate(SCROLL)) < 20
    assert chart.locator(".lane").count() < 50
    expect(chart.locator(".lane.step").last).to_contain_text("page 20000")
