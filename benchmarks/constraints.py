"""What do the rules cost that the database checks itself?

The same push, pop and step run in a store as it is, and in one whose tables are not STRICT (on SQLite) and have no
CHECKs. A constraint whose price shows here would be a check of `doctor` instead.
"""

from __future__ import annotations

import itertools
import re
import sqlite3
from contextlib import ExitStack, closing
from pathlib import Path
from unittest import mock

from benchmarks.contest import new_folder
from benchmarks.harness import Contestant, Effort, Race, timed
from benchmarks.on_postgres import AS_USUAL
from benchmarks.queues import SMALL, live_attempt
from benchmarks.readers import new_schema
from benchmarks.report import Answer, at_most, ratios
from tests.support import postgres
from zrb_store import open_store

RULES, NONE = "as it is", "without rules"
OPERATIONS = {"push": "push", "pop": "pop", "step": "step"}


def drop_rules_of_file(path: Path) -> None:
    """Rewrite the tables of a SQLite file without CHECKs and without STRICT."""
    open_store(path).close()
    with closing(sqlite3.connect(path)) as file, file:
        file.execute("PRAGMA writable_schema = ON")
        for name, sql in file.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'").fetchall():
            free = without_checks(re.sub(r",?\s*STRICT\s*$", "", sql))
            file.execute("UPDATE sqlite_master SET sql = ? WHERE name = ?", (free, name))
    with closing(sqlite3.connect(path)) as file:
        assert not file.execute("SELECT 1 FROM sqlite_master WHERE sql LIKE '%CHECK%(%' AND type = 'table'").fetchall()
        assert not file.execute("SELECT 1 FROM pragma_table_list WHERE strict").fetchall()


def without_checks(sql: str) -> str:
    """Leave out each `, CONSTRAINT name CHECK (...)` of a table."""
    while (at := sql.find(" CHECK (")) >= 0:
        depth = 0
        for end in range(at, len(sql)):
            depth += {"(": 1, ")": -1}.get(sql[end], 0)
            if sql[end] == ")" and depth == 0:
                break
        sql = sql[: sql.rfind(",", 0, at)] + sql[end + 1 :]
    return sql


def drop_rules_of_schema(server: postgres.Server, url: str, name: str) -> None:
    """Drop the CHECKs of a schema of PostgreSQL."""
    open_store(url).close()
    with server.connect() as connection:
        rules = "SELECT conrelid::regclass, conname FROM pg_constraint WHERE contype = 'c'"
        for table, rule in connection.execute(f"{rules} AND connamespace = %s::regnamespace", [name]).fetchall():
            connection.execute(f'ALTER TABLE {table} DROP CONSTRAINT "{rule}"')


def turn(stack: ExitStack, location: str | Path, times: int) -> Contestant:
    """Return a turn of pushes, pops and steps of one attempt."""
    _, attempt = stack.enter_context(live_attempt(location))
    queue, numbers = attempt.xcom["values"], itertools.count()

    def take_turn() -> dict[str, float]:
        return {
            "push": timed(lambda: queue.push(SMALL), times),
            "pop": timed(queue.pop, times),
            "step": timed(lambda: attempt.step(f"step {next(numbers)}", lambda: SMALL), times),
        }

    return take_turn


def run(effort: Effort) -> Answer:
    """Run one race on each database."""
    answer = Answer()
    with ExitStack() as stack:
        folder = new_folder(stack)
        drop_rules_of_file(folder / "none.db")
        places: dict[str, dict[str, str | Path]] = {"SQLite": {NONE: folder / "none.db", RULES: folder / "rules.db"}}
        if postgres.available():
            stack.enter_context(mock.patch.dict(postgres.SETTINGS, {**AS_USUAL, "synchronous_commit": "off"}))
            server = stack.enter_context(postgres.private_server())
            places["PostgreSQL"] = {NONE: new_schema(server, "none"), RULES: new_schema(server, "rules")}
            drop_rules_of_schema(server, str(places["PostgreSQL"][NONE]), "none")
        for database, stores in places.items():
            with ExitStack() as turns:
                contestants = {name: turn(turns, location, 20) for name, location in stores.items()}
                race = Race(contestants, effort(25, 9), effort(20, 5))
            answer.add(f"{database}:", "", *ratios(race, OPERATIONS, NONE))
            for operation in OPERATIONS:
                what = f"{database}: {operation} with the rules of the tables"
                answer.goals.append(at_most(what, 1.05, race.ratio(operation, RULES, NONE)))
    return answer
