"""Takes pictures of the pages, light and dark, from a session of the demo: `python -m tests.page.browser.pictures`."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Literal

import sqlalchemy as sa
from playwright.sync_api import Page, sync_playwright

from tests.page.browser.conftest import CHROMIUM
from tests.page.browser.reports import ROOT, demo, write
from zrb_store import Store, open_store

IMAGES = ROOT / "docs" / "images"


def told_better(store: Store) -> None:
    """Let another user resume the session of the demo, on no particular machine."""

    def run(sql: str, **params: object) -> None:
        store.database.execute(sa.text(sql), params)

    run("UPDATE zrb_session SET project = '/srv/audit'")
    run("UPDATE zrb_run SET folder = '/srv/audit', host = 'build-7', \"user\" = 'ann', pid = 4711")
    commands = {1: ["zrb", "audit", "report", "--folder", "reports"], 2: ["zrb", "xcom", "resume", "audit-1"]}
    for number, command in commands.items():
        run("UPDATE zrb_run SET command = :command WHERE number = :number", command=json.dumps(command), number=number)
    run("UPDATE zrb_run SET \"user\" = 'bob', pid = 5210 WHERE number = 2")


def take(page: Page, name: str, first: str, last: str) -> None:
    """Take a picture of the page from one element to another."""
    page.evaluate("scrollTo(0, 0)")
    boxes = [page.locator(selector).bounding_box() for selector in (first, last)]
    top, bottom = boxes[0]["y"], boxes[1]["y"] + boxes[1]["height"]  # type: ignore[index]
    clip = {"x": 0, "y": max(0, top - 16), "width": 1000, "height": bottom - top + 32}
    page.screenshot(path=IMAGES / name, full_page=True, clip=clip)  # type: ignore[arg-type]


def main() -> None:
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        demo(Path(folder))
        with open_store(Path(folder) / "xcom.db") as store:
            told_better(store)
            file = write(store, "audit-1", Path(folder))
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        schemes: tuple[Literal["light", "dark"], ...] = ("light", "dark")
        for scheme in schemes:
            page = browser.new_page(viewport={"width": 1000, "height": 800}, color_scheme=scheme)
            page.goto(file.as_uri())
            page.locator("#timeline button.bar").nth(2).focus()
            take(page, f"report-{scheme}.png", "header .title", "#timeline .detail")
            slider = page.locator("#moment input[type=range]")
            slider.focus()
            for _ in range(9):
                page.keyboard.press("ArrowLeft")
            take(page, f"moment-{scheme}.png", "#moment h2", "#moment .drawing")
        browser.close()


if __name__ == "__main__":
    main()
