"""A real browser: Chromium, driven by Playwright. One browser for the tests of this folder, a context for each page.

A page may ask the network for nothing but what its test allows, and may print no error to its console.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

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
    if CHROMIUM is None:
        if os.environ.get("CI"):
            pytest.fail("the pages cannot be tested: install chromium")
        pytest.skip("the pages are not tested: chromium is not installed")
    expect.set_options(timeout=DEADLINE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def location(sqlite_template: Path, tmp_path: Path) -> str:
    """The path of an empty store. Pages are drawn from descriptions, which other tests compare on both databases."""
    return str(shutil.copy(sqlite_template, tmp_path / "store.db"))


@pytest.fixture
def new_page(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Return a function that opens a page. After the test, no page may have said or asked for anything it should not.

    Arguments of the function: `allowed`, the beginnings of addresses that the page may ask for, `expected`, those of
    errors that it may print, and what `Browser.new_context` takes, such as `viewport`, `color_scheme` or
    `java_script_enabled`.
    """
    contexts: list[BrowserContext] = []
    faults: list[str] = []

    def new_page(allowed: tuple[str, ...] = (), expected: tuple[str, ...] = (), **settings: Any) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **settings})
        context.set_default_timeout(DEADLINE)
        contexts.append(context)
        page = context.new_page()

        def on_request(url: str) -> None:
            if not url.startswith(("data:", "file:", "blob:", *allowed)):
                faults.append(f"asked for {url}")

        page.on("request", lambda request: on_request(request.url))

        def on_message(kind: str, text: str) -> None:
            if kind in ("error", "warning") and not text.startswith(expected or ("\0",)):
                faults.append(text)

        page.on("console", lambda message: on_message(message.type, message.text))
        page.on("pageerror", lambda error: faults.append(str(error)))
        return page

    yield new_page
    for context in contexts:
        context.close()
    assert faults == []


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
