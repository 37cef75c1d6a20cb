"""The commands and code in the pages are run, and their output is compared with the pages."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.documents import blocks, matches, named_commands, run_crontabs, run_page, unknown_words
from tests.support.programs import require
from tests.zrb.forked import ForkServer
from zrb_store.cli.command import app

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
ALL = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# The pages with commands, and the least number of commands and code blocks that must be run in each.
PAGES = {
    "README.md": 14,
    "docs/tutorials/nightly-job.md": 18,
    "docs/tutorials/python-script.md": 8,
    "docs/how-to/agents.md": 17,
    "docs/how-to/alerts.md": 8,
    "docs/how-to/at-night.md": 6,
    "docs/how-to/cron-and-shell.md": 14,
    "docs/how-to/cron-without-zrb.md": 8,
    "docs/how-to/operate-sqlite.md": 18,
    "docs/how-to/own-tables.md": 9,
    "docs/how-to/queues-and-consumers.md": 20,
    "docs/how-to/replay.md": 3,
    "docs/how-to/report-and-page.md": 7,
    "docs/how-to/script-to-steps.md": 7,
    "docs/how-to/scripts.md": 7,
    "docs/how-to/steps.md": 16,
    "docs/how-to/test-your-code.md": 6,
    "docs/how-to/upgrade.md": 3,
    "docs/how-to/waiting.md": 6,
    "docs/explanation/security.md": 3,
    "docs/reference/json.md": 3,
    "docs/reference/settings.md": 4,
    "docs/reference/sql.md": 4,
    "docs/reference/types.md": 3,
}
CRONTABS = {
    "README.md": 1,
    "docs/tutorials/nightly-job.md": 2,
    "docs/how-to/alerts.md": 2,
    "docs/how-to/cron-and-shell.md": 2,
    "docs/how-to/cron-without-zrb.md": 5,
    "docs/how-to/operate-sqlite.md": 1,
    "docs/how-to/queues-and-consumers.md": 4,
    "docs/how-to/scripts.md": 1,
    "docs/how-to/waiting.md": 1,
}


def pages_with(*languages: str) -> set[str]:
    return {str(page.relative_to(ROOT)) for page in ALL if any(block.language in languages for block in blocks(page))}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder with the name that the tables of a page show."""
    made = tmp_path / "etl"
    made.mkdir()
    return made


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    """What forks zrb, with the libraries of agents: to load them takes a second."""
    home = str(tmp_path_factory.mktemp("home"))
    environ = {"HOME": home, "PATH": os.environ["PATH"], "TERM": "dumb"}
    program = Path(sys.executable).with_name("zrb")
    made = ForkServer(program, environ, "pydantic_ai.models.function", "genai_prices.data")
    yield made
    made.close()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_prints_what_it_shows(name: str, folder: Path, server: ForkServer) -> None:
    if "sqlite3 " in (ROOT / name).read_text(encoding="utf-8"):
        require("sqlite3")
    assert run_page(ROOT / name, folder, server) >= PAGES[name]


@pytest.mark.parametrize("name", CRONTABS)
def test_cron_can_start_the_jobs_of_a_page(name: str, folder: Path) -> None:
    assert run_crontabs(ROOT / name, folder) == CRONTABS[name]


def test_every_page_with_commands_is_run() -> None:
    assert pages_with("console", "python") <= set(PAGES)
    assert pages_with("crontab") == set(CRONTABS)


@pytest.mark.parametrize("page", ALL, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_names_commands_and_options_that_exist(page: Path) -> None:
    assert [words for words in named_commands(page) if unknown_words(words, app)] == []


def test_the_comparison_can_fail() -> None:
    assert matches(["a 12 ms", "...", "z"], ["a 3.5 ms", "b", "z"])
    assert not matches(["a", "..."], ["b"])
    assert not matches(["a"], ["a", "b"])
