"""The real zrb, for pages under its web server."""

from __future__ import annotations

from tests.zrb.conftest import fork_servers, release, zrb

__all__ = ["fork_servers", "release", "zrb"]
