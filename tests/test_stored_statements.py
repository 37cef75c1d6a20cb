"""Statements are deferred, and their SQL on SQLite is stored: most of what users wait for needs no SQLAlchemy."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

from tests.sessions import etl, inbox
from zrb_store import Store, open_store
from zrb_store.db import core, stored_statements, transaction
from zrb_store.db.deferred import made, module, text_of
from zrb_store.db.dialect import SQLite
from zrb_store.db.tables import session, value
from zrb_store.db.urls import store_url
from zrb_store.queries import attempts, values

ROOT = Path(__file__).parent.parent
SA: Any = core.sa
VALUE: Any = core.value


def compile_by(item: Any) -> str:
    return str(made(item).compile(compile_kwargs={"literal_binds": True}))


@pytest.mark.slow
@pytest.mark.smoke
def test_what_users_wait_for_runs_without_sqlalchemy(tmp_path: Path) -> None:
    location = tmp_path / "store.db"
    with open_store(location) as store:
        inbox(store, "a.csv", "b.csv", "c.csv")
        etl(store, "etl-24", broken=True)
        etl(store, "etl-25", broken=False)
    commands = [
        "list",
        "list --limit 1",
        "show etl-24",
        "show etl-24 --format json",
        "show etl-24 --live",
        "get inbox files",
        "get inbox files --seq 2",
        "get etl-25 --result report",
        "log etl-24",
        "push inbox files 7",
        "push new queue 7",
        "pop inbox files",
        "last report --any-project",
        "trace inbox/files#1",
        "check",
        "diff etl-24 etl-25",
        "pin etl-25",
        "rm new",
    ]
    code = (
        "import sys; sys.modules['sqlalchemy'] = None; from zrb_store.cli import run\n"
        f"for words in {commands!r}: print('=', words, '=', run(words.split()))"
    )
    environment = {**os.environ, "ZRB_STORE_URL": str(location), "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    codes = [line.split(" = ")[1] for line in done.stdout.splitlines() if line.startswith("= ")]
    assert (codes, done.stderr) == (
        [*["0"] * 15, "1", "0", "0"],
        "",
    )  # two sessions differ


@pytest.mark.slow
def test_a_program_runs_without_sqlalchemy(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['sqlalchemy'] = None; from zrb_store import open_store\n"
        "store = open_store(sys.argv[1])\n"
        "with store.session('s').run() as run:\n"
        "    for name in ('first', 'second'):\n"
        "        try:\n"
        "            with run.attempt(name) as attempt:\n"
        "                attempt.xcom['q'].push(1)\n"
        "                attempt.step('page', len, 'abc')\n"
        "                attempt.xcom['q'].pop()\n"
        "                attempt.xcom['q'].extend([1, 2, 3])\n"
        "                list(attempt.xcom['q']), len(attempt.xcom['q']), attempt.xcom['q'][1]\n"
        "                if name == 'second': raise ValueError\n"
        "        except ValueError:\n"
        "            pass\n"
        "print(store.session('s').status)"
    )
    open_store(tmp_path / "store.db").close()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, str(tmp_path / "store.db")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert (done.stdout, done.stderr) == ("failed\n", "")


class TestAnExpression:
    def test_makes_what_sqlalchemy_makes(self) -> None:
        x: Any = SA.select(VALUE.c["seq"], SA.func.count() + 1).where(~SA.exists(SA.select(1)), VALUE.c.seq != 3)
        y: Any = sqlalchemy.select(value.c["seq"], sqlalchemy.func.count() + 1).where(
            ~sqlalchemy.exists(sqlalchemy.select(1)), value.c.seq != 3
        )
        assert compile_by(x) == compile_by(y)
        assert made(x) is made(x)

    def test_is_taken_by_sqlalchemy_itself(self) -> None:
        mixed = sqlalchemy.select(VALUE.c.seq).where(VALUE.c.seq == 3).select_from(VALUE)
        assert compile_by(mixed) == compile_by(sqlalchemy.select(value.c.seq).where(value.c.seq == 3))

    def test_of_the_same_text_is_the_same(self) -> None:
        def write(number: int) -> Any:
            return SA.select(VALUE.c.seq).where(VALUE.c.seq == number, VALUE.c.type.in_(["a", None]))

        assert text_of(write(1)) == text_of(write(1))
        assert len({text_of(write(1)), text_of(write(2)), text_of(write(True))}) == 3

    def test_tells_one_alias_from_two(self) -> None:
        one = VALUE.alias()
        assert text_of(SA.select(one.c.seq, one.c.type)) != text_of(
            SA.select(VALUE.alias().c.seq, VALUE.alias().c.type)
        )

    def test_with_something_else_in_it_has_no_text(self) -> None:
        assert text_of(SA.select(VALUE.c.seq).where(value.c.seq == 3)) is None
        assert stored_statements.find(module("x"), SA.select(value.c.seq)) is None

    def test_is_nothing_that_can_be_looked_into(self) -> None:
        with pytest.raises(TypeError, match="not iterable"):
            list(VALUE.c)
        with pytest.raises(TypeError, match="neither true nor false"):
            bool(VALUE.c.seq > 3)
        with pytest.raises(AttributeError):
            _ = VALUE._execute_on_connection
        with sqlalchemy.create_engine("sqlite://").connect() as connection, pytest.raises(sqlalchemy.exc.ArgumentError):
            connection.execute(SA.select(VALUE.c.seq))  # not silently nothing

    def test_can_be_a_key(self) -> None:
        first, second = VALUE.c.seq, VALUE.c.seq
        found = {first: 1, second: 2}
        assert (found[first], found[second]) == (1, 2)
        same: Any = first
        assert (bool(first == same), bool(first == second), bool(first != second)) == (True, False, True)


def test_a_statement_that_is_stored_is_found_and_one_that_was_changed_is_not() -> None:
    dialect = SQLite().engine(store_url("x.db"), read_only=True, durability="normal").dialect
    statement: Any = values._COUNT
    found = stored_statements.find(dialect, statement)
    assert found == stored_statements.compile_statement(dialect, statement)
    assert stored_statements.find(dialect, statement.where(VALUE.c.seq > 3)) is None
    assert stored_statements.find(made(dialect), statement) is None, "a dialect that is there compiles by itself"
    written = stored_statements.find(dialect, attempts._FAIL)
    assert written is not None
    assert written.writes


def test_a_statement_is_looked_up_once_for_each_store(store: Store) -> None:
    queue = store.session("s").xcom["q"]
    for _ in range(2):
        queue.push(1)
        missed = transaction.compiled.cache_info().misses
    queue.push(1)
    assert transaction.compiled.cache_info().misses == missed


def test_each_line_of_the_file_is_found() -> None:
    content = stored_statements.PATH.read_text(encoding="utf-8")
    assert len(json.loads(content)) == content.count("\n") - 2


def test_threads_make_one_alias() -> None:
    alias: Any = core.session.alias("one")
    got: list[Any] = []
    threads = [threading.Thread(target=lambda: got.append(made(alias))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(each) for each in got}) == 1
    assert got[0].element is session
