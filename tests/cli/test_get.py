"""The command `get`: a value or a result, alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.commands import Commands
from tests.support.sessions import parse, parse_lines
from zrb_store import Store

pytestmark = pytest.mark.long_on_postgresql


def test_get_prints_the_newest_live_value_alone(command: Commands, store: Store) -> None:
    queue = store.session("s").xcom["q"]
    for value, printed in [
        ("a text", "a text"),
        ({"a": [1, None, "é"]}, '{"a":[1,null,"é"]}'),
        (True, "true"),
        (None, "null"),
        (12, "12"),
        ("", ""),
        ((1, 2), '{"$":"tuple","v":[1,2]}'),
        (Path("/srv/report.pdf"), "/srv/report.pdf"),
        (float("inf"), "inf"),
    ]:
        queue.push(value)
        assert command.ok("get", "s", "q") == f"{printed}\n"
    found = parse("value", command.ok("get", "s", "q", "--seq", "2", "--format", "json"))
    assert (found["id"], found["value"]) == ("s/q#2", {"a": [1, None, "é"]})
    assert parse_lines("value", command.ok("get", "s", "q", "--seq", "2", "--format", "jsonl")) == [found]
    assert "live" in command.ok("get", "s", "q", "--format", "table")


def test_get_any_value_by_seq_and_a_result_though_it_was_taken(command: Commands, filled: Store) -> None:
    assert command.ok("get", "etl-24", "rows", "--seq", "1") == "1\n"
    filled.session("etl-25").xcom["load"].clear()
    assert command("get", "etl-25", "load").code == 3
    assert command.ok("get", "etl-25", "load", "--result") == '["done",3.5]\n'
    assert command.ok("get", "etl-25", "load", "--result", "--path", "$[1]") == "3.5\n"


@pytest.mark.on_sqlite
@pytest.mark.parametrize(
    ("args", "code", "hint"),
    [
        (["etl-24", "nothing"], 3, "no queue"),
        (["etl-24", "rowz"], 3, "did you mean rows?"),
        (["etl-24", "rows", "--seq", "9"], 3, "etl-24/rows#9"),
        (["etl-24", "load", "--result"], 3, "has not completed"),
        (["etl-24", "lood", "--result"], 3, "did you mean load?"),
        (["etl-24", "rows", "--path", "$.id.x"], 3, "no part $.id.x"),
        (["etl-24", "rows", "--path", "id"], 2, "not a path"),
        (["etl-24", "rows", "--result", "--seq", "1"], 2, "exclude"),
        (["nope", "rows"], 3, "zrb-store list"),
    ],
)
def test_get_has_nothing_on_stdout_when_there_is_none(
    command: Commands, filled: Store, args: list[str], code: int, hint: str
) -> None:
    result = command("get", *args)
    assert (result.code, result.out) == (code, "")
    assert hint in result.err


@pytest.mark.on_sqlite
def test_get_says_why_what_ran_has_no_result(command: Commands, store: Store) -> None:
    session = store.session("s")
    with session.run() as run, run.attempt("load") as attempt:
        attempt.step("page", int)
    assert "s/load#1 completed without a result" in command("get", "s", "load", "--result").err
    with session.run(from_task="load") as run, run.attempt("load"):
        pass
    refused = command("get", "s", "load/1", "--result")
    assert (refused.code, refused.out) == (3, "")
    assert "step page (s/load/1#1) has completed, and was given back" in refused.err
