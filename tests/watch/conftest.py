"""What the command of ZRB_STORE_NOTIFY is told, and the real zrb, which starts it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import start_server
from tests.watch.alerts import Told
from tests.zrb.conftest import fork_servers, release, zrb

__all__ = ["fork_servers", "release", "zrb"]


@pytest.fixture
def in_utc() -> Iterator[None]:
    """The time zone of this process is UTC."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Told:
    """What the command of ZRB_STORE_NOTIFY, which is set in this process alone, has been told."""
    start_server()
    made = Told(tmp_path / "told")
    monkeypatch.setenv("ZRB_STORE_NOTIFY", made.command)
    return made
