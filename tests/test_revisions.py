"""A database of every earlier revision can be upgraded and then used."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import date
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory

from tests.revisions.make import HERE
from zrb_store import cli, codec, open_store
from zrb_store.db import migrate, schema
from zrb_store.db.tables import REVISION
from zrb_store.operations.requeue import requeue_all

STORED = sorted(HERE.glob("*.sql"))


def test_every_revision_has_its_database() -> None:
    revisions = {script.revision for script in ScriptDirectory(str(migrate.folder())).walk_revisions()}
    assert {path.stem for path in STORED} == revisions


@pytest.mark.parametrize("stored", STORED, ids=lambda path: path.stem)
def test_a_stored_database_is_upgraded_and_used(
    stored: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "store.db"
    file.touch(0o600)
    with closing(sqlite3.connect(file)) as database:
        database.executescript(stored.read_text(encoding="utf-8"))
        database.execute("PRAGMA journal_mode=WAL")
    with open_store(file) as store:
        assert schema.revision(store.database) == REVISION
        statuses = {"inbox": "open", "done": "completed", "dead": "stale"}
        poison = store.session("inbox").xcom["poison"]
        if stored.stem >= "0004":
            statuses["victim"] = "failed"
            assert (poison.max_deliveries, len(poison)) == (1, 0)
            assert requeue_all(store.database, "inbox", "poison") == 1
            assert list(poison) == ["deadly"]
        assert {record.name: record.status for record in store.sessions()} == statuses
        assert codec.decode(store.session("done").record().inputs or "") == {"day": date(2026, 11, 24)}
        assert store.last("load", any_project=True) == {"loaded": "a.csv"}
        files = store.session("inbox").xcom["files"]
        assert list(files) == ["c.csv"]
        with store.session("dead").run(task="load") as run:
            assert run.step("count", lambda text: 1 / 0, "abcd") == 4
            with run.attempt("load") as attempt:
                assert attempt.number == 3
                assert attempt.xcom["half"] == store.session("nothing").xcom["there"]
                assert files.pop() == "b.csv"
        files.push("d.csv")
        assert list(files) == ["c.csv", "d.csv"]
    monkeypatch.setenv("ZRB_STORE_URL", str(file))
    assert cli.run(["doctor"]) == 0, capsys.readouterr()
