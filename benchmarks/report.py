"""Format tables and goals as Markdown, and compose the page of all results."""

from __future__ import annotations

import platform
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from benchmarks import peers
from benchmarks.harness import Race, Ratio, time_text


@dataclass(frozen=True)
class Goal:
    """A goal for speed, size or memory, and what was measured."""

    what: str
    goal: str
    measured: str
    met: bool | None

    def row(self) -> list[str]:
        """Return the row in the table of goals."""
        return [self.what, self.goal, self.measured, {True: "yes", False: "**no**", None: "-"}[self.met]]


@dataclass
class Answer:
    """What one module has measured. `lines` are Markdown."""

    goals: list[Goal] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def add(self, *lines: str) -> None:
        """Add a paragraph or a table."""
        self.lines += ["", *lines] if self.lines else [*lines]


def at_most(what: str, most: float, ratio: Ratio | None) -> Goal:
    """Return a goal that is met if a ratio does not exceed `most`."""
    met = None if ratio is None else ratio.median <= most
    return Goal(what, f"at most {most:g}x", f"{ratio}" if ratio else "not measured", met)


def at_least(what: str, least: float, ratio: Ratio | None) -> Goal:
    """Return a goal that is met if a ratio reaches `least`."""
    met = None if ratio is None else ratio.median >= least
    return Goal(what, f"at least {least:g}x", f"{ratio}" if ratio else "not measured", met)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return a Markdown table whose columns are aligned, so that it can also be read as text."""
    cells = [list(head), *[list(row) for row in rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in cells
    ]
    return [lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]]


def ratios(race: Race, operations: Mapping[str, str], base: str) -> list[str]:
    """Return a table of the ratios of all contestants to one of them, whose own row shows its times for scale."""
    rows = []
    for name in race.contestants:
        cells = [name]
        for operation in operations:
            ratio = race.ratio(operation, name, base)
            seconds = race.seconds(operation, name)
            if ratio is None or seconds is None:
                cells.append("-")
            else:
                cells.append(f"1 = {time_text(seconds)}" if name == base else str(ratio))
        rows.append(cells)
    return table(["x " + base, *operations.values()], rows)


def page(answers: Mapping[str, tuple[str, Answer]], conditions: Sequence[str]) -> str:
    """Return the text of RESULTS.md."""
    goals = [goal.row() for _, answer in answers.values() for goal in answer.goals]
    parts = [Path(__file__).with_name("results.head.md").read_text(encoding="utf-8").rstrip()]
    parts.append("\n".join(["## Measured on", "", *conditions]))
    parts.append("\n".join(["## The goals", "", *table(["what", "goal", "measured", "met"], goals)]))
    for title, (prose, answer) in answers.items():
        parts.append("\n".join([f"## {title}", "", prose, "", *answer.lines]))
    return "\n\n".join(parts) + "\n"


def conditions() -> list[str]:
    """Describe the machine and the versions of all programs."""
    import psutil

    memory = psutil.virtual_memory().total / 2**30
    names = {package: number or "**missing**" for package, number in peers.versions().items()}
    ours = ", ".join(f"{name} {version(name)}" for name in ("SQLAlchemy", "psycopg", "zrb"))
    return [
        f"- {_processor()}, {psutil.cpu_count()} cores, {memory:.0f} GiB; {platform.system()} {platform.release()}",
        f"- Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {ours}",
        f"- peers: {', '.join(f'{name} {number}' for name, number in names.items())}",
    ]


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


__all__ = ["Answer", "Goal", "at_least", "at_most", "conditions", "page", "ratios", "table"]
