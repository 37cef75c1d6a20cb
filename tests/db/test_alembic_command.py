"""The command `alembic`, as a developer of zrb-store uses it in a checkout."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.db.alembic_runs import alembic, alembic_here
from tests.support.next_release import NEXT, ROOT
from tests.support.tables import engine_of, revision_of
from zrb_store.db import REVISION

pytestmark = pytest.mark.slow


def test_its_parts_from_the_root(new_location: str) -> None:
    assert "CREATE TABLE" in alembic_here(new_location, "upgrade", "head", sql=True)
    alembic_here(new_location, "upgrade", "head")
    assert revision_of(engine_of(new_location)) == REVISION
    assert f"{REVISION} (head)" in alembic_here(new_location, "current")
    assert "No new upgrade operations" in alembic_here(new_location, "check")


def test_alembic_command_writes_a_revision_that_works(tmp_path: Path) -> None:
    root = tmp_path / "100% checkout"
    for name in ("alembic.ini", "migrations", "zrb_store"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        (root / name).parent.mkdir(exist_ok=True)
        copy(ROOT / name, root / name)
    columns = root / "zrb_store" / "db" / "columns.py"
    columns.write_text(
        columns.read_text().replace("\n}\nOUTPUT: Columns", '\n    "more": _TIME_OR_NULL,\n}\nOUTPUT: Columns')
    )
    location = str(tmp_path / "store.db")
    alembic(location, "upgrade", "head", root=root)
    alembic(location, "revision", "--autogenerate", "--rev-id", NEXT, "-m", "More", root=root)
    assert "more" in (root / "migrations" / "versions" / f"{NEXT}_more.py").read_text()
    alembic(location, "upgrade", "head", root=root)
    assert revision_of(engine_of(location)) == NEXT
