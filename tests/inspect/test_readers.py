"""What commands read does not grow with the store: they read what they print (benchmarks/readers.py)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks import readers
from benchmarks.stuffing import add_sessions
from zrb_store.db.transaction import Transaction

pytestmark = [pytest.mark.on_sqlite, pytest.mark.slow]

FEW, MANY = 1000, 6000
ENTRY = 40  # steps for an entry of the index of sessions that have not completed; every fiftieth session has not
EACH = 20  # steps of SQLite's machine that are counted as one


class Steps(readers.Spent):
    """Counts the steps of SQLite's virtual machine instead of seconds: no machine is slow at them."""

    def execute(self, transaction: Transaction, statement: Any, *args: Any) -> list[Any]:
        self._count(transaction)
        return super().execute(transaction, statement, *args)

    def stream(self, transaction: Transaction, statement: Any, *args: Any) -> Iterator[Any]:
        self._count(transaction)
        return super().stream(transaction, statement, *args)

    def _count(self, transaction: Transaction) -> None:
        transaction.driver.set_progress_handler(self._tick, EACH)

    def _tick(self) -> int:
        self.steps += EACH
        return 0

    steps = 0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two stores that differ in their number of sessions, of which as many run, wait, or need attention."""
    folder = tmp_path_factory.mktemp("readers")
    for count in (FEW, MANY):
        add_sessions(folder / str(count), count)
    return folder


@pytest.mark.parametrize("name", readers.commands(""))
def test_a_command_reads_what_it_prints_and_not_the_store(
    folder: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "Spent", Steps)
    few, many = (
        readers.spent_by(readers.commands(f"etl-{count // 2}")[name], str(folder / str(count))) for count in (FEW, MANY)
    )
    assert isinstance(few, Steps)
    assert isinstance(many, Steps)
    assert few.statements
    assert abs(few.rows - many.rows) <= 10
    assert many.steps <= 2 * few.steps + ENTRY * (MANY - FEW) // 50


def test_rows_that_are_added_by_sql_are_sound(folder: Path) -> None:
    printed = readers.typed("doctor")(str(folder / str(FEW)))
    errors = [line for line in printed.splitlines() if line.startswith("error")]
    assert "error" in printed
    assert [line for line in errors if "a lease that ends more than a day from now" not in line] == []
