"""Commands, run in this process as a user runs them."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import NamedTuple

import pytest

from zrb_store import cli
from zrb_store.db.location import store_url

_NOTICE = re.compile(
    r"^(?:.*: )?the store \S+ .*(waiting up to \d+ s more|can be used again, after \d+ s)\n", re.MULTILINE
)


def without_notices(err: str) -> str:
    """Return what was written to stderr, but for lines that say that a store is awaited, as where a server is slow."""
    return _NOTICE.sub("", err)


class Result(NamedTuple):
    """The exit code and the output of a command."""

    code: int
    out: str
    err: str


class Commands:
    """`zrb-store ARGS` on one store."""

    def __init__(self, location: str, monkeypatch: pytest.MonkeyPatch, read: Callable[[], tuple[str, str]]) -> None:
        self._monkeypatch = monkeypatch
        self._read = read
        monkeypatch.setenv("ZRB_STORE_URL", store_url(location).render_as_string(hide_password=False))

    def __call__(self, *args: str, stdin: str | bytes = "") -> Result:
        """Run one command, whatever its exit code."""
        content = stdin.encode() if isinstance(stdin, str) else stdin
        self._monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
        code = cli.run(args)
        out, err = self._read()
        err = without_notices(err)
        assert len(err.splitlines()) <= 1, f"an error is one line: {err}"
        assert "Traceback" not in err
        return Result(code, out, err)

    def ok(self, *args: str, stdin: str | bytes = "") -> str:
        """Run one command that must succeed without writing to stderr, and return what it printed."""
        result = self(*args, stdin=stdin)
        assert (result.code, result.err) == (0, ""), result.err
        return result.out
