"""Each wing can be taken off: without its folder the package imports, and the core's own tests pass."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from zrb_store import wings

ROOT = Path(__file__).parent.parent

pytestmark = [pytest.mark.on_sqlite, pytest.mark.slow]


def copy_without(wing: str, folder: Path) -> None:
    """Copy the package and its tests, without the folders of a wing."""
    unneeded = shutil.ignore_patterns("__pycache__", "*.pyc")
    for name in ("zrb_store", "migrations", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=unneeded)
    shutil.copy(ROOT / "pyproject.toml", folder)
    for name in ("zrb_store", "tests"):
        shutil.rmtree(folder / name / wing)


def smoke_tests(wing: str, folder: Path) -> list[str]:
    """Return the files in a folder that have smoke tests, and do not use the wing."""
    texts = {str(path): path.read_text(encoding="utf-8") for path in folder.glob("test_*.py")}
    uses = re.compile(rf"\b(zrb_store|tests)\.{wing}\b")
    return [path for path, text in texts.items() if "mark.smoke" in text and not uses.search(text)]


@pytest.mark.parametrize("wing", wings.NAMES)
def test_the_core_works_without_it(wing: str, tmp_path: Path) -> None:
    copy_without(wing, tmp_path)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "ZRB_STORE_URL": str(tmp_path / "store.db")}

    def command(*words: str) -> subprocess.CompletedProcess[str]:
        program = "import sys; from zrb_store.cli import main; main()"
        return subprocess.run(
            [sys.executable, "-c", program, *words], cwd=tmp_path, env=environment, capture_output=True, text=True
        )

    added = next(each for name, each in zip(wings.NAMES, wings.installed(), strict=True) if name == wing).commands
    shown = command("--help").stdout
    listed = re.findall(r"^  (\S+)  ", shown, re.MULTILINE)
    assert "show" in listed, shown
    assert not {*listed} & {*added}
    for name in added:
        refused = command(name)
        assert (refused.returncode, f"there is no command '{name}'" in refused.stderr) == (2, True)
    assert command("run", "s", "--", "echo", "done").stdout == "done\n"
    assert "completed" in command("show", "s").stdout
    assert command("doctor").returncode == 0
    pytest_command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    selection = ["-m", "smoke", "-k", "not postgresql and not wheel"]
    files = smoke_tests(wing, tmp_path / "tests")
    done = subprocess.run(
        [*pytest_command, *selection, *files], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert re.search(r"\d\d passed", done.stdout)
