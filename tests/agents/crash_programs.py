"""Kill random programs of agents that catch errors and rename their agents: see programs.py.

`python -m tests.agents.crash_programs 100 2.36.0 latest` runs a hundred on each of these releases of pydantic-ai.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from itertools import count
from pathlib import Path

from tests.agents.programs import Figures, torture
from tests.zrb.environments import ROOT, environment_with


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


def main(programs: int, releases: Sequence[str]) -> None:
    """Run so many programs on each release of pydantic-ai, or on the one of this environment, in SQLite."""
    for release in releases:
        package = "pydantic-ai-slim" if release == "latest" else f"pydantic-ai-slim=={release}"
        python = environment_with(f"agents-{release}", package, "pytest", "psutil") / "bin" / "python"
        subprocess.run([python, "-m", "tests.agents.crash_programs", str(programs)], cwd=ROOT, check=True)
    if not releases:
        seed, figures = random.randrange(10**6), Figures()
        with tempfile.TemporaryDirectory(prefix="zrb-crash-") as folder:
            torture(Path(folder), str(Path(folder) / "runs.db"), range(seed, seed + programs), figures)
        print(f"pydantic-ai {version('pydantic-ai-slim')}, seed {seed}: {figures}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
