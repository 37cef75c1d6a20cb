"""The real zrb, for replays of its tasks."""

from __future__ import annotations

from tests.zrb.conftest import fork_servers, release, zrb

__all__ = ["fork_servers", "release", "zrb"]
