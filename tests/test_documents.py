"""The commands and code in the pages are run, and their output is compared with the pages."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.documents import blocks, matches, run_page

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent
# The pages with commands, and the least number of commands and code blocks that must be run in each.
PAGES = {
    "README.md": 12,
    "docs/cookbook.md": 19,
    "docs/guide.md": 30,
    "docs/steps.md": 24,
    "docs/agents.md": 4,
    "docs/explanation/security.md": 3,
    "docs/reference/json.md": 4,
    "docs/reference/settings.md": 4,
    "docs/reference/sql.md": 4,
    "docs/reference/types.md": 3,
}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_prints_what_it_shows(name: str, tmp_path: Path) -> None:
    assert run_page(ROOT / name, tmp_path) >= PAGES[name]


def test_every_page_with_commands_is_run() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    with_commands = {
        str(page.relative_to(ROOT))
        for page in pages
        if any(block.language in ("console", "python") for block in blocks(page))
    }
    assert with_commands <= set(PAGES)


def test_the_comparison_can_fail() -> None:
    assert matches(["a 12 ms", "...", "z"], ["a 3.5 ms", "b", "z"])
    assert not matches(["a", "..."], ["b"])
    assert not matches(["a"], ["a", "b"])
