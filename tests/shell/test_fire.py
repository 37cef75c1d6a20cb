"""guarantees.md, promise 10, under fire: shell scripts under `zrb-store consume`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.shell.fire import consume_in_shells_under_fire


@pytest.mark.slow
def test_shell_consumers_under_fire(location: str, tmp_path: Path) -> None:
    consume_in_shells_under_fire(
        tmp_path, location, consumers=3, values=30, poison=1, kills=3, pause=0.3, max_deliveries=3
    )
