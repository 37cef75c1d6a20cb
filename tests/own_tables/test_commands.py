"""`db own-tables`: the table is made in advance, printed, and pruned."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest

from tests.own_tables.shops import ANYWHERE, BESIDE, Shop, load
from tests.support.commands import Commands
from zrb_store import Store, step
from zrb_store.operations.sessions import remove_sessions
from zrb_store.own_tables import upkeep

pytestmark = [pytest.mark.promise(number=22)]


@BESIDE
def test_it_makes_the_table(store: Store, shop: Shop, command: Commands) -> None:
    printed = command.ok("db", "own-tables", shop.location, "--sql")
    assert printed.startswith("CREATE TABLE IF NOT EXISTS zrb_store_done (")
    assert command.ok("db", "own-tables", shop.location) == "made the table zrb_store_done\n"
    assert command.ok("db", "own-tables", shop.location) == "the table zrb_store_done is there already\n"
    with store.session("s").run() as run:
        run.task.transaction(shop.engine, "order", load, 1)
    assert shop.orders() == [1]


@BESIDE
def test_it_prunes_rows_of_sessions_that_are_gone(
    store: Store, shop: Shop, command: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "BATCH", 2)
    assert command.ok("db", "own-tables", shop.location, "--prune") == "deleted 0 rows\n"
    for number in range(5):
        with store.session(f"s{number}").run() as run, run.attempt("load"):
            step.transaction(shop.engine, "one", load, number)
            step.transaction(shop.engine, "two", load, number)
    remove_sessions(store.database, "s0", "s2", "s3")
    assert command.ok("db", "own-tables", shop.location, "--prune") == "deleted 6 rows\n"
    assert len(shop.rows()) == 4
    assert command.ok("db", "own-tables", shop.location, "--prune") == "deleted 0 rows\n"


@ANYWHERE
def test_bad_input_is_one_line(command: Commands, tmp_path: Path) -> None:
    missing = str(tmp_path / "no.db")
    for words, code, said in (
        ([missing], 69, "there is no database at"),
        (["mysql://host/shop"], 2, "mysql is not supported"),
        ([missing, "--sql", "--prune"], 2, "leave out --prune"),
        (["postgresql://nobody@localhost:1/shop"], 69, "cannot be used"),
    ):
        refused = command("db", "own-tables", *words)
        assert (refused.code, said in refused.err) == (code, True), refused.err
    assert not Path(missing).exists()


@ANYWHERE
def test_a_statement_that_was_printed_makes_the_same_table(command: Commands, tmp_path: Path) -> None:
    path = tmp_path / "printed.db"
    with contextlib.closing(sqlite3.connect(path)) as driver:
        driver.executescript(command.ok("db", "own-tables", str(path), "--sql"))
    assert "already" in command.ok("db", "own-tables", str(path))
