"""What people install: the wheel, made from the sdist, alone in a fresh environment."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

MAKE_A_STORE = """
from zrb_store import open_store

with open_store("runs.db") as store:
    store.session("inbox").xcom["files"].push("a.csv")
"""

USE_IT = """
import sys
from zrb_store import open_store

with open_store("runs.db") as store:
    assert store.session("inbox").xcom["files"].pop() == "a.csv"
assert "alembic" not in sys.modules
"""


def run(*command: str | Path, folder: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment["UV_SYSTEM_CERTS"] = "1"  # as pip: behind a proxy of one's own, uv's certificates know nobody
    result = subprocess.run(
        command, cwd=folder, env=environment, text=True, capture_output=True, timeout=300, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT, folder=folder)
    (built,) = folder.glob("*.whl")
    return built


def test_wheel_carries_the_migrations_and_nothing_else_of_the_repository(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    migrations = {f"zrb_store/_migrations/{path.name}" for path in (ROOT / "migrations").glob("*.*")}
    versions = {f"zrb_store/_migrations/versions/{path.name}" for path in (ROOT / "migrations/versions").glob("*.py")}
    assert {name for name in names if "_migrations" in name} == migrations | versions
    assert "zrb_store/py.typed" in names
    assert {name.split("/")[0].split("-")[0] for name in names} == {"zrb_store"}


def test_wheel_works_without_anything_else(wheel: Path, tmp_path: Path) -> None:
    environment = tmp_path / "environment"
    folder = tmp_path / "empty"
    folder.mkdir()
    run(sys.executable, "-m", "uv", "venv", "--python", sys.executable, environment, folder=folder)
    run(sys.executable, "-m", "uv", "pip", "install", "--python", environment / "bin/python", wheel, folder=folder)
    python = environment / "bin" / "python"
    run(python, "-c", MAKE_A_STORE, folder=folder)
    assert (folder / "runs.db").stat().st_mode & 0o777 == 0o600
    run(python, "-c", USE_IT, folder=folder)
    assert "Usage: zrb-store" in run(environment / "bin" / "zrb-store", "--help", folder=folder)
