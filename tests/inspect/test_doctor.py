"""`doctor` finds every kind of fault, and finds none in a store that was only used normally."""

from __future__ import annotations

import itertools
import re
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import Text

from tests.inspect.faults import FAULTS
from tests.support.commands import Commands
from tests.support.findings import doctor_findings, findings_after
from tests.support.history import fill_with_history
from tests.support.rows import allow_damage, faults, query
from tests.support.scenarios import Scenario, ScenarioRun, first_starts, steps
from tests.support.sessions import parse, parse_lines
from tests.support.steps import insert_step
from zrb_store import Store, StoreMissing, open_store
from zrb_store.db.tables import metadata
from zrb_store.inspect import doctor
from zrb_store.operations import prune
from zrb_store.operations.sessions import remove_sessions
from zrb_store.queries.invariants import INVARIANTS


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Path:
    """The file of a store with a history."""
    path = tmp_path_factory.mktemp("history") / "store.db"
    shutil.copy(sqlite_template, path)
    with open_store(path) as store:
        fill_with_history(store)
    return path


@pytest.fixture
def used(location: str, history: Path) -> Iterator[Store]:
    """A store with a history."""
    is_copied = "://" not in location
    if is_copied:
        shutil.copy(history, location)
    with open_store(location) as store:
        if not is_copied:
            fill_with_history(store)
        yield store


@pytest.mark.slow
def test_a_store_that_was_used_is_healthy(used: Store, location: str) -> None:
    assert doctor_findings(location) == []


_numbers = itertools.count()


@hypothesis_settings(
    max_examples=hypothesis_settings().max_examples // 6,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@pytest.mark.slow
@given(scenario=st.lists(steps, max_size=25))
def test_any_scenario_leaves_a_healthy_store(store: Store, location: str, scenario: Scenario) -> None:
    scenario_run = ScenarioRun(store, f"s{next(_numbers)}")
    scenario_run.execute(scenario)
    assert doctor_findings(location) == []
    scenario_run.end()
    for task, _ in first_starts(scenario):
        store.fork(scenario_run.session.name, from_task=task)
    list(prune.prune(store.database, prune.Policy(older_than=timedelta(0), statuses=("open",))))
    assert doctor_findings(location) == []
    remove_sessions(store.database, scenario_run.session.name)
    assert doctor_findings(location) == []


def test_doctor_fails_for_errors_and_not_for_warnings(
    command: Commands, used: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_WAL_RESET_BUG", ((0,), (0,)))
    told = command.ok("doctor")
    assert told == (  # a warning does not fail the command
        "warning: dead values in queue 'poison' of session inbox: 1; `zrb-store show inbox "
        "poison --dead` shows why, `zrb-store requeue inbox poison --all-dead` makes them live again, "
        "`replace` mends one and `drop` takes one out\n"
    )
    command("requeue", "inbox", "poison", "--all-dead")
    assert command.ok("doctor") == "healthy\n"
    assert command.ok("doctor", "--format", "json") == "[]\n"
    assert command.ok("doctor", "--format", "jsonl") == ""
    allow_damage(used)
    used.database.execute(sa.text("UPDATE zrb_value SET pushed_tick = ended_tick + 1 WHERE state = 'retracted'"))
    used.database.execute(sa.text("UPDATE zrb_session SET fence = 7 WHERE name = 'etl'"))
    result = command("doctor")
    assert (result.code, result.err) == (1, "")
    expected = "error: sessions that have a fence that is not the number of their newest run: 1 (etl); "
    assert expected in result.out
    failed = command("doctor", "--format", "json")
    assert failed.code == 1
    findings = parse("doctor", failed.out)
    assert {finding["check"] for finding in findings} >= {"session-fence", "value-times"}
    assert parse_lines("finding", command("doctor", "--format", "jsonl").out) == findings
    assert command("doctor", "--format", "value").out.split() == [finding["check"] for finding in findings]
    assert "zrb-store doctor" in command.ok("doctor", "--help").partition("Example")[2]


@pytest.mark.slow
def test_each_fault_in_the_rows_is_found(used: Store) -> None:
    on_sqlite = used.database.dialect_name == "sqlite"
    for check, of_check in FAULTS.items():
        for fault in of_check if on_sqlite else of_check[:1]:  # one query finds all of a check
            findings = findings_after(used, fault)
            if check == "queue-numbers" and on_sqlite:
                assert findings == {}, "SQLite computes the next seq from the rows, so that this is no fault"
                continue
            if check.endswith("-rules") and on_sqlite:
                continue  # SQLite refuses these rows, and `examine` has it check its file
            assert check in findings, fault
            assert findings[check].remedy
            assert len(str(findings[check]).splitlines()) == 1
    assert faults(used) == []


def test_a_task_may_have_the_id_of_a_step(store: Store, location: str) -> None:
    """The task's attempt is not one that a later attempt of the step should have given back."""
    with store.session("s").run() as run, run.attempt("load"):
        run.begin("load/1")
        insert_step(store, "s/load#1", "page", 1, attempt_number=2)
        assert doctor_findings(location) == []


def test_every_invariant_has_a_fault() -> None:
    assert FAULTS.keys() >= {invariant.name for invariant in INVARIANTS}


TEXTS = [
    (table.name, column.name) for table in metadata.sorted_tables for column in table.c if type(column.type) is Text
]


@pytest.mark.on_sqlite
@pytest.mark.parametrize(("table", "column"), TEXTS)
def test_a_text_that_is_not_utf_8_is_found(used: Store, table: str, column: str) -> None:
    found = findings_after(used, f"UPDATE {table} SET {column} = x'ff' || coalesce({column}, '1')")
    contents = {"zrb_value.data": "value-data", "zrb_replaced.data": "replaced-data", "zrb_output.data": "output-data"}
    check = {**contents, "zrb_attempt.result": "result-data"}.get(f"{table}.{column}", "damaged-row")
    assert check in found
    assert check != "damaged-row" or f"({column})" in found[check].what or f", {column})" in found[check].what


def test_sizes_are_in_bytes(store: Store, command: Commands) -> None:
    inbox = store.session("inbox").xcom
    inbox["q"].push("é")
    command.ok("doctor")
    assert query(store, "SELECT size FROM zrb_value") == [(4,)]
    store.database.execute(sa.text("UPDATE zrb_value SET size = 3"))
    result = command("doctor")
    assert result.code == 1
    assert "are not as long as their stored size: the data is damaged: 1 (inbox/q#1)" in result.out


def test_many_are_counted_and_few_named(used: Store, location: str) -> None:
    used.session("many").xcom["q"].extend(range(50))
    used.database.execute(sa.text("UPDATE zrb_value SET size = 9 WHERE type = 'int'"))
    (finding,) = (finding for finding in doctor_findings(location) if finding.check == "value-size")
    assert re.search(r"the data is damaged: \d\d ", finding.what)
    assert finding.what.endswith(", ...)")


@pytest.mark.parametrize("revision", ["0000", "ffff"])
def test_another_revision_is_reported_and_its_rows_are_left_alone(used: Store, location: str, revision: str) -> None:
    used.database.execute(sa.text("ALTER TABLE zrb_attempt RENAME COLUMN kind TO part"))
    used.database.execute(sa.text(f"UPDATE zrb_version SET version_num = '{revision}'"))
    assert [finding.check for finding in doctor_findings(location)] == ["revision"]


def test_no_store_is_no_finding(new_location: str) -> None:
    with pytest.raises(StoreMissing):
        doctor_findings(new_location)
