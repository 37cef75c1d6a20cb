"""Running commands as a user does, in this process."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import NamedTuple

import pytest

from zrb_store import cli, settings


class Result(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str


class Commands:
    """`zrb-store ARGS` on one store."""

    def __init__(self, location: str, monkeypatch: pytest.MonkeyPatch, read: Callable[[], tuple[str, str]]) -> None:
        self._monkeypatch = monkeypatch
        self._read = read
        monkeypatch.setenv("ZRB_STORE_URL", settings.store_url(location).render_as_string(hide_password=False))

    def __call__(self, *args: str, stdin: str | bytes = "") -> Result:
        """Run one command, whatever it ends with."""
        content = stdin.encode() if isinstance(stdin, str) else stdin
        self._monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
        code = cli.run(args)
        out, err = self._read()
        assert len(err.splitlines()) <= 1, "an error is one line"
        assert "Traceback" not in err
        return Result(code, out, err)

    def ok(self, *args: str, stdin: str | bytes = "") -> str:
        """Run one command that must succeed in silence, and return what it printed."""
        result = self(*args, stdin=stdin)
        assert (result.code, result.err) == (0, "")
        return result.out
