"""The commands log, trace, last and diff, and parts of values selected by a path."""

from __future__ import annotations

import contextlib
import json
import time
from collections import OrderedDict
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support.commands import Commands
from tests.support.rows import stop_renewals
from tests.support.sessions import Broken, etl, events, inbox, parse, parse_lines
from zrb_store import Store, ValueNotFound, codec
from zrb_store.codec.compare import differences, same
from zrb_store.inspect.get import part
from zrb_store.process import identity
from zrb_store.queries import by_hand

pytestmark = pytest.mark.long_on_postgresql

# -- log


def test_log_shows_tracebacks_and_how_each_run_was_started(command: Commands, filled: Store) -> None:
    etl(filled, "etl-24", broken=True)
    document = parse("log", command.ok("log", "etl-24", "--format", "json"))
    assert [one["number"] for one in document["runs"]] == [1, 2]
    me = identity()
    assert (document["runs"][0]["host"], document["runs"][0]["pid"], document["runs"][0]["user"]) == (
        me.host,
        me.pid,
        me.user,
    )
    assert (document["runs"][0]["zrb_version"], document["runs"][0]["folder"]) == ("3", str(Path.cwd()))
    assert [one["attempt"] for one in document["attempts"]] == ["extract#1", "load#1", "load#2", "load#3", "load#4"]
    error = document["attempts"][1]["error"]
    assert error["traceback"].endswith("Broken: no column 'price'\nin row 3\n")
    assert document["attempts"][1]["given_back_at"] is not None
    text = command.ok("log", "etl-24")
    assert "Traceback (most recent call last):" in text.splitlines()
    assert "Versions  Python" in text
    assert ", zrb 3" in text
    assert "extract#1" not in text  # it did not fail
    assert "load#4 failed in run 2" in text


def test_log_of_one_task(command: Commands, filled: Store) -> None:
    document = parse_lines("attempt", command.ok("log", "etl-24", "load", "--format", "jsonl"))
    assert [one["attempt"] for one in document] == ["load#1", "load#2"]
    assert command.ok("log", "etl-24", "load", "--format", "value").count("Traceback") == 2
    assert "No attempt failed." in command.ok("log", "etl-24", "extract")
    result = command("log", "etl-24", "lode")
    assert (result.code, result.out) == (3, "")
    assert "did you mean load?" in result.err


def test_log_of_a_session_without_runs_and_of_a_lost_attempt(command: Commands, filled: Store) -> None:
    assert "No attempt failed." in command.ok("log", "inbox")
    run = filled.session("dead").run().start()
    run.begin("t")
    stop_renewals(filled)
    filled.database.execute(sa.text("UPDATE zrb_run SET lease_expires_at = started_at WHERE ended_at IS NULL"))
    assert "t#1 lost in run 1" in command.ok("log", "dead")
    assert "Its process died or lost its lease; no error was recorded." in command.ok("log", "dead")
    run.end("failed")


def test_log_tells_what_was_done_by_hand(command: Commands, filled: Store) -> None:
    by_hand.record_change(filled.database, "pin", "etl-24", None)
    document = parse("log", command.ok("log", "etl-24", "--format", "json"))
    assert [(one["action"], one["pid"]) for one in document["changes"]] == [("pin", identity().pid)]
    assert "Done by others" in command.ok("log", "etl-24")


# -- trace


@pytest.mark.promise(number=3)
def test_trace_shows_the_history_of_a_value(command: Commands, filled: Store) -> None:
    assert events(command, "etl-24/rows#1") == [
        ("pushed", "extract#1", None),
        ("taken", "load#1", None),
        ("given back", "load#1", None),
        ("taken", "load#2", None),
    ]
    assert events(command, "etl-24/loaded#1") == [("pushed", "load#1", None), ("retracted", "load#1", None)]
    takers = ["etl-24/load#1", "etl-24/load#2", "etl-25/load#1"]
    expected = [None, *(taker for taker in takers for _ in ("taken", "given back")), "etl-25/load#2"]
    assert [by for _, by, _ in events(command, "inbox/files#1")] == expected
    text = command.ok("trace", "in/files#1")
    assert "State    taken by etl-25/load#2" in text.splitlines()
    assert command.ok("trace", "inbox/files#1", "--format", "value") == "a.csv\n"


def test_trace_follows_a_value_that_was_moved(command: Commands, store: Store) -> None:
    queue = store.session("s").xcom["q"]
    queue.extend(["a", "b", "c"])
    queue.rotate(1)
    assert events(command, "s/q#3") == [("pushed", None, None), ("removed", None, None), ("moved", None, "s/q#0")]
    assert events(command, "s/q#0") == [("pushed", None, "s/q#3")]
    assert "continues s/q#3" in command.ok("trace", "s/q#0")


def test_trace_of_an_orphan(command: Commands, store: Store) -> None:
    session = store.session("s")
    with session.run() as run:
        with contextlib.suppress(Broken), run.attempt("producer") as attempt:
            attempt.xcom["q"].push(1)
            raise Broken
        with run.attempt("consumer") as attempt:
            attempt.xcom["q"].pop()
            attempt.complete()
        with run.attempt("producer"):
            pass
    assert events(command, "s/q#1") == [
        ("pushed", "producer#1", None),
        ("taken", "consumer#1", None),
        ("orphaned", "producer#1", None),
    ]
    assert "taken by consumer#1, orphaned" in command.ok("show", "s")


@pytest.mark.on_sqlite
@pytest.mark.parametrize(
    ("value", "code"),
    [("etl-24", 2), ("etl-24/rows", 2), ("etl-24/rows#x", 2), ("etl-24/rows#9", 3), ("etl-24/x#1", 3), ("zzz/q#1", 3)],
)
def test_trace_of_a_missing_value_prints_nothing(command: Commands, filled: Store, value: str, code: int) -> None:
    result = command("trace", value)
    assert (result.code, result.out) == (code, "")


# -- last


def test_last_is_the_newest_result_in_a_completed_session_of_this_project(
    command: Commands, filled: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = command("last", "load")
    assert (result.code, result.out) == (3, "")
    assert "--any-project" in result.err
    assert command.ok("last", "load", "--any-project") == '["done",3.5]\n'
    project = tmp_path / "project"
    (project / "deeper").mkdir(parents=True)
    (project / "zrb_init.py").touch()
    etl(filled, "here", broken=False, project=str(project))
    monkeypatch.chdir(project / "deeper")
    found = parse("value", command.ok("last", "load", "--format", "json"))
    assert found["id"] == "here/load#1"
    assert command.ok("last", "load", "--path", "$[0]") == "done\n"
    assert command("last", "nothing").code == 3
    assert command("last", "extract", "--max-age", "1h").code == 0


def test_last_takes_neither_failed_sessions_nor_what_is_too_old(command: Commands, store: Store) -> None:
    inbox(store, "a.csv", "b.csv")
    etl(store, "failed", broken=True, project=None)
    assert command("last", "extract").code == 3
    etl(store, "good", broken=False, project=None)  # a session without a project is found from every folder
    assert command.ok("last", "report") == "fine\n"
    assert store.last("report", max_age=timedelta(hours=26)) == "fine"
    store.database.execute(sa.text("UPDATE zrb_attempt SET ended_at = ended_at - 7200000000"))
    assert command.ok("last", "report", "--max-age", "3h") == "fine\n"
    result = command("last", "report", "--max-age", "90m")
    assert (result.code, result.out) == (3, "")
    assert "of session good, 2 h old, older than 90 min" in result.err
    with pytest.raises(ValueNotFound):
        store.last("report", max_age=timedelta(hours=1))


def test_last_is_the_newest_by_when_it_completed(command: Commands, store: Store) -> None:
    older, newer = (store.session(name).run().start() for name in ("one", "two"))
    newer.task("t", lambda: "earlier")
    older.task("t", lambda: "later")
    newer.end("completed")
    assert command.ok("last", "t") == "earlier\n"
    older.end("completed")
    assert command.ok("last", "t") == "later\n"
    assert store.last("t") == "later"


# -- diff


def test_diff_compares_standing_values_path_by_path(command: Commands, store: Store) -> None:
    for name, price, more in (("a", 1, {}), ("b", 2, {"new": (1, "x")})):
        queue = store.session(name).xcom["load"]
        queue.push({"rows": [{"price": price}, "same"], **more})
        queue.push(True if name == "a" else 1)
    store.session("b").xcom["only b"].push(0)
    store.session("b").xcom["load"].pop()  # values that were taken are compared too
    result = command("diff", "a", "b", "--format", "json")
    assert (result.code, result.err) == (1, "")
    document = parse("diff", result.out)
    assert [(one["path"], one["kind"], one["a"], one["b"]) for one in document["differences"]] == [
        ("$.load[0].rows[0].price", "changed", 1, 2),
        ("$.load[0].new", "only_b", None, {"$": "tuple", "v": [1, "x"]}),
        ("$.load[1]", "changed", True, 1),
        ('$["only b"]', "only_b", None, [0]),
    ]
    assert parse_lines("difference", command("diff", "a", "b", "--format", "jsonl").out) == document["differences"]
    assert command("diff", "a", "b", "--format", "value").out.splitlines()[0] == "$.load[0].rows[0].price"
    assert "$.load[0].rows[0].price  1" in command("diff", "a", "b").out
    assert command("diff", "a", "nope").code == 3


def test_diff_of_equal_sessions(command: Commands, filled: Store) -> None:
    etl(filled, "etl-26", broken=False)
    assert "equal" in command.ok("diff", "etl-25", "etl-26")
    assert parse("diff", command.ok("diff", "etl-25", "etl-26", "--format", "json"))["differences"] == []
    assert command("diff", "etl-24", "etl-25").code == 1


@pytest.mark.on_sqlite
@pytest.mark.parametrize(
    ("one", "two"),
    [
        ({None: 1}, {None: 2}),
        ({True: 1}, {True: 2}),
        ({(1, 2): 1}, {(1, 2): 2}),
        ({1.5: 1}, {1.5: 2}),
        ({1: 1}, {1.0: 1}),
        ({1, 2}, {1.0, 2}),
        (OrderedDict([(1, 1), (2, 2)]), OrderedDict([(2, 2), (1, 1)])),
    ],
    ids=repr,
)
def test_diff_overlooks_no_type_and_no_order(command: Commands, store: Store, one: Any, two: Any) -> None:
    store.session("a").xcom["q"].push(one)
    store.session("b").xcom["q"].push(two)
    result = command("diff", "a", "b", "--format", "json")
    assert result.code == 1
    [difference] = parse("diff", result.out)["differences"]
    assert (difference["path"], difference["kind"]) == ("$.q[0]", "changed")
    assert command.ok("diff", "a", "a", "--format", "json")


# -- paths


@pytest.mark.parametrize(
    ("value", "path", "found"),
    [
        ({"rows": [{"name": "x"}]}, "$.rows[0].name", "x"),
        ({"rows": (1, 2)}, "$.rows[-1]", 2),
        ({"odd name": {"a.b": 1}}, '$["odd name"]["a.b"]', 1),
        ({"odd name": 1}, "$['odd name']", 1),
        ({"a-b": None}, "$.a-b", None),
        ({3: "by number"}, "$[3]", "by number"),
        ({None: 1, (1, 2): 2, 3: "among others"}, "$[3]", "among others"),
        ([], "$", []),
    ],
)
def test_a_part_by_its_path(value: Any, path: str, found: Any) -> None:
    assert part(codec.to_json(codec.encode(value).data), path) == found


@pytest.mark.parametrize("path", ["$.x", "$[5]", "$.rows.x", "$[0]", "$.rows[0][0]"])
def test_parts_that_are_not_there(path: str) -> None:
    with pytest.raises(ValueNotFound):
        part({"rows": [1]}, path)


@pytest.mark.parametrize("inside", ["x", None, 1, [1], [[1]], [[1, 2, 3]], {"a": 1}, {"$": []}])
def test_what_is_no_dict_of_pairs_has_no_parts(inside: Any) -> None:
    damaged: Any = {"$": "dict", "v": inside}
    with pytest.raises(ValueNotFound):
        part(damaged, "$[3]")
    assert list(differences(damaged, damaged)) == []
    [difference] = differences(damaged, {"$": "dict", "v": [[1, 2]]})
    assert difference.path == "$"


@pytest.mark.slow
def test_colliding_keys_take_little_time() -> None:
    """Int keys that all have the hash 0: a dict would compare each of them with all others."""

    def spent(factor: int) -> float:
        tree: Any = {"$": "dict", "v": [[key * factor, key] for key in range(30_000)]}
        start = time.process_time()
        assert part(tree, f"$[{29_999 * factor}]") == 29_999
        assert list(differences(tree, json.loads(json.dumps(tree)))) == []
        assert same(tree, json.loads(json.dumps(tree)))
        return time.process_time() - start

    assert spent(2**61 - 1) < 20 * spent(2**61 + 1)


@pytest.mark.parametrize("path", ["", "rows", "$rows", "$.", "$[", "$[x]", "$..a", "$.a]", "$[0]x"])
def test_part_refuses_an_invalid_path(path: str) -> None:
    with pytest.raises(ValueError, match="not a path"):
        part({"rows": [1]}, path)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner) | st.dictionaries(st.integers(), inner)
    ),
    max_leaves=10,
)


def exact(value: Any) -> Any:
    """Return what two values have in common exactly if they are equal and have the same type."""
    if type(value) is dict:
        return dict, {(type(key), key): exact(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value), [exact(item) for item in value]
    return type(value), repr(value + 0.0) if type(value) is float else value  # -0.0 equals 0.0


@pytest.mark.slow
@given(values, values)
@example([0.0], [-0.0])
@example({1: 0, 2: 0}, {2: 0, 1: 0})
@example({2**60: None}, {0: None})
@example({"long " * 100: 1}, {})
@example({10**5000: 1}, {})
def test_differences_are_none_exactly_between_equal_values(one: Any, two: Any) -> None:
    a, b = (codec.to_json(codec.encode(value).data) for value in (one, two))
    assert list(differences(a, json.loads(json.dumps(a)))) == []
    found = list(differences(a, b))
    assert (not found) == (exact(one) == exact(two))
    for difference in found:
        if difference.kind != "only_b":
            assert part(a, difference.path) == difference.a
