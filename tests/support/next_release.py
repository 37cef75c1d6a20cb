"""The next release of zrb-store: a copy of this one, with a second revision as CONTRIBUTING.md says that one is made.

It adds a column to `zrb_attempt`, which changes a rule of the table, so that SQLite must copy it; it rewrites rows,
changes a trigger, and adds a column to a view and to exports.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.statements import built_again
from zrb_store.db import REVISION, dialect, engine, migrate, schema
from zrb_store.db.location import store_url
from zrb_store.inspect import doctor
from zrb_store.operations import db as db_operations

ROOT = Path(__file__).parents[2]
NEXT = f"{int(REVISION) + 1:04}"

TRIGGER = "AFTER UPDATE OF started_tick, ended_tick, given_back_tick, cost ON zrb_attempt"
COMMAND = "import sys; from zrb_store import cli; sys.exit(cli.run(sys.argv[1:]))"

_MIGRATION = f'''
"""An attempt has a cost."""

import os
import sys

import sqlalchemy as sa
from alembic import op

from zrb_store.db.rebuild import rebuild

revision = {NEXT!r}
down_revision = {REVISION!r}

BigInt = sa.BigInteger().with_variant(sa.Integer, "sqlite")
COUNT, NUMBER, SEQ = "BETWEEN 0 AND 2147483647", "BETWEEN 1 AND 2147483647", f"BETWEEN -{{10**17}} AND {{10**17}}"
TIME, TICK = "BETWEEN 0 AND 253402300799999999", f"BETWEEN 0 AND {{2**60}}"
NUMBERS = (
    f"fence {{COUNT}} AND number {{NUMBER}} AND started_at {{TIME}} AND started_tick {{TICK}} "
    f"AND ended_at {{TIME}} AND ended_tick {{TICK}} AND given_back_at {{TIME}} AND given_back_tick {{TICK}} "
    f"AND command_pid {{NUMBER}} AND result_seq {{SEQ}} AND step_number {{NUMBER}} AND deadline_at {{TIME}} "
    f"AND cost {{TIME}}"
)


def upgrade():
    on_sqlite = op.get_context().dialect.name == "sqlite"
    with rebuild("zrb_attempt") as table:
        table.add_column(sa.Column("cost", BigInt))
        table.create_check_constraint(op.f("ck_zrb_attempt_cost"), "cost <> 13")
        if on_sqlite:
            table.drop_constraint(op.f("ck_zrb_attempt_numbers"), type_="check")
            table.create_check_constraint(op.f("ck_zrb_attempt_numbers"), NUMBERS)
    op.execute("UPDATE zrb_attempt SET cost = number * 10")
    if on_sqlite:
        op.execute("DROP TRIGGER zrb_attempt_changes")
        op.execute("CREATE TRIGGER zrb_attempt_changes {TRIGGER} BEGIN UPDATE zrb_clock SET tick = tick + 2; END")
    if "HALTS" in os.environ:
        print("half", flush=True)
        sys.stdin.read()
'''

# What else a revision changes: in a file, from this text, to that text.
_CHANGES = (
    ("zrb_store/db/columns.py", "\n}\nOUTPUT: Columns", '\n    "cost": _TIME_OR_NULL,\n}\nOUTPUT: Columns'),
    (
        "zrb_store/db/tables.py",
        "    *_limits(columns.ATTEMPT, dear=True),\n",
        '    *_limits(columns.ATTEMPT, dear=True),\n    _rule("cost", "cost <> 13"),\n',
    ),
    (
        "zrb_store/db/views.py",
        "\n            FROM {with_run} LEFT JOIN zrb_value",
        ", attempt.cost\n            FROM {with_run} LEFT JOIN zrb_value",
    ),
    ("zrb_store/db/__init__.py", f'REVISION = "{REVISION}"', f'REVISION = "{NEXT}"'),
    (
        "zrb_store/records.py",
        "    arguments: str | None\n",
        "    arguments: str | None\n    cost: int | None\n",
    ),
    ("zrb_store/transfer/lines.py", "FORMAT = 1", "FORMAT = 2"),
    ("zrb_store/transfer/lines.py", "if found != FORMAT:", "if found not in (1, FORMAT):"),
    (
        "zrb_store/transfer/lines.py",
        "            else:\n                check_fields",
        "            else:\n"
        '                if found == 1 and kind == "attempt":\n'
        '                    record["cost"] = record["number"] * 10\n'
        "                check_fields",
    ),
)


def add_migration(folder: Path, *statements: str) -> Path:
    """Copy the migrations into a folder, and add one of these statements. Return the folder of the copy."""
    copy = folder / "migrations"
    shutil.copytree(migrate.folder(), copy, ignore=shutil.ignore_patterns("__pycache__"))
    lines = ["import sqlalchemy as sa", "from alembic import op", "from zrb_store.db.rebuild import rebuild"]
    lines += [f"revision = {NEXT!r}", f"down_revision = {REVISION!r}"]
    lines += ["def upgrade():", *(f"    {statement}" for statement in statements)]
    (copy / "versions" / f"{NEXT}_more.py").write_text("\n".join(lines))
    return copy


@contextmanager
def in_this_process(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let this process be one of a release with a column more, within a block."""
    copy = add_migration(folder, "op.add_column('zrb_session', sa.Column('more', sa.Text))")
    monkeypatch.setattr(migrate, "folder", lambda: copy)
    for module in (engine, dialect, schema, db_operations, doctor):
        monkeypatch.setattr(module, "REVISION", NEXT)
    with built_again():
        yield


class Release:
    """A release of zrb-store, whose commands are processes."""

    def __init__(self, folder: Path = ROOT) -> None:
        self.folder = folder

    def start(self, location: str, *command: str, **more: str) -> subprocess.Popen[str]:
        """Start a command on a store, with these variables."""
        url = store_url(location).render_as_string(hide_password=False)
        return subprocess.Popen(
            [sys.executable, *command],
            cwd=self.folder,
            env=os.environ | {"PYTHONPATH": str(self.folder), "ZRB_STORE_URL": url} | more,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def __call__(self, location: str, *arguments: str, stdin: str = "") -> tuple[int, str, str]:
        """Run `zrb-store ARGUMENTS` on a store. Return its exit code and its output."""
        process = self.start(location, "-c", COMMAND, *arguments)
        out, err = process.communicate(stdin, timeout=600)
        assert "Traceback" not in err
        return process.returncode, out, err

    def ok(self, location: str, *arguments: str, stdin: str = "") -> str:
        """Run `zrb-store ARGUMENTS`, which must succeed."""
        code, out, err = self(location, *arguments, stdin=stdin)
        assert code == 0, err
        return out


def make(folder: Path) -> Release:
    """Make the next release in a new folder."""
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("zrb_store", "migrations", "docs", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", folder)
    (folder / "migrations" / "versions" / f"{NEXT}_cost.py").write_text(_MIGRATION)
    for name, before, after in _CHANGES:
        path = folder / name
        text = path.read_text(encoding="utf-8")
        assert text.count(before) == 1, f"{name} has not once {before!r}"
        path.write_text(text.replace(before, after), encoding="utf-8")
    release = Release(folder)
    generating = release.start("", str(folder / "docs" / "generate.py"))
    out, err = generating.communicate(timeout=600)
    assert generating.returncode == 0, out + err
    return release
