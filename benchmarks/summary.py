"""Write docs/explanation/performance.md from benchmarks/RESULTS.md: `python -m benchmarks.summary`.

The page is performance.template.md with figures in the places of `[[...]]`:

    [[conditions]]       the machine and the versions
    [[met]]              how many goals are met, of how many
    [[main: WHAT...]]    a table of these goals, one on each line, as far as they are met
    [[missed]]           a table of the goals that are not met
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

HERE = Path(__file__).parent
RESULTS = HERE / "RESULTS.md"
PAGE = HERE.parent / "docs" / "explanation" / "performance.md"
TEMPLATE = HERE / "performance.template.md"

_HEAD = ["| what | goal | measured |", "|---|---|---|"]


def performance_page(results: str) -> str:
    """Return the text of the page, with the figures of a page of results."""
    goals = {cells[0]: cells for cells in _rows(_section(results, "The goals"))}
    missed = [cells for cells in goals.values() if cells[3] != "yes"]

    def figure(place: re.Match[str]) -> str:
        kind, _, names = place[1].partition(":")
        if kind == "main":
            return _table(goals[name] for name in names.strip().splitlines() if goals[name] not in missed)
        return {
            "conditions": _section(results, "Measured on"),
            "met": f"{len(goals) - len(missed)} of {len(goals)}",
            "missed": _table(missed) if missed else "None.",
        }[kind]

    return re.sub(r"\[\[(.+?)\]\]", figure, TEMPLATE.read_text(encoding="utf-8"), flags=re.DOTALL)


def _section(page: str, title: str) -> str:
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    assert found is not None, f"there is no section {title!r}"
    return found[1].strip()


def _rows(table: str) -> list[list[str]]:
    rows = [[cell.strip() for cell in line.strip().strip("|").split(" | ")] for line in table.splitlines()]
    return [cells for cells in rows[2:] if len(cells) == 4]


def _table(rows: Iterable[list[str]]) -> str:
    return "\n".join([*_HEAD, *("| " + " | ".join(cells[:3]) + " |" for cells in rows)])


def write() -> None:
    """Write the page."""
    PAGE.write_text(performance_page(RESULTS.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    write()
