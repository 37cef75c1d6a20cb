"""What silences an alert needs no clock (guarantees.md, promise 17)."""

from __future__ import annotations

import contextlib

import pytest

from tests.support.clocks import set_back
from tests.support.commands import Commands, Result
from zrb_store import Store

# The clock is that of a session of the server, which a pooler shares.
pytestmark = [pytest.mark.usefixtures("sound"), pytest.mark.unpooled, pytest.mark.promise(number=17)]


def failed(result: Result) -> str:
    assert result.code == 1
    return result.out


def fail(store: Store, name: str) -> None:
    with contextlib.suppress(ValueError), store.session(name).run(task="load") as run, run.attempt("load"):
        raise ValueError("no rows")


def succeed(store: Store, name: str) -> None:
    with store.session(name).run(task="load", again=True) as run, run.attempt("load") as attempt:
        attempt.complete()


def test_only_a_completion_that_ended_after_a_failure_silences_it(store: Store, command: Commands) -> None:
    fail(store, "mon")
    succeed(store, "tue")
    assert command.ok("check") == ""
    fail(store, "mon")
    assert "session mon" in failed(command("check"))
    set_back(store, 5)
    succeed(store, "tue-again")
    assert command.ok("check") == ""
    set_back(store, 10)
    fail(store, "mon")
    assert "session mon" in failed(command("check"))
