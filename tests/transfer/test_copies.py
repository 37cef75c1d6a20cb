"""What other tests hold of a store is so in the store that gets its sessions by an export, an import or a copy."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.support.clocks import set_back
from tests.support.commands import Commands
from tests.support.consumers import deliver, fates, poison
from tests.support.damage import DAMAGE, damage, fill_all_tables
from tests.support.pruning import names
from tests.support.rows import faults, query, states
from tests.support.scenarios import fork_twice
from tests.support.sessions import events, show
from tests.transfer.exports import comparable, exported, imported
from zrb_store import Store, codec, open_store
from zrb_store.inspect.trace import trace
from zrb_store.operations.values import replace, requeue, requeue_all
from zrb_store.testing import temporary_store
from zrb_store.transfer.export import export

LONG, LONGER = "ü" * 140_000, "x" * 600_000  # in chunks on both databases: some of one, some of three


def succeed(store: Store, name: str) -> None:
    with store.session(name).run(task="load") as run, run.attempt("load") as attempt:
        attempt.complete()


@pytest.fixture
def used(store: Store) -> Store:
    """A store with a session that took one long value, and has another one."""
    queue = store.session("s").xcom["q"]
    queue.extend([LONG, "short", LONGER])
    with store.session("s").run() as run, run.attempt("load") as attempt:
        attempt.complete(queue.pop())
    return store


@pytest.mark.promise(number=10)
def test_another_store_gets_them(store: Store, tmp_path: Path) -> None:
    poisoned = poison(store)
    deliver(store, poisoned.pop)
    requeue(store.database, ["s/q#2"])
    content = exported(store)
    with open_store(tmp_path / "other.db") as other:
        imported(other, content)
        assert faults(other) == []
        assert other.session("s").xcom["q"].max_deliveries == 1
        assert fates(other, "s", "q") == fates(store, "s", "q")
        assert show(other.database, "s", "q") == show(store.database, "s", "q")
        counts = "SELECT reason, failed_deliveries FROM zrb_return ORDER BY seq, returned_at"
        assert query(other, counts) == query(store, counts)
        assert comparable(exported(other)) == comparable(content)
        assert requeue_all(other.database, "s", "q") == 1
        assert list(other.session("s").xcom["q"]) == ["deadly", "live"]


@pytest.mark.unpooled
@pytest.mark.promise(number=17)
def test_what_is_imported_comes_after_what_is_there(store: Store, tmp_path: Path) -> None:
    for name in ("one", "two"):
        succeed(store, name)
    content = exported(store)
    with open_store(tmp_path / "other.db") as other:
        set_back(other, -60)
        with other.session("own").run(task="load") as run, run.attempt("load") as attempt:
            attempt.complete("own")
        imported(other, content)
        assert [record.name for record in other.sessions()] == ["two", "one", "own"]
        succeed(other, "next")
        ticks = query(other, "SELECT ended_tick FROM zrb_attempt ORDER BY id")
        assert ticks == sorted(set(ticks))


def test_copies_are_followed_in_another_store(command: Commands, store: Store) -> None:
    fork_twice(store)
    imported(store, exported(store), {"etl": "one", "etl-fork": "two", "again": "three"})
    assert events(command, "two/in#2")[1::2] == [("copied from", None, "one/in#2"), ("copied to", None, "three/in#2")]


@pytest.mark.slow
@pytest.mark.on_sqlite
@pytest.mark.promise(number=14)
@pytest.mark.parametrize("table", [table for table in DAMAGE if table != "zrb_change"])
def test_export_and_copy_leave_its_session_out(
    command: Commands, filled: Store, small_chunks: None, tmp_path: Path, sqlite_template: Path, table: str
) -> None:
    fill_all_tables(filled)
    for name in ("export.db", "new.db"):
        shutil.copy(sqlite_template, tmp_path / name)
    damage(filled, table)
    result = command("export")
    assert result.code == 1
    assert result.err.startswith("zrb-store: left out, because they are damaged: session etl-24 (")
    kept = [line["name"] for line in map(json.loads, result.out.splitlines()) if line["record"] == "session"]
    assert "etl-24" not in kept
    with open_store(tmp_path / "export.db") as new:
        assert imported(new, result.out.encode()) == len(kept)
    command("copy", str(filled.database.url.render_as_string(hide_password=False)), str(tmp_path / "new.db"))
    with open_store(tmp_path / "new.db") as new:
        assert names(new) == set(kept)


def test_long_texts_are_whole(used: Store) -> None:
    content = exported(used)
    with temporary_store() as other:
        assert imported(other, content) == 1
        assert list(other.session("s").xcom["q"]) == list(used.session("s").xcom["q"])
        assert other.last("load", any_project=True) == used.last("load", any_project=True)
        assert faults(other) == []
        assert len(exported(other).splitlines()) == len(content.splitlines())


def test_a_damaged_text_is_not_exported(used: Store) -> None:
    used.database.execute(sa.text("DELETE FROM zrb_chunk WHERE number = 1"))
    assert not any('"name":"s"' in line for line in export(used.database)), "it could not be imported"


def test_what_was_replaced_is_known(store: Store) -> None:
    store.session("inbox").xcom["files"].extend(["a", "b"])
    for new in (LONG, LONGER, "short", LONGER):
        replace(store.database, "inbox/files#2", codec.encode(new), None)
    imported(store, exported(store), {"inbox": "copy"})
    assert states(store, "copy", "files") == states(store, "inbox", "files")
    copied, own = (trace(store.database, name, "files", 2).value.replaced for name in ("copy", "inbox"))
    assert [(each.content, each.by) for each in copied] == [(each.content, each.by) for each in own]
