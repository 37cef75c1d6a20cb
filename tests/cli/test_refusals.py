"""What is refused with one line that says what to do instead: wrong combinations of options, and wrong arguments."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, cast

import pytest

from tests.support.commands import Commands
from zrb_store import InvalidArgument, Store, wait

pytestmark = pytest.mark.long_on_postgresql


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        ("show s --at before:t#1 --held", "--held shows what is held now: leave out --at"),
        ("list --holds --failed", "only --limit and --format go with it"),
        ("queue s q --pause --unpause", "--pause and --unpause contradict each other"),
        pytest.param("step a --timeout 0 -- true", "leave it out for no limit", marks=pytest.mark.needs("shell")),
        ("mark s load completed --new --step page", "--new is for tasks: a new step is marked without it"),
    ],
)
def test_options_that_exclude_each_other(command: Commands, store: Store, words: str, advice: str) -> None:
    result = command(*words.split())
    assert result.code == (125 if words.startswith("step") else 2)
    assert advice in result.err


@pytest.mark.parametrize(
    ("call", "advice"),
    [
        (lambda: wait(until=timedelta(1), timeout=5), "takes no timeout"),
        (lambda: wait("mail", say=cast("Any", 5)), "say=5 is not a text"),
    ],
)
def test_arguments_that_are_wrong(store: Store, call: Callable[[], object], advice: str) -> None:
    with store.session("s").run() as run, run.attempt("t"), pytest.raises(InvalidArgument, match=advice):
        call()


@pytest.mark.parametrize(
    ("delays", "advice"), [(5, "is a list of delays, not 5"), ([0.01], "at least 0.1 seconds")], ids=str
)
def test_delays_that_a_queue_does_not_take(store: Store, delays: Any, advice: str) -> None:
    queue = store.session("s").xcom["mail"]
    with pytest.raises(InvalidArgument, match=advice):
        queue.retry_after = delays
    assert queue.retry_after == []


@pytest.mark.needs("shell")
def test_what_these_sessions_do_not_take(command: Commands, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with store.session("s").run() as run:
        run.task("load", int)
        with run.attempt("send") as attempt:
            monkeypatch.setenv("ZRB_STORE_ATTEMPT", attempt.token)
            assert "s/send#1 is no task of `zrb-store run`" in command("result", "1").err
            monkeypatch.delenv("ZRB_STORE_ATTEMPT")
    long = "x" * 197
    with store.session(long).run() as run:
        run.task("load", int)
    assert "is too long for a session's name: choose another --name" in command("fork", long, "--from", "load").err
