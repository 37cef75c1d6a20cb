"""guarantees.md, promise 10, under fire: consumers of a shared queue that are killed at any moment."""

from __future__ import annotations

import pytest

from tests.faults.fire import consume_under_fire

pytestmark = pytest.mark.slow


@pytest.mark.promise(number=10)
def test_every_value_is_done_exactly_once(location: str) -> None:
    told = consume_under_fire(location, consumers=3, values=200, kills=5, pause=0.0)
    assert "2 poison values dead" in told
