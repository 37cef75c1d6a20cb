"""The databases refuse the rows that no store may contain: each CHECK, and the types of SQLite's STRICT tables."""

from __future__ import annotations

import psycopg
import pytest
import sqlalchemy as sa

from tests.support.findings import findings_after
from tests.support.history import fill_with_history
from zrb_store import Store, ZrbStoreError
from zrb_store.db import tables

FAR = 2**62
FORBIDDEN = {
    "zrb_session_status": ["status = 'done'"],
    "zrb_session_path": ["path = '[[['", "path = '5'"],
    "zrb_session_tasks": ["tasks = '[]'"],
    "zrb_session_inputs": ["inputs = '{'", "inputs = '[1]'"],
    "zrb_session_numbers": ["fence = -1", f"created_at = {FAR}", "created_tick = -1, ended_tick = NULL"],
    "zrb_session_flags": ["pinned = 2"],
    "zrb_session_ended": ["status = 'completed', ended_at = NULL", "status = 'open'", "ended_tick = NULL"],
    "zrb_session_order": ["created_tick = ended_tick + 1"],
    "zrb_run_origin": ["origin = 'cron'"],
    "zrb_run_status": ["status = 'done'"],
    "zrb_run_command": ["command = 'zrb load'", "command = '{}'"],
    "zrb_run_inputs": ["inputs = '5'"],
    "zrb_run_numbers": ["number = -number", "pid = -5", f"lease_expires_at = {FAR}"],
    "zrb_run_ended": ["status = NULL", "ended_at = NULL", "ended_tick = NULL"],
    "zrb_run_order": ["started_tick = ended_tick + 1"],
    "zrb_attempt_status": ["status = 'skipped'"],
    "zrb_attempt_inputs_read": ["inputs_read = '{}'"],
    "zrb_attempt_inputs_assigned": ["inputs_assigned = '[]'"],
    "zrb_attempt_numbers": ["number = -number", "fence = -1", f"started_at = {FAR}", "command_pid = 0"],
    "zrb_attempt_flags": ["restorable = 2"],
    "zrb_attempt_ended": ["status = 'running'", "ended_at = NULL, given_back_at = NULL", "ended_tick = NULL"],
    "zrb_attempt_order": ["started_tick = ended_tick + 1", "given_back_at = 1, given_back_tick = ended_tick - 1"],
    "zrb_attempt_given_back": ["given_back_at = 1, given_back_tick = NULL"],
    "zrb_attempt_result": ["result_queue_id = 1, result_seq = NULL", "result_queue_id = NULL, result_seq = 1"],
    "zrb_attempt_step": ["step_number = 7", "once = (1 = 1)"],
    "zrb_attempt_attributes": ["attributes = '[]'"],
    "zrb_attempt_wait": ["deadline_at = 1"],
    "zrb_output_numbers": ["piece = -piece", "start = -1", "size = 0"],
    "zrb_queue_numbers": [f"high = {FAR}", "max_deliveries = 0"],
    "zrb_queue_retry_after": ["retry_after = '5'", "retry_after = '['"],
    "zrb_queue_order": ["low = high + 2"],
    "zrb_value_state": ["state = 'lost'"],
    "zrb_value_numbers": ["size = 0", f"pushed_at = {FAR}", "failed_deliveries = -1"],
    "zrb_value_flags": ["plain = 2"],
    "zrb_value_ended": ["state = 'live', taken_by = NULL, orphaned = (1 = 0)", "ended_at = NULL", "ended_tick = NULL"],
    "zrb_value_order": ["pushed_tick = ended_tick + 1"],
    "zrb_value_held": ["state = 'retracted', orphaned = (1 = 1)"],
    "zrb_value_dead": ["state = 'dead', failed_deliveries = 0, taken_by = NULL, orphaned = (1 = 0)"],
    "zrb_chunk_numbers": ["number = -1 - number"],
    "zrb_return_numbers": ["failed_deliveries = -1", f"taken_at = {FAR}"],
    "zrb_return_order": ["taken_tick = returned_tick + 1"],
    "zrb_replaced_numbers": ["size = 0", f"replaced_at = {FAR}"],
    "zrb_change_numbers": ["pid = -1", f"at = {FAR}"],
}
"""Changes that the CHECK of this name refuses, of one row that meets all rules."""

# A row of each table on which every change is forbidden: one that has ended, where rows end.
ROWS = {
    "zrb_session": "name = 'etl'",
    "zrb_run": "ended_at IS NOT NULL",
    "zrb_attempt": "status = 'completed' AND step_of IS NULL AND given_back_at IS NULL AND result_seq IS NOT NULL",
    "zrb_value": "state = 'taken'",
}


RULES = {
    str(rule.name).removeprefix("ck_")
    for table in tables.metadata.sorted_tables
    for rule in table.constraints
    if isinstance(rule, sa.CheckConstraint)
}
FOUND_BY_DOCTOR = {"damaged-row", "attempt-rules", "queue-rules", "value-rules"}


def test_each_rule_has_a_change_that_breaks_it() -> None:
    assert FORBIDDEN.keys() == RULES


def test_what_breaks_a_rule_is_refused_or_found_by_doctor(store: Store) -> None:
    fill_with_history(store)
    on_sqlite = store.database.dialect_name == "sqlite"
    held = RULES if on_sqlite else rules_of_schema(store)
    for rule in held:
        # PostgreSQL names the first of several broken rules, and refuses a text that is no JSON before all.
        names = f"ck_{rule}" if on_sqlite else "ck_zrb_|invalid input syntax for type json"
        for change in FORBIDDEN[rule]:
            with pytest.raises((ZrbStoreError, psycopg.DataError), match=names):
                store.database.execute(changed(rule, change))
    for rule in FORBIDDEN.keys() - held:
        if rule.endswith("_flags"):
            continue  # PostgreSQL's booleans are no numbers
        for change in FORBIDDEN[rule]:
            assert findings_after(store, str(changed(rule, change))).keys() & FOUND_BY_DOCTOR, change


def rules_of_schema(store: Store) -> set[str]:
    names = "SELECT conname FROM pg_constraint WHERE contype = 'c' AND connamespace = current_schema()::regnamespace"
    return {name.removeprefix("ck_") for (name,) in store.database.execute(sa.text(names))}


def changed(rule: str, change: str) -> sa.TextClause:
    table = next(name for name in tables.metadata.tables if rule.startswith(f"{name}_"))
    return sa.text(f"UPDATE {table} SET {change} WHERE {ROWS.get(table, '1 = 1')}")


@pytest.mark.on_sqlite
@pytest.mark.parametrize("change", ["size = 'big'", "pushed_at = 1.5", "type = x'ff'", "data = NULL"])
def test_a_column_takes_its_type_alone(store: Store, change: str) -> None:
    store.session("inbox").xcom["q"].push(1)
    with pytest.raises(ZrbStoreError, match=r"cannot store|NOT NULL"):
        store.database.execute(sa.text(f"UPDATE zrb_value SET {change}"))
