"""The commands `rm`, `pin`, `unpin` and `prune`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.support.commands import Commands
from tests.support.pruning import age, everything, names, run
from tests.support.sessions import parse
from zrb_store import SessionNotFound, Store
from zrb_store.db import tables
from zrb_store.operations.sessions import remove_sessions

pytestmark = pytest.mark.long_on_postgresql


def test_prune_and_rm_delete_what_a_dry_run_foretold(command: Commands, store: Store) -> None:
    for number in range(3):
        run(store, f"s{number}")
    store.session("inbox").xcom["q"].push(1)
    command.ok("pop", "inbox", "q")
    age(store, 2)
    assert command("prune").code == 2
    assert command("prune", "--older-than", "soon").code == 2
    before = everything(store)
    foretold = command.ok("prune", "--older-than", "1d", "--keep-last", "1", "--dry-run")
    assert everything(store) == before
    heading, *rows = (re.split("  +", line) for line in foretold.splitlines())
    assert heading == ["SESSION", "WOULD DELETE", "RULE"]
    assert [row[:2] for row in rows] == [["s0", "all"], ["s1", "all"], ["inbox", "1 value"]]
    assert all(" 1d" in rule for _, _, rule in rows)
    done = parse("prune", command.ok("prune", "--older-than", "1d", "--keep-last", "1", "--format", "json"))
    assert [(item["session"], item["values"]) for item in done] == [("s0", None), ("s1", None), ("inbox", 1)]
    assert command.ok("prune", "--older-than", "1d", "--keep-last", "1") == ""
    assert command.ok("prune", "--older-than", "1d", "--keep-last", "1", "--format", "json") == "[]\n"
    assert command("rm", "s").code == 3
    assert command("rm", "s2", "s0").code == 3
    assert "s2" in names(store), "nothing may be deleted"
    assert command("pin", "s2", "s0").code == 3
    command.ok("pin", "inbox")
    assert "session inbox is pinned" in command("rm", "s2", "inbox").err
    assert "s2" in names(store), "nothing may be deleted"
    command.ok("unpin", "inbox")
    command.ok("rm", "s2", "s2", "inbox")
    assert names(store) == set()
    with pytest.raises(SessionNotFound):
        remove_sessions(store.database, "s2")


def test_each_leaves_a_record(command: Commands, store: Store) -> None:
    run(store, "s")
    command.ok("push", "s", "q", "1")
    command.ok("pin", "s")
    command.ok("unpin", "s")
    command.ok("prune", "--keep-last", "0")
    command.ok("push", "inbox", "q", "1")
    command.ok("pop", "inbox", "q")
    age(store, 2)
    command.ok("prune", "--older-than", "1d")
    command.ok("rm", "inbox")
    recorded = store.database.execute(
        sa.select(tables.change.c.action, tables.change.c.session, tables.change.c.detail).order_by(tables.change.c.id)
    )
    assert recorded == [
        ("pin", "s", None),
        ("unpin", "s", None),
        ("prune", "s", "not among the last 0 completed of load"),
        ("prune", "inbox", "1 taken or removed more than 1d ago"),
        ("rm", "inbox", None),
    ], "records of pushes and pops are deleted with their values or their session"


@pytest.mark.on_sqlite
@pytest.mark.parametrize("name", ["rm", "pin", "unpin", "prune"])
def test_help_has_an_example(command: Commands, name: str) -> None:
    assert f"zrb-store {name} " in command.ok(name, "--help").partition("Example")[2]


@pytest.mark.slow
@pytest.mark.parametrize("form", ["table", "json"])
@pytest.mark.on_sqlite
def test_prune_finishes_even_if_its_reader_has_closed_the_pipe(store: Store, location: str, form: str) -> None:
    """`zrb-store prune ... | head -1`, with more output than its buffer holds."""
    store.database.transact(
        lambda transaction: [
            transaction.driver.execute(
                "INSERT INTO zrb_session (name, status, fence, pinned, created_at, created_tick, ended_at, ended_tick) "
                f"VALUES ('session-{number}-with-a-name-that-is-long-enough', 'completed', 1, false, 1, 1, 2, 2)"
            )
            for number in range(300)
        ]
    )
    reading, writing = os.pipe()
    os.close(reading)
    environment = {**os.environ, "ZRB_STORE_URL": location, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", "from zrb_store.cli import main; main()", "prune", "--older-than", "1d"]
    done = subprocess.run(
        [*command, "--format", form], stdout=writing, stderr=subprocess.PIPE, env=environment, check=False
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")
    assert names(store) == set()
