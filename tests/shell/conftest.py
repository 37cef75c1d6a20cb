"""The place in which consumers run their commands, and the steps of scripts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.shell.consumers import Shell, shells
from tests.support.rows import query
from zrb_store import Store


@pytest.fixture
def shell(location: str, tmp_path: Path) -> Iterator[Shell]:
    yield from shells(tmp_path, location)


ON_SQLITE = pytest.mark.parametrize("location", ["sqlite"], indirect=True)


def steps(store: Store) -> list[tuple[str, str]]:
    """Return name and status of each attempt of a step, in order."""
    return [
        tuple(row) for row in query(store, "SELECT step, status FROM zrb_attempt WHERE step_of IS NOT NULL ORDER BY id")
    ]
