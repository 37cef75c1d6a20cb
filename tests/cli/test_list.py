"""The command `list`: its table, its JSON, its conditions."""

from __future__ import annotations

import json
import os
import re

import pytest
import sqlalchemy as sa

from tests.support.commands import Commands
from tests.support.rows import stop_renewals
from tests.support.sessions import HEADER, parse, parse_lines
from zrb_store import Store

pytestmark = pytest.mark.long_on_postgresql


@pytest.mark.smoke
def test_list_tells_each_session_on_one_line(command: Commands, filled: Store) -> None:
    lines = command.ok("list").splitlines()
    assert lines[0].split() == ["NAME", "PROJECT", "TASK", "STATUS", "STARTED", "TOOK", "TASKS", "OWNER", "ERROR"]
    assert [line.split()[:4] for line in lines[1:]] == [
        ["etl-25", "shop", "report", "completed"],
        ["etl-24", "shop", "report", "failed"],
        ["inbox", "-", "-", "open"],
    ]
    assert [re.sub(r" +load: .*", "", line).split()[-2] for line in lines[1:]] == ["4/4", "2/4", "-"], "skipped is done"
    assert "\x1b" not in "".join(lines)


def test_list_as_json_has_the_header_fields_and_what_the_table_has(command: Commands, filled: Store) -> None:
    listed = parse("list", command.ok("list", "--format", "json"))
    more = ["started_at", "seconds", "task_counts", "owner", "held_by", "dead", "acknowledged_at", "reason"]
    assert [list(one) for one in listed] == [[*HEADER, *more]] * 3
    assert parse_lines("header", command.ok("list", "--format", "jsonl")) == listed
    assert command.ok("list", "--format", "value").split() == [one["name"] for one in listed]


CONDITIONS: list[tuple[list[str], list[str]]] = [
    (["--status", "failed"], ["etl-24"]),
    (["--status", "open"], ["inbox"]),
    (["--status", "stale"], []),
    (["--status", "running"], []),
    (["--task", "report"], ["etl-25", "etl-24"]),
    (["--task", "load"], []),
    (["--since", "1h"], ["etl-25", "etl-24", "inbox"]),
    (["--since", "0s"], []),
    (["--limit", "1"], ["etl-25"]),
    (["--limit", "0"], ["etl-25", "etl-24", "inbox"]),
    (["--status", "failed", "--task", "report", "--since", "2d", "--limit", "5"], ["etl-24"]),
]


def test_list_shows_what_meets_its_conditions(command: Commands, filled: Store) -> None:
    for options, names in CONDITIONS:
        assert (options, command.ok("list", "--format", "value", *options).split()) == (options, names)


def test_list_says_that_there_is_more_or_nothing(command: Commands, filled: Store) -> None:
    assert "--limit 0 for all" in command.ok("list", "--limit", "2")
    assert "--limit" not in command.ok("list", "--limit", "3")
    assert command.ok("list", "--status", "interrupted") == "no sessions\n"
    assert json.loads(command.ok("list", "--status", "interrupted", "--format", "json")) == []


def test_a_running_session_has_an_owner_and_a_dead_one_is_stale(command: Commands, filled: Store) -> None:
    with filled.session("live").run(task="t") as run, run.attempt("t"):
        assert f"{os.getpid()}@" in command.ok("list", "--status", "running")
        assert "running" in command.ok("show", "live")
        # Let the lease expire, as another process sees it after this one was killed.
        stop_renewals(filled)
        filled.database.execute(sa.text("UPDATE zrb_run SET lease_expires_at = started_at WHERE ended_at IS NULL"))
        assert command.ok("list", "--status", "stale", "--format", "value") == "live\n"
        assert command.ok("list", "--status", "running", "--format", "value") == ""
        document = parse("show", command.ok("show", "live", "--format", "json"))
        assert (document["status"], document["runs"][0]["status"], document["runs"][0]["ended_at"]) == (
            "stale",
            "lost",
            None,
        )
        assert document["tasks"][0]["status"] == document["tasks"][0]["attempts"][0]["status"] == "lost"
        assert [one.name for one in filled.sessions(status="stale")] == ["live"]
