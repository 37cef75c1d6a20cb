"""What can go wrong around a store: one clear error, and nothing that was acknowledged is lost."""

from __future__ import annotations

from tests.processes import Child
from tests.workers import press_ctrl_c


def test_ctrl_c_at_any_moment_leaves_the_connection_usable(location: str) -> None:
    with Child(press_ctrl_c, location, 60) as child:
        assert child.receive() == (5, 60)
