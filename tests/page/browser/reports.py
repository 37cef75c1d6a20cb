"""Reports for the tests of the browser, and what they look at."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from tests.page.browser.conftest import SCHEMES
from zrb_store import Store
from zrb_store.page.report import report

ROOT = Path(__file__).parents[3]
AUDIT = ROOT / "examples" / "audit" / "zrb_init.py"
SERIOUS = ("serious", "critical")

NINE_HOURS = 9 * 3600 * 1_000_000
TIMES = {
    "zrb_run": ("started_at", "ended_at", "lease_expires_at"),
    "zrb_attempt": ("started_at", "ended_at", "given_back_at"),
    "zrb_value": ("pushed_at", "ended_at"),
    "zrb_return": ("taken_at", "returned_at"),
    "zrb_session": ("created_at", "ended_at"),
}


def demo(folder: Path) -> Path:
    """Write the report of the session of `make demo`: a workflow of zrb that fails, and resumes nine hours later."""
    shutil.copy(AUDIT, folder)
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "ZRB_INIT_MODULES": "zrb_store.plugin",
        "ZRB_STORE_URL": "xcom.db",
        "TZ": "UTC",
    }

    def zrb(*args: str, code: int, **settings: str) -> None:
        done = subprocess.run(
            ["zrb", *args], cwd=folder, env={**environment, **settings}, capture_output=True, check=False
        )
        assert done.returncode == code, done.stderr.decode()

    zrb("audit", "report", "--folder", "reports", code=1, ZRB_STORE_SESSION="audit-1")
    zrb("xcom", "report", "audit-1", "-o", "failed.html", code=0)
    with closing(sqlite3.connect(folder / "xcom.db")) as database, database:
        for table, columns in TIMES.items():
            earlier = ", ".join(f"{column} = {column} - {NINE_HOURS}" for column in columns)
            database.execute(f"UPDATE {table} SET {earlier}")
    (folder / "reports").mkdir()
    zrb("xcom", "resume", "audit-1", code=0)
    zrb("xcom", "report", "audit-1", "-o", "run.html", code=0)
    return folder / "run.html"


def write(store: Store, name: str, folder: Path) -> Path:
    """Write the report of a session."""
    file = folder / f"{name}.html"
    file.write_bytes(report(store.database, name, "zrb-store", None))
    return file


def faults(page: Page, part: str = "html") -> Iterator[dict[str, Any]]:
    """Yield what axe finds in a part of a page: all its rules in one colour scheme, contrasts in the other one too."""
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        options: dict[str, Any] = {"resultTypes": ["violations"]}  # to describe what is well takes a third of the time
        if scheme != SCHEMES[0]:
            options["runOnly"] = ["color-contrast"]
        found = Axe().run(page, context={"include": [[part]]}, options=options).response["violations"]
        yield from ({**fault, "scheme": scheme} for fault in found)


# About a tenth of a second on a machine of 2024.
_REFERENCE = """() => {
    const made = Array.from({ length: 100_000 }, (_, n) => ({ n, name: `value ${n}` }));
    for (let time = 0; time < 3; time++) JSON.parse(JSON.stringify(made)).sort((one, other) => other.n - one.n);
}"""


def processor_time(page: Page, work: Callable[[], object]) -> float:
    """Return how much processor time a page took for some work, in units of a work that is always the same.

    So the speed of the machine does not matter.
    """
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def spent(work: Callable[[], object]) -> float:
        before = total()
        work()
        page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        return total() - before

    def total() -> float:
        found: Any = session.send("Performance.getMetrics")["metrics"]
        return float(next(each["value"] for each in found if each["name"] == "TaskDuration"))

    return spent(work) / spent(lambda: page.evaluate(_REFERENCE))


def is_once_below(most: float, page: Page, work: Callable[[], object]) -> bool:
    """Whether some work takes less processor time than this, at least once in three tries."""
    return any(processor_time(page, work) < most for _ in range(3))
