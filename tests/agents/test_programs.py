"""Random programs of agents that are killed: see agent_programs.py. `make crash` has many more."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.agents.programs import Figures, torture


@pytest.mark.slow
@pytest.mark.promise(number=20)
@pytest.mark.parametrize("seed", range(6))
def test_a_random_program_is_killed(location: str, tmp_path: Path, seed: int) -> None:
    torture(tmp_path, location, range(seed * 2, seed * 2 + 2), Figures())
