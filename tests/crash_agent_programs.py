"""Kill random programs of agents that catch errors and rename their agents: see agent_programs.py."""

from __future__ import annotations

from itertools import count
from pathlib import Path

from tests.agent_programs import Figures, torture


def kill_agent_programs(folder: Path, location: str, kills: int, seed: int) -> str:
    """Make random programs, and kill them, until so many kills.

    Args:
        folder: A folder to be made, where they write.
        location: An empty store.
        kills: How many at least.
        seed: Of the first program; the others follow.
    """
    figures = Figures()
    for each in count(seed):
        if figures.kills >= kills:
            return str(figures)
        torture(folder, location, [each], figures)
    raise AssertionError
