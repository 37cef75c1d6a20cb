"""The SQL of the statements of a wing is stored in its folder: monitors start `check` often."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.commands import without_notices
from zrb_store import Store, watch
from zrb_store.db import core
from zrb_store.watch import queries

FOLDER = Path(watch.__file__).parent


@pytest.mark.on_sqlite
@pytest.mark.slow
def test_what_runs_often_does_not_import_sqlalchemy(filled: Store, location: str) -> None:
    code = (
        "import sys; sys.modules['sqlalchemy'] = None; from zrb_store.cli import run\n"
        "print(run(['check']), run(['ack', 'etl-24']), run(['check']))\n"
        "from zrb_store import open_store\n"
        "with open_store() as store, store.session('next').run(): pass\n"
    )
    environment = {"ZRB_STORE_URL": location, "ZRB_STORE_NOTIFY": "true", "PYTHONPATH": str(FOLDER.parents[1])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert (done.stdout, without_notices(done.stderr)) == ("0 0 0\n", "")


def test_what_is_stored_counts_only_for_the_sources_it_was_made_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = queries._unreported().key
    assert core._stored(key) is not None
    package = tmp_path / "zrb_store"
    for name in ("db", "queries", "watch"):
        shutil.copytree(FOLDER.parent / name, package / name, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(core, "PATH", package / "db" / core.PATH.name)

    def is_stored() -> bool:
        return json.dumps(key) in core._lines.__wrapped__(core.file_of(key))

    assert is_stored()
    for source in (package / "watch" / "queries.py", package / "queries" / "clock.py"):
        before = source.read_text()
        source.write_text(f"{before}# changed\n")
        assert not is_stored()
        source.write_text(before)
        assert is_stored()
    shutil.rmtree(package / "watch")
    assert not is_stored()
