"""The page docs/reference/sql.md: its views, its queries, and a store that they are about."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy as sa

from tests.support import stepping
from tests.support.sessions import etl, inbox
from zrb_store import Store, open_store
from zrb_store.db.tables import attempt, output
from zrb_store.operations.sessions import pin

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "sql.md"

Row = dict[str, Any]


def sections() -> dict[str, tuple[list[str], str]]:
    """Return the columns and the query of each view on the page."""
    found = {}
    for name, text in re.findall(r"^## (zrb_\w+)\n((?:(?!## ).*\n?)*)", PAGE.read_text(encoding="utf-8"), re.MULTILINE):
        (query,) = re.findall(r"^```sql\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        columns = re.findall(r"^\| (\w+(?:, \w+)*) \| (?!content)", text, re.MULTILINE)
        found[name] = (", ".join(columns).split(", "), query)
    return found


SECTIONS = sections()
QUERIES = {name: query for name, (_, query) in SECTIONS.items()}


def fill(store: Store) -> None:
    """Fill a store with what the queries of the page ask for."""
    inbox(store, "a.csv", "b.csv", "c.csv", "d.csv", "e.csv")
    etl(store, "etl-24", broken=True)
    etl(store, "etl-25", broken=False)
    etl(store, "etl-24", broken=False)
    stepping.night(store)
    pin(store.database, "etl-25")
    of_task = sa.select(attempt.c.id).where(attempt.c.task == "convert").scalar_subquery()
    line = {"piece": 1, "start": 0, "size": 4, "data": '[[1795000000000000, "log", "one"]]'}
    store.database.execute(sa.insert(output).values(attempt_id=of_task, **line))


def from_sqlite3(path: str) -> Callable[[str], list[Row]]:
    def ask(query: str) -> list[Row]:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(query)]

    return ask


def from_psycopg(url: str) -> Callable[[str], list[Row]]:
    def ask(query: str) -> list[Row]:
        with (
            psycopg.connect(url.replace("+psycopg", "")) as connection,
            connection.cursor(row_factory=psycopg.rows.dict_row) as cursor,
        ):
            return cursor.execute(query.encode()).fetchall()

    return ask


def plain(location: str) -> Callable[[str], list[Row]]:
    """Return a function that runs a query through the driver alone."""
    return from_psycopg(location) if location.startswith("postgresql") else from_sqlite3(location)


def filled_location(location: str) -> str:
    """Fill the store in this place, and return the place."""
    with open_store(location) as store:
        fill(store)
    return location
