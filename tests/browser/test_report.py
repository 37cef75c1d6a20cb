"""The report in a real browser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.commands import Commands
from zrb_store import open_store


def test_every_part_is_there(location: str, tmp_path: Path, command: Commands, open_file: Callable[..., Page]) -> None:
    with open_store(location) as store:
        store.session("etl-1").xcom["files"].push("a.csv")
    file = tmp_path / "run.html"
    assert command("report", "etl-1", "-o", str(file)).code == 0
    page = open_file(file)
    expect(page.get_by_role("heading", level=1)).to_have_text("etl-1")
    headings = page.get_by_role("heading", level=2).all_inner_texts()
    assert headings == ["Timeline", "Data flow", "Queues at a moment", "Values", "Errors and output", "How to go on"]
