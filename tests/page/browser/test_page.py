"""The live pages in a real browser."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from playwright.sync_api import Page, expect

from tests.page.browser.reports import faults
from tests.page.server import Server
from zrb_store import Store
from zrb_store.operations.sessions import remove_sessions

pytestmark = pytest.mark.slow


@pytest.fixture
def server(location: str) -> Iterator[Server]:
    """A running server on the store."""
    made = Server(location, "--no-token")
    yield made
    made.close()


@pytest.fixture
def open_page(server: Server, new_page: Callable[..., Page]) -> Callable[..., Page]:
    """Return a function that opens an address of the server, and waits until it is followed.

    `before` is a script that runs before those of the page.
    """

    def open_page(target: str = "", **settings: Any) -> Page:
        page = new_page(allowed=(server.address,), **settings)
        page.goto(server.address + target)
        if settings.get("java_script_enabled", True):
            expect(page.locator("#live-state")).to_have_attribute("data-state", "live")
        return page

    return open_page


@pytest.mark.promise(number=16)
def test_an_attempt_appears_and_ends_while_one_looks(store: Store, open_page: Callable[..., Page]) -> None:
    session = store.session("etl-1")
    with session.run(task="load") as run:
        # A page that was only loaded again now and then would not do for the test.
        page = open_page("session/etl-1", before="window.setInterval = () => 0")
        status = page.locator("header .status").first
        expect(status).to_have_text("running")
        text = page.locator("#timeline details.as-text")
        with run.attempt("load") as attempt:
            expect(text).to_contain_text("load#1")
            text.locator("summary").click()
            session.xcom["rows"].push("a value that just came")
            expect(page.locator("#values")).to_contain_text("just came")
            attempt.complete(1)
        expect(text).to_contain_text("completed")
    expect(status).to_have_text("completed")
    assert text.get_attribute("open") is not None, "what was open stays open"


def test_a_session_appears_in_the_list_while_one_types(filled: Store, open_page: Callable[..., Page]) -> None:
    page = open_page()
    page.get_by_label("Name").fill("etl-2")
    page.get_by_label("Compare etl-25").check()
    filled.session("just-made").xcom["q"].push(1)
    expect(page.get_by_role("link", name="just-made")).to_be_visible()
    expect(page.get_by_label("Name")).to_have_value("etl-2")
    expect(page.get_by_label("Compare etl-25")).to_be_checked()


def test_times_are_relative_at_once_and_exact_on_hover(filled: Store, open_page: Callable[..., Page]) -> None:
    page = open_page(before="window.setInterval = () => 0")  # it is not loaded again while nothing happens
    started = page.locator("td time").first
    expect(started).to_have_text(re.compile("^(just now|[1-9] min ago)$"))
    expect(started).to_have_attribute("title", re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d .* UTC$"))


def test_filters_lead_to_an_address_that_can_be_sent(
    filled: Store, server: Server, open_page: Callable[..., Page]
) -> None:
    page = open_page()
    page.get_by_label("Name").fill("etl-*")
    page.get_by_label("Status").select_option("failed")
    expect(page).to_have_url(f"{server.address}?name=etl-*&status=failed")
    expect(page.locator("tbody tr")).to_have_count(1)
    other = open_page("?name=etl-*&status=failed")
    expect(other.get_by_label("Name")).to_have_value("etl-*")
    other.get_by_role("link", name="Show all").click()
    expect(other.locator("tbody tr")).to_have_count(3)


def test_two_sessions_are_ticked_and_compared(filled: Store, server: Server, open_page: Callable[..., Page]) -> None:
    page = open_page()
    button = page.locator("#compare")
    expect(button).to_be_disabled()
    for name in ("inbox", "etl-24", "etl-25"):
        page.get_by_label(f"Compare {name}").check()
    expect(page.get_by_label("Compare inbox")).not_to_be_checked()  # the first one gives way
    button.click()
    expect(page).to_have_url(f"{server.address}compare?a=etl-24&b=etl-25")
    expect(page.locator(".differences tbody tr").first).to_be_visible()
    page.get_by_role("link", name="Swap them").click()
    expect(page.get_by_label("A", exact=True)).to_have_value("etl-25")


def test_a_click_on_a_run_leads_to_its_session(filled: Store, open_page: Callable[..., Page]) -> None:
    page = open_page("stats")
    plot = page.locator(".plot").first
    expect(plot).to_have_attribute("aria-label", re.compile("the last 2 runs: 1 completed, 1 failed; the longest took"))
    over = plot.locator(".u-over")
    box = over.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] - 3, box["y"] + box["height"] - 2)
    expect(plot.locator(".run")).to_contain_text("etl-25 completed")
    page.mouse.click(box["x"] + box["width"] - 3, box["y"] + box["height"] - 2)
    expect(page.get_by_role("heading", level=1)).to_have_text("etl-25")


def test_the_keyboard_reaches_everything(filled: Store, open_page: Callable[..., Page]) -> None:
    page = open_page()
    wanted = page.locator("a:visible, button:enabled:visible, input:visible, select:visible").count()
    reached = set()
    for _ in range(wanted + 3):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.outerHTML"))
    elements = page.locator("a:visible, button:enabled:visible, input:visible, select:visible").evaluate_all(
        "found => found.map(one => one.outerHTML)"
    )
    assert [one for one in elements if one not in reached] == []


TARGETS = ["", "?task=nix", "session/etl-24", "queues", "stats", "compare", "compare?a=etl-24&b=etl-25"]


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("location", ["sqlite"], indirect=True)
def test_axe_finds_no_fault_and_nothing_is_cut_off(
    filled: Store, server: Server, open_page: Callable[..., Page], width: int
) -> None:
    page = open_page(viewport={"width": width, "height": 850}, reduced_motion="reduce")
    for target in TARGETS:
        page.goto(server.address + target)
        expect(page.locator("#live-state")).to_have_attribute("data-state", "live")
        found = [(fault["scheme"], fault["id"], [node["html"] for node in fault["nodes"]]) for fault in faults(page)]
        assert (target, found) == (target, [])
        assert page.evaluate("document.documentElement.scrollWidth") <= width, target


@pytest.mark.parametrize("location", ["sqlite"], indirect=True)
def test_a_long_error_leaves_room_for_every_column(filled: Store, open_page: Callable[..., Page]) -> None:
    filled.database.execute(sa.text(f"UPDATE zrb_attempt SET error_message = '{'no such table ' * 30}' RETURNING 1"))
    page = open_page("", viewport={"width": 1440, "height": 850})
    expect(page.locator(".why")).to_be_visible()
    assert page.evaluate("(box => box.scrollWidth - box.clientWidth)(document.querySelector('.scroll'))") == 0


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("location", ["sqlite"], indirect=True)
def test_long_values_are_compared_side_by_side(store: Store, open_page: Callable[..., Page], width: int) -> None:
    for name in ("one", "two"):
        store.session(name).xcom["values"].push({"path": f"/srv/{name}/{'unbroken' * 60}"})
    page = open_page("compare?a=one&b=two", viewport={"width": width, "height": 850})
    a, b = (cell.bounding_box() for cell in page.locator(".differences td").all())
    assert a
    assert b
    assert a["x"] + a["width"] <= b["x"] + 1
    assert b["x"] + b["width"] <= width
    assert a["y"] == b["y"]


@pytest.mark.parametrize("location", ["sqlite"], indirect=True)
def test_without_javascript_all_is_there_as_text(filled: Store, open_page: Callable[..., Page]) -> None:
    page = open_page(java_script_enabled=False)
    page.get_by_role("link", name="etl-24").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("etl-24")
    expect(page.locator("#errors")).to_contain_text("no column 'price'")


@pytest.mark.parametrize("location", ["sqlite"], indirect=True)
def test_a_page_says_that_its_server_has_gone(filled: Store, server: Server, new_page: Callable[..., Page]) -> None:
    page = new_page(allowed=(server.address,), expected=("Failed to load resource",))
    page.goto(server.address)
    state = page.locator("#live-state")
    expect(state).to_have_attribute("data-state", "live")
    server.close()
    expect(state).to_have_text("The server does not answer.")
    expect(page.get_by_role("link", name="etl-24")).to_be_visible()


@pytest.mark.parametrize("location", ["sqlite"], indirect=True)
def test_a_page_says_that_its_session_was_removed(filled: Store, server: Server, new_page: Callable[..., Page]) -> None:
    page = new_page(allowed=(server.address,), expected=("Failed to load resource",))
    page.goto(server.address + "session/etl-24")
    expect(page.locator("#live-state")).to_have_attribute("data-state", "live")
    remove_sessions(filled.database, "etl-24")
    expect(page.locator("#live-state")).to_contain_text("there is no session")
