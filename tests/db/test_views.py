"""The SQL views say what commands say, quickly, and last through upgrades."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from tests.support import documents, stepping
from tests.support.history import fill_with_history
from tests.support.sessions import show
from tests.support.sql_page import PAGE, QUERIES, SECTIONS, Row, filled_location, from_psycopg
from tests.support.tables import engine_of
from zrb_store import Store
from zrb_store.db import migrate
from zrb_store.db.columns import SESSION
from zrb_store.db.engine import Database
from zrb_store.db.views import ISO
from zrb_store.inspect.list import list_sessions
from zrb_store.operations.values import drop
from zrb_store.records import iso


def rows_of(store: Database, query: str, **params: Any) -> list[Row]:
    """Return the rows of a query over a connection of zrb-store."""
    with store.engine.connect() as connection:
        return [dict(row) for row in connection.execute(sa.text(query), params).mappings()]


# -- what the views contain


def full(name: str | None, session: str) -> str | None:
    """Return the name of an attempt with its session, as the views have it."""
    is_full = name is None or any(
        name.startswith(f"{other}/") for other in ("etl", "again", "inbox", "reader", "night")
    )
    return name if is_full else f"{session}/{name}"


@pytest.mark.slow
@pytest.mark.promise(number=15)
def test_the_views_say_what_show_says(store: Store) -> None:
    fill_with_history(store)
    stepping.night(store)
    names = [row["session"] for row in rows_of(store.database, "SELECT session FROM zrb_xcom_sessions")]
    assert sorted(names) == sorted(record.name for record in store.sessions())
    listed = [each.to_json() for each in list_sessions(store.database)]
    seconds = {each["name"]: each["seconds"] for each in listed}
    for name in names:
        shown = show(store.database, name)

        def of(view: str, order: str, name: str = name) -> list[Row]:
            return rows_of(
                store.database, f"SELECT * FROM zrb_xcom_{view} WHERE session = :name ORDER BY {order}", name=name
            )

        (session,) = of("sessions", "session")
        same: tuple[str, ...] = (
            "status",
            "task",
            "project",
            "created_at",
            "ended_at",
            "parent",
            "forked_from",
            "pinned",
        )
        assert {key: session[key] for key in same} == {key: shown[key] for key in same}
        assert json.loads(session["inputs"] or "{}") == shown["inputs"]
        assert session["runs"] == len(shown["runs"])
        assert session["status"] == "running" or session["seconds"] == pytest.approx(seconds[name], abs=0.001)
        same = ("origin", "host", "pid", "started_at", "ended_at", "status")
        assert [{key: run[key] for key in same} for run in of("runs", "run")] == [
            {key: run[key] for key in same} for run in shown["runs"]
        ]
        assert attempts_of(of("attempts", "task, number")) == sorted(
            (task["task"], *attempt_of(attempt)) for task in shown["tasks"] for attempt in task["attempts"]
        )
        assert attempts_of(of("steps", "task, step, number"), "step") == sorted(
            (step["name"], *attempt_of(attempt))
            for task in shown["tasks"]
            for step in task.get("steps", ())
            for attempt in step["attempts"]
        )
        assert all(row["project"] == session["project"] for row in of("attempts", "task") + of("steps", "step"))
        values = {row["id"]: row for row in of("values", "queue, seq")}
        returns = of("returns", "queue, seq, returned_at, taken_at, failed_deliveries")
        shown_values = [(queue, value) for queue, each in shown["queues"].items() for value in each["values"]]
        assert values.keys() == {value["id"] for _, value in shown_values}
        for queue, value in shown_values:
            row = values[value["id"]]
            same = ("seq", "state", "type", "size", "pushed_at", "moved_from", "orphaned", "failed_deliveries")
            assert {key: row[key] for key in same} == {key: value[key] for key in same}
            assert json.loads(row["value"]) == value["value"]
            assert row["pushed_by"] == full(value["pushed_by"], name)
            assert row["taken_by"] == full(value["taken_by"], name)
            assert row["queue"] == queue
            if value["taken_at"]:
                assert row["ended_at"] == value["taken_at"]
            assert (row["state"] == "live") == (row["ended_at"] is None)
            same = ("taken_at", "returned_at", "reason", "failed_deliveries")
            assert [
                (full(each["taken_by"], name), *(each[key] for key in same))
                for each in sorted(value["returns"], key=lambda each: each["returned_at"])
            ] == [
                (each["taken_by"], *(each[key] for key in same))
                for each in returns
                if (each["queue"], each["seq"]) == (queue, row["seq"])
            ]
        assert {row["queue"]: (row["live"], row["max_deliveries"]) for row in of("queues", "queue")} == {
            queue: (len(each["live"]), each["max_deliveries"]) for queue, each in shown["queues"].items()
        }
        taken = [value for _, value in shown_values if value["state"] == "taken" and value["taken_by"]]
        assert [(row["pushed_by"], row["taken_by"], row["taken_at"]) for row in of("lineage", "queue, seq")] == [
            (full(value["pushed_by"], name), full(value["taken_by"], name), value["taken_at"])
            for value in sorted(taken, key=lambda value: (value["id"].rpartition("#")[0], value["seq"]))
        ]


def attempts_of(rows: list[Row], column: str = "task") -> list[tuple[Any, ...]]:
    return sorted(
        (
            row[column],
            row["number"],
            row["run"],
            row["status"],
            row["started_at"],
            row["ended_at"],
            row["error_message"],
        )
        for row in rows
    )


def attempt_of(shown: Row) -> tuple[Any, ...]:
    error = shown["error"] or {"message": None}
    return (*(shown[key] for key in ("number", "run", "status", "started_at", "ended_at")), error["message"])


@pytest.mark.promise(number=15)
@pytest.mark.parametrize("moment", [None, 0, 1, 999_999, 1_795_000_000_000_001, SESSION["created_at"].most])
def test_times_are_those_that_commands_print(store: Store, moment: int | None) -> None:
    with store.database.engine.connect() as connection:
        number = "CAST(NULL AS BIGINT)" if moment is None else f"CAST({moment} AS BIGINT)"
        found = connection.exec_driver_sql(f"SELECT {ISO[connection.dialect.name].format(number)}")
        assert found.scalar() == iso(moment)


# -- what they cost


def full_scans(connection: sa.Connection, query: str) -> list[str]:
    """Return the steps of a query's plan that read a whole table or a whole index."""
    if connection.dialect.name == "sqlite":
        steps = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}")]
        # `in_order` is no table: it is the chunks of one value, which are found by their index.
        return [step for step in steps if step.startswith("SCAN") and step != "SCAN in_order"]
    # Reading so few rows whole would be best, above all if autovacuum has counted them.
    connection.exec_driver_sql("BEGIN")  # this connection commits by itself, and a pool has several to the server
    connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
    connection.exec_driver_sql("DELETE FROM pg_statistic WHERE starelid::regclass::text LIKE 'zrb_%%'")
    connection.exec_driver_sql(
        "UPDATE pg_class SET reltuples = -1, relpages = 0 WHERE oid::regclass::text LIKE 'zrb_%%'"
    )
    (plan,) = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {query}").scalars()
    connection.exec_driver_sql("ROLLBACK")
    return [step["Node Type"] for step in nodes(plan[0]["Plan"]) if "Scan" in step["Node Type"] and is_full(step)]


def nodes(plan: Row) -> Iterator[Row]:
    yield plan
    for each in plan.get("Plans", ()):
        yield from nodes(each)


def is_full(step: Row) -> bool:
    return step["Node Type"] != "Bitmap Heap Scan" and "Index Cond" not in step


@pytest.mark.promise(number=15)
def test_conditions_on_sessions_and_numbers_use_an_index(location: str) -> None:
    quick = ["session", "attempt_id", "pushed_by_id", "taken_by_id"]
    with engine_of(filled_location(location)).connect() as connection:
        looked_at = [
            (name, column, full_scans(connection, f"SELECT * FROM {name} WHERE {column} = {number or repr('etl-24')}"))
            for name, (columns, _) in SECTIONS.items()
            for column, number in zip(quick, (None, 1, 1, 1), strict=True)
            if column in columns
        ]
        assert len(looked_at) == 18
        assert [each for each in looked_at if each[2]] == []
        # What this looks for can be found.
        assert full_scans(connection, "SELECT * FROM zrb_xcom_values WHERE type = 'dict'")


# -- how they live on


@pytest.mark.promise(number=15)
def test_what_users_build_on_the_views_lasts_through_upgrades(
    location: str, add_migration: Callable[..., None]
) -> None:
    rows_of_mine = "SELECT * FROM mine ORDER BY session, value"
    engine = engine_of(filled_location(location))
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE VIEW mine AS SELECT session, value FROM zrb_xcom_values WHERE state = 'live'"
        )
        connection.exec_driver_sql("CREATE VIEW bold AS SELECT name FROM zrb_session")
        before = connection.exec_driver_sql(rows_of_mine).fetchall()
    add_migration(
        "op.add_column('zrb_session', sa.Column('more', sa.Text))",
        "with rebuild('zrb_session') as batch:",
        "    batch.alter_column('pinned', existing_type=sa.Boolean, server_default=sa.true())",
    )
    migrate.upgrade(engine)
    with engine.connect() as connection:
        assert connection.exec_driver_sql(rows_of_mine).fetchall() == before != []
        assert len(connection.exec_driver_sql("SELECT * FROM bold").fetchall()) == 4
        assert connection.exec_driver_sql("SELECT count(*) FROM zrb_xcom_sessions").scalar() == 4


@pytest.fixture
def analyst(new_postgres: str, postgres_admin: psycopg.Connection[Any]) -> Iterator[str]:
    """The URL of a store for a role that has the rights that the page gives it."""
    filled_location(new_postgres)
    schema = new_postgres.rpartition("%3D")[2]
    role = f"analyst_{schema}"
    (grants,) = (block.text for block in documents.blocks(PAGE) if "GRANT" in block.text)
    grants = re.sub(r"\bzrb\b", schema, grants.replace("analyst", role))
    postgres_admin.execute(f"CREATE ROLE {role} LOGIN".encode())
    try:
        postgres_admin.execute(grants.encode())
        yield sa.make_url(new_postgres).set(username=role).render_as_string()
    finally:
        postgres_admin.execute(f"RESET search_path; DROP OWNED BY {role}; DROP ROLE {role}".encode())


@pytest.mark.promise(number=15)
def test_an_analyst_reads_the_views_and_nothing_else_also_after_an_upgrade(
    analyst: str, new_postgres: str, add_migration: Callable[..., None]
) -> None:
    def reads() -> None:
        for name, query in QUERIES.items():
            assert from_psycopg(analyst)(query), name
        for query in ("SELECT 1 FROM zrb_session", "DELETE FROM zrb_xcom_sessions"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                from_psycopg(analyst)(query)

    reads()
    add_migration("op.add_column('zrb_session', sa.Column('more', sa.Text))")
    migrate.upgrade(engine_of(new_postgres))
    reads()


@pytest.mark.promise(number=15)
def test_steps_have_their_arguments_and_group_by_name(store: Store) -> None:
    names = ["model", "model", "model", "page 3", "a~b"]
    with store.session("agent").run() as run, run.attempt("chat") as attempt:
        for name in names:
            attempt.step(name, len, "abc")
    found = rows_of(store.database, "SELECT step, step_name, arguments FROM zrb_xcom_steps ORDER BY attempt_id")
    assert [row["step_name"] for row in found] == names
    assert [row["step"] for row in found][:3] == ["model", "model~2", "model~3"]
    assert "abc" in found[0]["arguments"]


@pytest.mark.promise(number=10)
def test_a_reclaimed_session_is_stale(store: Store) -> None:
    run = store.session("worker").run().start()
    store.database.execute(sa.text("UPDATE zrb_run SET origin = 'reclaim' WHERE session_id IS NOT NULL RETURNING 1"))
    run.end("interrupted")
    [row] = rows_of(store.database, "SELECT status, ended_at, seconds FROM zrb_xcom_sessions")
    assert tuple(row.values()) == ("stale", None, None)
    [session] = store.sessions()
    assert (session.status, session.ended_at) == ("stale", None)


@pytest.mark.promise(number=15)
def test_what_was_done_by_hand_has_its_reason(store: Store) -> None:
    store.session("inbox").xcom["files"].push("corrupt")
    drop(store.database, ["inbox/files#1"], "ticket 4711")
    [row] = rows_of(store.database, "SELECT action, detail, reason FROM zrb_xcom_changes")
    assert tuple(row.values()) == ("drop", "files#1", "ticket 4711")
