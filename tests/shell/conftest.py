"""The place in which consumers run their commands."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.shell.consumers import Shell, shells


@pytest.fixture
def shell(location: str, tmp_path: Path) -> Iterator[Shell]:
    yield from shells(tmp_path, location)
