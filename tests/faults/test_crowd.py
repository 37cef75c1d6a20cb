"""Many processes at one PostgreSQL server: no value is lost or taken twice, and a producer's values stay in order."""

from __future__ import annotations

import pytest

from tests.faults.crowd import crowd

pytestmark = [pytest.mark.parametrize("location", ["postgresql"], indirect=True), pytest.mark.slow]


@pytest.mark.promise(number=4)
@pytest.mark.parametrize("queues", [1, 6])
def test_a_crowd_takes_each_value_once_and_in_order(location: str, queues: int) -> None:
    """Each process waits for the others before it begins. `crowd` checks what they got."""
    seen = crowd(location, producers=4, consumers=12, queues=queues, each=50)
    assert len(seen.pops) == seen.values == 200
