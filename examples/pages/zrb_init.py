"""Fetch the pages of a server, one step for each: however often the task is killed, it asks for no page again.

zrb fetch-pages
"""

from __future__ import annotations

import time
from pathlib import Path

from zrb import AnyContext, cli, make_task

from zrb_store import step

PAGES = 6


@make_task(name="fetch-pages", description="Fetch all pages, each into a file", group=cli, retries=0)
def fetch_pages(ctx: AnyContext) -> str:
    for number in range(1, PAGES + 1):
        file = step(f"page {number}", fetch, number)
        print(f"page {number} is in {file}", flush=True)
    return f"{PAGES} pages"


def fetch(number: int) -> str:
    """Ask the server for a page. The server hangs at page 4 as long as the file `server-is-up` is missing."""
    print(f"    asking the server for page {number}", flush=True)
    while number == 4 and not Path("server-is-up").exists():
        time.sleep(0.1)
    file = Path(f"page-{number}.txt")
    file.write_text(f"This is page {number}.\n")
    return file.name
