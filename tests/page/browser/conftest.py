"""A real browser: Chromium, driven by Playwright. One browser for the tests of this folder, a context for each page.

A page may ask the network for nothing but what its test allows, and may print no error to its console.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.support.programs import refuse

SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
DEADLINE = 300_000  # milliseconds; Playwright's own 5 s are too few for a loaded machine
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    folder = f"{Path(__file__).parent}/"
    for item in items:
        if str(item.path).startswith(folder):
            item.add_marker("browser")


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Chromium, as Debian has it; nothing is downloaded.

    It ends with the tests of this folder: while it lives, Playwright's event loop counts as running in this thread, and
    no other test could start one.
    """
    chromium = CHROMIUM or refuse("chromium")
    expect.set_options(timeout=DEADLINE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def location(sqlite_template: Path, tmp_path: Path) -> str:
    """The path of an empty store. Pages are drawn from descriptions, which other tests compare on both databases."""
    return str(shutil.copy(sqlite_template, tmp_path / "store.db"))


class Tab:
    """A page, and what it said or asked for although it should not.

    Tests that need the same settings use it one after the other: to open another takes three times as long as to load a
    report in it.
    """

    def __init__(self, browser: Browser, settings: Mapping[str, Any]) -> None:
        self._settings = {"viewport": {"width": 1280, "height": 800}, **settings}
        self.context = browser.new_context(**self._settings)
        self.context.set_default_timeout(DEADLINE)
        self.page = self.context.new_page()
        self.faults: list[str] = []
        self.allowed: tuple[str, ...] = ()
        self.expected: tuple[str, ...] = ()
        self.page.on("request", lambda request: self._on_request(request.url))
        self.page.on("console", lambda message: self._on_message(message.type, message.text))
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))

    def _on_request(self, url: str) -> None:
        if not url.startswith(("about:", "data:", "file:", "blob:", *self.allowed)):
            self.faults.append(f"asked for {url}")

    def _on_message(self, kind: str, text: str) -> None:
        if kind in ("error", "warning") and not text.startswith(self.expected or ("\0",)):
            self.faults.append(text)

    def leave(self) -> None:
        """Leave what is shown, and forget what a test has emulated."""
        self.page.goto("about:blank")
        self.page.mouse.move(0, 0)
        self.page.set_viewport_size(self._settings["viewport"])
        media = {name: self._settings.get(name, "null") for name in ("color_scheme", "reduced_motion")}
        self.page.emulate_media(media="null", **media)


@pytest.fixture(scope="package")
def tabs() -> dict[str, list[Tab]]:
    """The tabs that no test uses now, by their settings."""
    return {}


@pytest.fixture
def new_page(browser: Browser, tabs: dict[str, list[Tab]]) -> Iterator[Callable[..., Page]]:
    """Return a function that opens a page. After the test, no page may have said or asked for anything it should not.

    Arguments of the function: `allowed`, the beginnings of addresses that the page may ask for, `expected`, those of
    errors that it may print, `before`, a script that runs before its own, and what `Browser.new_context` takes, such as
    `viewport`, `color_scheme` or `java_script_enabled`.
    """
    used: list[tuple[Tab, str]] = []

    def new_page(
        allowed: tuple[str, ...] = (), expected: tuple[str, ...] = (), before: str = "", **settings: Any
    ) -> Page:
        key = repr((before, settings))
        if not (kept := tabs.setdefault(key, [])):
            kept.append(Tab(browser, settings))
            kept[0].page.add_init_script(before)
        tab = kept.pop()
        tab.faults, tab.allowed, tab.expected = [], allowed, expected
        used.append((tab, key))
        return tab.page

    yield new_page
    for tab, key in used:
        tab.leave()
        tabs[key].append(tab)
    assert [fault for tab, _ in used for fault in tab.faults] == []


@pytest.fixture
def open_file(new_page: Callable[..., Page]) -> Callable[..., Page]:
    """Return a function that opens a file, and takes the arguments of `new_page`."""

    def open_file(path: Path, **settings: Any) -> Page:
        page = new_page(**settings)
        page.goto(path.resolve().as_uri())
        if settings.get("java_script_enabled", True):  # the description is read while the page is shown
            page.locator("html.scripted").wait_for(state="attached")
        return page

    return open_file
