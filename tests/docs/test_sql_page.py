"""docs/reference/sql.md describes the SQL views, and every program gets the same from them."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.support.programs import require
from tests.support.sql_page import (
    PAGE,
    QUERIES,
    SECTIONS,
    Row,
    fill,
    filled_location,
    from_psycopg,
    from_sqlite3,
    plain,
)
from tests.support.tables import engine_of
from zrb_store import Store, open_store
from zrb_store.db.views import queries


@pytest.mark.promise(number=15)
def test_the_page_describes_every_view_and_column_in_order(store: Store) -> None:
    assert list(SECTIONS) == list(queries("sqlite"))
    for name, (columns, _) in SECTIONS.items():
        with store.database.engine.connect() as connection:
            assert list(connection.exec_driver_sql(f"SELECT * FROM {name}").keys()) == columns, name


def without_times(rows: list[Row]) -> list[Row]:
    volatile = ("seconds", "longest")
    return [
        {name: text for name, text in row.items() if not name.endswith("_at") and name not in volatile} for row in rows
    ]


@pytest.fixture
def both(tmp_path: Path, new_postgres: str) -> tuple[str, str]:
    """The same sessions on both databases."""
    return filled_location(str(tmp_path / "store.db")), filled_location(new_postgres)


@pytest.mark.promise(number=15)
def test_each_query_of_the_page_finds_the_same_on_both_databases(both: tuple[str, str]) -> None:
    path, url = both
    for name, query in QUERIES.items():
        found = from_sqlite3(path)(query)
        assert found, name
        assert without_times(found) == without_times(from_psycopg(url)(query)), name


def test_each_query_of_the_page_answers_its_question(location: str) -> None:
    ask = plain(filled_location(location))
    found = {name: ask(query) for name, query in QUERIES.items()}
    assert [(row["session"], row["status"]) for row in found["zrb_xcom_sessions"]] == [("night", "failed")]
    assert [(row["session"], row["run"], row["status"]) for row in found["zrb_xcom_runs"]] == [
        ("etl-24", 2, "completed")
    ]
    assert [(row["task"], row["attempts"], row["unsuccessful"]) for row in found["zrb_xcom_attempts"]] == [
        ("load", 6, 4),
        ("convert", 1, 1),
        ("extract", 2, 0),
        ("report", 2, 0),
    ]
    assert [(row["step"], row["number"], row["status"]) for row in found["zrb_xcom_steps"]] == [
        ("page 1", 1, "completed"),
        ("charge", 1, "completed"),
        ("mail", 1, "failed"),
        ("mail", 2, "failed"),
        ("notify", 1, "completed"),
    ]
    assert found["zrb_xcom_queues"] == [{"queue": "files", "live": 4, "dead": 0}]
    assert {
        "queue": "load",
        "seq": 1,
        "state": "live",
        "value": '["done",3.5]',
        "pushed_by": "etl-25/load#2",
        "taken_by": None,
    } in found["zrb_xcom_values"]
    failed = {row["error_message"] for row in found["zrb_xcom_returns"]}
    assert failed == {"no column 'price'\nin row 3"}
    assert [row["attempt"] for row in found["zrb_xcom_lineage"]] == [
        "etl-25/extract#1",
        "etl-25/load#1",
        "etl-25/load#2",
    ]
    assert [json.loads(row["lines"])[0][2] for row in found["zrb_xcom_output"]] == ["one"]
    assert [(row["session"], row["action"]) for row in found["zrb_xcom_changes"]] == [("etl-25", "pin")]


def test_json_is_read_as_the_page_says(location: str) -> None:
    ask = plain(filled_location(location))
    on_postgresql = location.startswith("postgresql")
    ways = ["value::json ->> 'rows'"] if on_postgresql else ["value ->> 'rows'", "json_extract(value, '$.rows')"]
    for way in ways:
        assert f"`{way}`" in PAGE.read_text(encoding="utf-8")
        (row,) = ask(f"SELECT {way} AS rows FROM zrb_xcom_values WHERE session = 'etl-25' AND queue = 'extract'")
        assert str(row["rows"]) == "2"


@pytest.mark.slow
@pytest.mark.promise(number=15)
def test_pandas_reads_the_same_rows(location: str) -> None:
    import pandas  # takes a second, and every worker imports this file

    filled_location(location)
    for name, query in QUERIES.items():
        frame = pandas.read_sql_query(query, engine_of(location))
        rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
        assert rows == plain(location)(query), name


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A SQLite store with what the queries ask for, in the hands of a process that writes to it."""
    path = tmp_path_factory.mktemp("views") / "store.db"
    with open_store(path) as store:
        fill(store)
        store.session("under-way").run().start().end("completed")
    return str(path)


@pytest.mark.promise(number=15)
@pytest.mark.parametrize("name", QUERIES)
def test_the_program_sqlite3_reads_the_same_rows(file: str, name: str) -> None:
    program = require("sqlite3")
    done = subprocess.run(
        [program, "-readonly", "-json", file, QUERIES[name]], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == from_sqlite3(file)(QUERIES[name])


@pytest.mark.slow
@pytest.mark.promise(number=15)
@pytest.mark.filterwarnings("default")  # Datasette's own
def test_datasette_reads_the_same_rows(file: str) -> None:
    from datasette.app import Datasette

    async def answers() -> tuple[list[Row], dict[str, list[Row]], list[Row]]:
        datasette = Datasette([file])
        await datasette.invoke_startup()

        async def get(path: str, **params: str) -> Any:
            answer = await datasette.client.get(f"{path}.json?{urlencode(params)}")
            assert answer.status_code == 200, answer.text
            return answer.json()

        about = await get("/store")
        asked = {name: await get("/store", sql=query, _shape="array") for name, query in QUERIES.items()}
        filtered = await get("/store/zrb_xcom_values", session="etl-25", _shape="array")
        return about["views"], asked, filtered

    views, asked, filtered = asyncio.run(answers())
    assert {view["name"] for view in views} == queries("sqlite").keys()
    assert asked == {name: from_sqlite3(file)(query) for name, query in QUERIES.items()}
    assert filtered == from_sqlite3(file)("SELECT * FROM zrb_xcom_values WHERE session = 'etl-25'")
