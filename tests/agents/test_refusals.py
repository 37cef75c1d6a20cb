"""What is refused of agents with one line that says what to do instead: wrong options, and wrong arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from tests.support.commands import Commands
from zrb_store import InvalidArgument, Store, once_tool
from zrb_store.agents import durable

pytestmark = pytest.mark.on_sqlite


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        ("show s --conversation --watch", "--conversation takes TASK, --at, --full and --format"),
        ("show s --format markdown", "--format markdown is for --conversation"),
    ],
)
def test_options_that_exclude_each_other(command: Commands, store: Store, words: str, advice: str) -> None:
    result = command(*words.split())
    assert result.code == 2
    assert advice in result.err


@pytest.mark.parametrize(
    ("call", "advice"),
    [
        (lambda: once_tool(unknown=cast("Any", "go")), "use `stop` or `tell`"),
        (lambda: durable(once_tools=cast("Any", {"pay": "go"})), "set it to `stop` or `tell`"),
        (lambda: durable(once_tools="pay"), "set it to a list of names"),
    ],
)
def test_arguments_that_are_wrong(call: Callable[[], object], advice: str) -> None:
    with pytest.raises(InvalidArgument, match=advice):
        call()
