"""Fetch the pages of a server, one step for each: however often the task is killed, it asks for no page again.

zrb fetch-pages
"""

from __future__ import annotations

import time
from pathlib import Path

from zrb import AnyContext, cli, make_task

from zrb_store import step

PAGES = 6


@make_task(name="fetch-pages", description="Fetch all pages, and count their rows", group=cli, retries=0)
def fetch_pages(ctx: AnyContext) -> str:
    rows = 0
    for number in range(1, PAGES + 1):
        page = step(f"page {number}", fetch, number)
        print(f"page {number} has {len(page)} rows", flush=True)
        rows += len(page)
    return f"{rows} rows in {PAGES} pages"


def fetch(number: int) -> list[str]:
    """Ask the server for a page. The server hangs at page 4 as long as the file `server-is-up` is missing."""
    print(f"    asking the server for page {number}", flush=True)
    while number == 4 and not Path("server-is-up").exists():
        time.sleep(0.1)
    return [f"row {row} of page {number}" for row in range(100)]
