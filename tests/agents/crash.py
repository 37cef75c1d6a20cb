"""Kill agents again and again: no model is asked again for an answer that it gave, and no tool does its work twice."""

from __future__ import annotations

import os
import random
import sys
import time
from pathlib import Path
from typing import Any

from tests.agents.zrb.fire import ONE_AT_A_TIME, Figures, Project, WarmZrb, fire, rewind, undisturbed
from tests.agents.zrb.kinds import KINDS
from tests.agents.zrb.tasks import AGENTS


def kill_agents(folder: Path, location: str, count: int, seed: int) -> str:
    """Kill agents of each kind, at random and soon after each new call, and let each complete. Rewind one to each step.

    Args:
        folder: A folder to be made, where they run.
        location: An empty store.
        count: How often they are killed at least, each kind as often.
        seed: Of the choices that are random.
    """
    generator = random.Random(seed)
    began = time.monotonic()
    warm = WarmZrb(Path(sys.executable))
    sessions = 0
    total = Figures()
    try:
        rewound = rewind(warm, project_of(folder / "rewound", ONE_AT_A_TIME), location, 25, slice(None))
        for number, (kind, source) in enumerate(KINDS.items()):
            project = project_of(folder / f"{number}", source)
            few: Any = {} if kind == "plain" else {"ROUNDS": "8"}
            expected = undisturbed(warm, project, location, f"undisturbed{number}", **few)
            killed = 0
            while killed < count / len(KINDS):
                kills = generator.choice((3, 20))
                figures = fire(warm, project, location, f"agent{sessions}", expected, kills, generator, **few)
                sessions += 1
                killed += figures.kills
                total.kills += figures.kills
                total.repeated += figures.repeated
    finally:
        warm.close()
    return (
        f"{total.kills} kills of {sessions} agents ({', '.join(KINDS)}) in {time.monotonic() - began:.0f} s: "
        f"{total.repeated} calls ran again because they had been killed; completed calls that ran again: 0; "
        f"one was rewound to each of its {rewound} steps"
    )


def project_of(home: Path, source: str) -> Project:
    """Make a project with these tasks."""
    (home / "project").mkdir(parents=True)
    (home / "project" / "zrb_init.py").write_text(AGENTS + source)
    environ = {"HOME": str(home), "PATH": os.environ["PATH"], "ZRB_INIT_MODULES": "zrb_store.plugin", "TERM": "dumb"}
    return Project(home / "project", environ)
