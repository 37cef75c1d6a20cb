"""Random programs of every operation, run on a store and on a model: contents, history and earlier moments agree.

`pytest tests/machines/test_state_machine.py --hypothesis-profile=thorough` runs longer.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    run_state_machine_as_test,
)

from tests.machines.machine import (
    Machine,
)
from tests.support.rows import faults
from zrb_store import (
    open_store,
)


@pytest.fixture
def machine(location: str, small_chunks: None) -> Iterator[type[Machine]]:
    """A machine on this store."""
    with open_store(location) as runs_of:
        yield type("Bound", (Machine,), {"location": location, "runs_of": runs_of})
        assert faults(runs_of) == []


@pytest.mark.promise(number=1)
@pytest.mark.promise(number=10)
@pytest.mark.slow
@pytest.mark.hypothesis
def test_random_programs_agree_with_the_model(machine: type[Machine]) -> None:
    assert settings.default is not None
    programs = settings(
        max_examples=settings.default.max_examples // 5,
        stateful_step_count=50,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(machine, settings=programs)
