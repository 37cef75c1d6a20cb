"""`import` refuses a line with a correct hash and impossible content. The schema allows what `import` accepts."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from jsonschema import ValidationError

from tests.support.findings import doctor_findings
from tests.support.history import fill_with_history
from tests.support.sessions import check
from tests.transfer.exports import WRONG, exported, forged, imported, refusal
from zrb_store import Store, open_store
from zrb_store.db import tables
from zrb_store.db.columns import TABLES, ColumnRule
from zrb_store.operations.copy import FIELDS

_FAR = 2**62
ETL = "etl"


# The kind of a line, a change, and the error message or the invariant. Changed is the first line of that kind in the
# session etl.
IMPOSSIBLE: list[tuple[str, dict[str, Any], str]] = [
    ("session", {"path": "[[["}, "path is not JSON"),
    ("session", {"path": "[1]"}, "path is not a list of texts"),
    ("session", {"tasks": "5"}, "tasks is not a dict of tasks, each `not started` or `skipped`"),
    ("session", {"tasks": '{"load": "done"}'}, "tasks is not a dict of tasks"),
    ("session", {"inputs": "[]"}, "inputs is not a dict"),
    ("session", {"inputs": '{"a": {"$": "nonsense"}}'}, "inputs has the unknown type 'nonsense'"),
    ("session", {"status": "done"}, "status is none of open, running, waiting, completed, failed, interrupted"),
    ("session", {"status": "open"}, "session-status"),
    ("session", {"status": "running", "ended_at": None}, "session-run"),
    ("session", {"ended_at": None}, "session-status"),
    ("session", {"created_at": _FAR}, "created_at is too large"),
    ("session", {"created_at": -1}, "created_at is less than 0"),
    ("session", {"fence": -1}, "fence is less than 0"),
    ("session", {"fence": 2**31}, "fence is too large"),
    ("session", {"fence": 7}, "session-fence"),
    ("session", {"pinned": 1}, "pinned is not of its type"),
    ("session", {"forked_from": "a/b"}, "forked_from is not a valid name"),
    ("session", {"task": "x" * 2001}, "task is not a valid name"),
    ("run", {"command": "zrb load"}, "command is not JSON"),
    ("run", {"command": '"zrb load"'}, "command is not a list of texts"),
    ("run", {"number": 0}, "number is less than 1"),
    ("run", {"number": 2}, "there is another run 2"),
    ("run", {"origin": "cron"}, "origin is none of cli, web, library"),
    ("run", {"status": "done"}, "status is none of completed, failed, interrupted, lost"),
    ("run", {"status": None}, "run-status"),
    ("run", {"pid": -1}, "pid is less than 0"),
    ("run", {"pid": 2**31}, "pid is too large"),
    ("run", {"lease_expires_at": _FAR}, "lease_expires_at is too large"),
    ("run", {"ended_at": None, "status": None, "lease_expires_at": 4 * 10**15}, "session-run"),
    ("run", {"ended_at": None, "status": None}, "session-run"),
    ("queue", {"high": 2**63 - 1}, "high is too large"),
    ("queue", {"low": -(2**62)}, "low is less than"),
    ("queue", {"high": 0}, "queue-numbers"),
    ("queue", {"name": "x" * 2001}, "name is not a valid name"),
    ("queue", {"max_deliveries": 0}, "max_deliveries is less than 1"),
    ("attempt", {"number": 0}, "number is less than 1"),
    ("attempt", {"status": "skipped"}, "status is none of running, completed"),
    ("attempt", {"status": "running"}, "attempt-status"),
    ("attempt", {"ended_at": None}, "attempt-status"),
    ("attempt", {"status": "running", "ended_at": None}, "attempt-status"),
    ("attempt", {"given_back_at": 10**18}, "given_back_at is too large"),
    ("attempt", {"fence": 2}, "attempt-run"),
    ("attempt", {"run": None, "fence": 9}, "attempt-run"),
    ("attempt", {"arguments": "{"}, "arguments is not JSON"),
    ("attempt", {"result_seq": None}, "attempt-result"),
    ("attempt", {"given_back_at": None, "result_seq": 7}, "attempt-result"),
    ("output", {"attempt": "etl/extract#9"}, "session etl names attempt extract#9, which does not exist"),
    ("output", {"attempt": "other/extract#1"}, "its attempt is not of session etl"),
    ("output", {"piece": 2}, "one of the last 500 lines is repeated"),
    ("output", {"piece": 0}, "piece is less than 1"),
    ("output", {"start": 3}, "output-pieces"),
    ("output", {"size": 77}, "size is not that of its lines"),
    ("output", {"data": "[[1]]"}, "data is not a list of lines"),
    ("output", {"data": '[[1,"print","\u00e9"]]'}, "data is not ASCII"),
    ("run", {"notified_at": -1}, "notified_at is less than 0"),
    ("value", {"data": "nonsense", "size": 8}, "data is not JSON"),
    ("value", {"data": '{"$":"nonsense"}', "size": 16}, "data has the unknown type 'nonsense'"),
    ("value", {"data": '{"$":"date","w":1}', "size": 18}, "data has a part of type 'date' that is not of its form"),
    ("value", {"size": 0}, "size is less than 1"),
    ("value", {"size": 2**31}, "size is too large"),
    ("value", {"size": 77}, "value-size"),
    ("value", {"state": "lost"}, "state is none of live, taken, removed, retracted, dead"),
    ("value", {"failed_deliveries": -1}, "failed_deliveries is less than 0"),
    ("value", {"ended_at": None}, "value-state"),
    ("value", {"state": "live"}, "value-state"),
    ("value", {"state": "live", "ended_at": None, "taken_by": "etl/load#2"}, "value-taker"),
    ("value", {"orphaned": True, "state": "live", "ended_at": None, "taken_by": None}, "value-orphaned"),
    ("value", {"state": "taken", "taken_by": "etl/load#1", "orphaned": False}, "pusher-given-back"),
    ("value", {"seq": 10**18}, "seq is too large"),
    ("value", {"seq": 99}, "attempt-result"),
    ("value", {"moved_from": -(2**63)}, "moved_from is less than"),
    ("value", {"pushed_at": -5}, "pushed_at is less than 0"),
    ("value", {"pushed_by": "a b/load#1"}, "pushed_by is not an attempt"),
    ("value", {"pushed_by": "etl/load#0"}, "pushed_by is not an attempt"),
    ("value", {"pushed_by": "etl/load#9"}, "session etl names attempt load#9, which does not exist"),
    ("change", {"at": 10**18}, "at is too large"),
    ("change", {"pid": -2}, "pid is less than 0"),
]


@pytest.mark.parametrize(
    ("kind", "change", "why"), IMPOSSIBLE, ids=[f"{kind}-{change}"[:60] for kind, change, _ in IMPOSSIBLE]
)
def test_an_impossible_line_is_refused_and_named(
    empty_store: Store, sample_export: bytes, kind: str, change: Any, why: str
) -> None:
    lines = [json.loads(line) for line in sample_export.splitlines()]
    start = next(place for place, line in enumerate(lines) if (line["record"], line.get("name")) == ("session", ETL))
    place = next(place for place in range(start, len(lines)) if lines[place]["record"] == kind)
    message = refusal(empty_store, forged((place - 1, change), content=sample_export))
    assert WRONG.get(why, why) in message
    assert message.endswith("; nothing was imported")
    if why in WRONG:
        assert re.search(r": 1 \(etl[)/]", message)
    else:
        line = int(re.match(r"line (\d+) of the file is damaged: ", message)[1])  # type: ignore[index]
        assert line >= start + 1


DEAD: list[tuple[str, dict[str, Any], str]] = [
    ("value", {"failed_deliveries": 0}, "value-deliveries"),
    ("value", {"failed_deliveries": 2}, "value-deliveries"),
    ("value", {"ended_at": None}, "value-state"),
    ("value", {"state": "live", "ended_at": None, "failed_deliveries": 0}, "value-deliveries"),
    ("value", {"taken_by": "etl/load#2"}, "value-taker"),
    ("value", {"orphaned": True}, "value-orphaned"),
    ("return", {"failed_deliveries": -1}, "failed_deliveries is less than 0"),
    ("return", {"failed_deliveries": 0}, "value-deliveries"),
    ("return", {"failed_deliveries": 5}, "value-deliveries"),
]


@pytest.mark.parametrize(("kind", "change", "why"), DEAD, ids=[f"{kind}-{change}" for kind, change, _ in DEAD])
def test_lies_about_a_dead_value_are_refused(
    empty_store: Store, sample_export: bytes, kind: str, change: Any, why: str
) -> None:
    lines = [json.loads(line) for line in sample_export.splitlines()]
    place = next(place for place, line in enumerate(lines) if line.get("state") == "dead")
    assert lines[place + 1]["record"] == "return"
    place += kind == "return"
    assert WRONG.get(why, why) in refusal(empty_store, forged((place - 1, change), content=sample_export))


def test_a_dead_value_whose_pusher_was_given_back_is_refused(empty_store: Store, sample_export: bytes) -> None:
    lines = [json.loads(line) for line in sample_export.splitlines()]
    place = next(
        place for place, line in enumerate(lines) if line["record"] == "value" and line["state"] == "retracted"
    )
    change = {"state": "dead", "failed_deliveries": 1, "orphaned": False}
    assert WRONG["pusher-given-back"] in refusal(empty_store, forged((place - 1, change), content=sample_export))


@pytest.fixture
def other(tmp_path: Path, sqlite_template: Path) -> Iterator[Store]:
    with open_store(shutil.copy(sqlite_template, tmp_path / "other.db")) as opened:
        yield opened


def test_what_was_imported_can_be_used(store: Store, other: Store) -> None:
    fill_with_history(store)
    assert imported(other, exported(store)) == 6
    assert doctor_findings(other.database.url.render_as_string(hide_password=False)) == []
    queue = other.session("inbox").xcom["files"]
    queue.push("after")
    assert list(queue)[-1] == "after"


# -- the schema and the checks agree


def test_every_column_has_a_rule_of_its_type() -> None:
    for name, table in tables.metadata.tables.items():
        rules = TABLES[name]
        assert list(rules) == table.c.keys()
        for column in table.c:
            rule = rules[column.name]
            assert (rule.kind, rule.nullable) == (column.type.python_type, bool(column.nullable)), column
            if rule.kind is int and not isinstance(column.type, sa.BigInteger):
                assert rule.most < 2**31 or column.name in ("id", "session_id"), f"{column} is PostgreSQL's INTEGER"


def _some(column: ColumnRule) -> st.SearchStrategy[Any]:
    """Generate values that the column may contain, and values just outside of its limits."""
    bounds = [column.least - 1, column.least, column.most, column.most + 1]
    texts = ["", "x", "a-b", "[]", "{}", "1", "etl", "etl/load#1", "../x", "x" * 300, *column.words]
    return st.none() | st.booleans() | st.sampled_from(bounds) | st.integers() | st.sampled_from(texts) | st.floats()


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_the_schema_and_the_checks_agree(sample_export: bytes, data: st.DataObject) -> None:
    lines = [json.loads(line) for line in sample_export.splitlines()]
    record = data.draw(st.sampled_from([line for line in lines if line["record"] in FIELDS]))
    name, column = data.draw(st.sampled_from(list(FIELDS[record["record"]].items())))
    item = data.draw(_some(column))
    problem = column.problem(item)
    try:
        check("export", {**record, name: item})
        is_valid = True
    except ValidationError:
        is_valid = False
    if type(item) is float:  # JSON Schema accepts 1.0 as an integer
        assert problem
    elif type(item) is str and column.content is not None and is_valid:
        assert column.pattern is None or problem is None or "no attempt" in problem, "the schema describes the rest"
    else:
        assert is_valid == (problem is None)


@pytest.mark.parametrize("kind", FIELDS)
def test_the_schema_has_each_field(sample_export: bytes, kind: str) -> None:
    record = next(line for line in map(json.loads, sample_export.splitlines()) if line["record"] == kind)
    check("export", record)
    for name in FIELDS[kind]:
        with pytest.raises(ValidationError):
            check("export", {key: item for key, item in record.items() if key != name})
    with pytest.raises(ValidationError):
        check("export", {**record, "more": 1})
