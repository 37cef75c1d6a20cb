"""The data flow: each value is a line from its pusher through its queue to its taker, and can be followed."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.page.browser import hostile
from tests.page.browser.reports import processor_time, write
from tests.support.attempts import failing
from zrb_store import Store, open_store

# Draw a part of the page anew, until it is laid out.
REDRAW = """async (name) => {
  const description = await Page.read(document.getElementById("description"));
  const element = document.querySelector(`section[data-part=${name}] .drawing`);
  ({ Flow, Moment })[name].draw(element, description, Page);
  element.getBoundingClientRect();
}"""


def rows(page: Page) -> list[str]:
    return [str(each.get_attribute("aria-label")) for each in page.locator("#flow .row").all()]


def row(page: Page, label: str) -> Locator:
    return page.locator("#flow .row").and_(page.get_by_role("button", name=re.compile("^" + re.escape(label))))


def lit_lines(page: Page) -> list[str]:
    """Return the kinds of the lines that are lit."""
    return [str(each.get_attribute("class")).split()[1] for each in page.locator("#flow .line.lit").all()]


@pytest.fixture
def flow(store: Store, tmp_path: Path, open_file: Callable[..., Page]) -> Page:
    """The page of a session in which values are taken, come back, are moved and are retracted."""
    with store.session("etl").run() as run:
        with run.attempt("extract") as attempt:
            attempt.xcom["files"].extend(["a.csv", "b.csv", "c.csv"])
            attempt.complete()

        def load() -> None:
            files = store.session("etl").xcom["files"]
            store.session("etl").xcom["done"].push(files.pop())

        failing(run, "load", load)
        with run.attempt("load") as attempt:
            attempt.xcom["done"].push(attempt.xcom["files"].pop())
            attempt.xcom["files"].rotate(1)
            attempt.complete()
    return open_file(write(store, "etl", tmp_path))


@pytest.mark.promise(number=14)
def test_each_value_says_its_life(flow: Page) -> None:
    assert rows(flow) == [
        "c.csv (files#0), pushed by load#2 (continues etl/files#3), live",
        "a.csv (files#1), pushed by extract#1, taken by load#1, given back by load#1 (failed, Broken), taken by load#2",
        "b.csv (files#2), pushed by extract#1, live",
        "c.csv (files#3), pushed by extract#1, removed by load#2",
        "a.csv (done#1), pushed by load#1, retracted by load#1 (load#1 was given back)",
        "a.csv (done#2), pushed by load#2, live",
    ]
    assert flow.locator("#flow .actor").evaluate_all("(all) => all.map((each) => each.dataset.status)") == [
        "completed",
        "completed",
    ]


@pytest.mark.promise(number=14)
def test_a_click_lights_the_whole_way_of_a_value(flow: Page) -> None:
    row(flow, "a.csv (files#1)").click()
    assert flow.evaluate("Page.selected") == "etl/files#1"
    assert lit_lines(flow) == ["push", "take", "back"]
    assert sorted(flow.locator("#flow .actor.lit .name").all_text_contents()) == ["extract", "load"]
    row(flow, "c.csv (files#3)").click()
    assert lit_lines(flow) == ["push", "push", "take"], "the place that it was moved to is lit too"
    row(flow, "c.csv (files#3)").click()
    assert flow.evaluate("Page.selected") is None
    assert lit_lines(flow) == []


@pytest.mark.promise(number=14)
def test_the_keyboard_reaches_every_value(flow: Page) -> None:
    row(flow, "c.csv (files#0)").focus()
    flow.keyboard.press("ArrowDown")
    flow.keyboard.press("Enter")
    assert flow.evaluate("Page.selected") == "etl/files#1"
    expect(flow.locator("#flow .flow-said")).to_contain_text("a.csv (files#1), pushed by extract#1, taken by load#1")
    flow.keyboard.press("ArrowRight")
    expect(row(flow, "a.csv (done#1)")).to_be_focused()
    flow.keyboard.press("ArrowLeft")
    expect(row(flow, "c.csv (files#0)")).to_be_focused()
    assert flow.locator("#flow .row[tabindex='0']").count() == 1


def test_a_value_that_is_selected_elsewhere_is_lit(flow: Page) -> None:
    flow.evaluate("Page.select('etl/done#1')")
    expect(row(flow, "a.csv (done#1)")).to_have_attribute("aria-pressed", "true")
    assert lit_lines(flow) == ["push"]


def test_hostile_names_are_text(store: Store, tmp_path: Path, open_file: Callable[..., Page]) -> None:
    hostile.moved_and_back(store, "hostile")
    page = open_file(write(store, "hostile", tmp_path))
    assert page.locator("#flow .queue title", has_text="queue <script>alert(1)</script>").count() == 1
    assert page.locator("#flow script, #moment script").count() == 0


def test_parties_outside_and_other_sessions_are_nodes(
    store: Store, tmp_path: Path, open_file: Callable[..., Page]
) -> None:
    hostile.poisoned(store, "poisoned")
    page = open_file(write(store, "poisoned", tmp_path))
    names = page.locator("#flow .actor title").all_text_contents()
    assert "outside any task" in names
    assert "session 9 other sessions" in names
    states = [each.get_attribute("data-state") for each in page.locator("#flow .row").all()]
    assert states == ["dead", "taken", "retracted", "taken"]
    hostile.steps(store, "steps")
    page = open_file(write(store, "steps-inbox", tmp_path))
    assert "session steps, another session" in page.locator("#flow .actor title").all_text_contents()
    page = open_file(write(store, "steps", tmp_path))
    assert "step take, given back, step of convert" in page.locator("#flow .actor title").all_text_contents()


@pytest.mark.promise(number=14)
@pytest.mark.long
def test_100_000_values_are_drawn_at_once(tmp_path: Path, open_file: Callable[..., Page]) -> None:
    with open_store(tmp_path / "large.db") as store, store.session("large").run() as run:
        with run.attempt("make") as attempt:
            for start in range(0, 100_000, 10_000):
                attempt.xcom["rows"].extend(list(range(start, start + 10_000)))
            attempt.complete()
        rows_of = store.session("large").xcom["rows"]
        failing(run, "load", lambda: [rows_of.pop_many(5_000) for _ in range(4)])
        with run.attempt("load") as attempt:
            for _ in range(4):
                attempt.xcom["rows"].pop_many(5_000)
            attempt.complete()
        file = write(store, "large", tmp_path)
    page = open_file(file)
    pushed = int(
        page.evaluate("Page.read(document.getElementById('description')).then((it) => Lives.read(it).queues[0].count)")
    )
    assert pushed > 90_000
    (taken, live) = sorted(rows(page))
    assert re.fullmatch(r"[\d,]+ values of rows, pushed by make, given back by load, taken by load", taken)
    assert live == "80,000 values of rows, pushed by make, live"
    page.locator("#flow .row").first.click()
    assert lit_lines(page) == ["push", "take", "back"]
    for part in ("Flow", "Moment"):
        assert processor_time(page, lambda part=part: page.evaluate(REDRAW, part)) < 20  # type: ignore[misc]
    slider = page.get_by_role("slider", name="Moment")
    slider.focus()
    assert page.locator("#moment .token").count() < 20
    for key, said in (("Home", "run 1 began"), ("End", "load#2 completed")):
        assert processor_time(page, lambda key=key: slider.press(key)) < 5  # type: ignore[misc]
        expect(page.locator("#moment .said")).to_contain_text(said)
    expect(page.locator("#moment .between")).to_have_text("… 79,987 live …")
    assert (page.locator("#moment .tally").all_inner_texts())[0] == "80,000 live"


def test_of_very_many_queues_some_are_drawn_and_the_rest_is_counted(
    tmp_path: Path, open_file: Callable[..., Page]
) -> None:
    with open_store(tmp_path / "many.db") as store:
        with store.session("many").run() as run:
            for number in range(400):
                with run.attempt(f"task {number}") as attempt:
                    attempt.xcom[f"queue {number}"].push(number)
            with run.attempt("last") as attempt:
                attempt.complete([attempt.xcom[f"queue {number}"].pop() for number in range(0, 390, 10)])
        page = open_file(write(store, "many", tmp_path))
    assert page.locator("#flow .queue").count() == 100
    assert page.locator("#flow .graph .line.take").count() == 39
    expect(page.locator("#flow")).to_contain_text("301 more queues with fewer taken values are not drawn.")
    assert processor_time(page, lambda: page.evaluate(REDRAW, "Flow")) < 20
    page.evaluate("Page.select('many/queue 399#1')")
    assert lit_lines(page) == []
    slider = page.get_by_role("slider", name="Moment")
    slider.focus()
    lanes = page.locator("#moment .queue-lane:visible h3 .mono")
    slider.press("Home")
    expect(lanes).to_have_text([f"queue {number}" for number in range(40)])
    slider.press("End")
    changed = lanes.all_inner_texts()
    assert len(changed) == 40
    assert changed[-1] == "last"
    assert {"queue 380", "queue 370", "queue 20"} <= set(changed)
