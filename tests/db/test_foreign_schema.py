"""A SQLite file of somebody else: what it has in its schema beside our tables never runs."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.commands import Commands
from zrb_store import Store

pytestmark = pytest.mark.on_sqlite

ENDLESS = "WITH RECURSIVE x(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM x) SELECT n FROM x"


def change(path: str, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as driver:
        for statement in statements:
            driver.execute(statement)
        driver.commit()


@pytest.mark.promise(number=6)
@pytest.mark.parametrize("table", ["zrb_version", "zrb_session", "zrb_value"])
def test_a_view_in_place_of_a_table_is_refused(filled: Store, location: str, command: Commands, table: str) -> None:
    """Reading it would never end."""
    filled.close()
    change(
        location,
        f"ALTER TABLE {table} RENAME TO hidden",
        f"CREATE VIEW {table} AS SELECT *, (SELECT max(n) FROM ({ENDLESS})) AS n FROM hidden",
    )
    for words in (["list"], ["show", "etl-24"], ["doctor"], ["db", "status"], ["push", "inbox", "files", "1"]):
        refused = command(*words)
        assert (refused.code, f"has the view {table}, which is not of zrb-store" in refused.err) == (69, True)


@pytest.mark.promise(number=6)
def test_a_trigger_is_refused_by_writers(filled: Store, location: str, command: Commands) -> None:
    filled.close()
    change(
        location,
        "CREATE TRIGGER mine AFTER INSERT ON zrb_value BEGIN "
        f"UPDATE zrb_queue SET high = (SELECT max(n) FROM ({ENDLESS})); END",
        "CREATE VIEW mine_too AS SELECT name FROM zrb_session",
    )
    assert "etl-24" in command.ok("list")
    refused = command("push", "inbox", "files", "1")
    assert (refused.code, "has the trigger mine, which is not of zrb-store" in refused.err) == (69, True)
    change(location, "DROP TRIGGER mine")
    command("push", "inbox", "files", "1")
    assert command.ok("get", "inbox", "files") == "1\n"


@pytest.mark.needs("transfer")
def test_a_line_of_an_import_has_a_limit(
    store: Store, command: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A longer one is not read to its end."""
    monkeypatch.setenv("ZRB_STORE_MAX_VALUE", "1000")
    store.session("s").xcom["q"].push('"\u00e9\x7f' * 200)
    lines = tmp_path / "lines"
    lines.write_text(command.ok("export", "s"))
    assert command("import", str(lines), "--rename", "s=copy").code == 0
    with lines.open("wb") as file:
        file.truncate(1024**3)  # of NUL, without a newline, and without a place on the disk
    refused = command("import", str(lines))
    assert (refused.code, "line 1 of" in refused.err, "ZRB_STORE_MAX_VALUE allows" in refused.err) == (1, True, True)


def test_a_queue_is_paused_or_not(store: Store, command: Commands) -> None:
    store.session("s").xcom["q"].push(1)
    refused = command("queue", "s", "q", "--pause", "--unpause")
    assert (refused.code, "--pause and --unpause contradict each other" in refused.err) == (2, True)
    assert "Paused" in command.ok("queue", "s", "q", "--pause")
    assert "Paused" not in command.ok("queue", "s", "q", "--unpause")
