"""Shell scripts with `zrb-store` on their PATH, as cron starts them: without a terminal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.commands import without_notices
from tests.support.postgres import DEADLINE
from zrb_store.db.location import store_url

ENTRY = "from zrb_store.cli import main; main()"
"""Python code that is the program `zrb-store`."""
PROGRAM = f"#!{sys.executable}\n{ENTRY}\n"


class Ended(NamedTuple):
    """How a process ended, and what it wrote."""

    code: int
    out: str
    err: str


class Scripts:
    """A folder with scripts, and `zrb-store` in it, for one store."""

    def __init__(self, folder: Path, location: str) -> None:
        self.folder = folder / "scripts"
        self.folder.mkdir()
        self.write("bin/zrb-store", PROGRAM).chmod(0o755)
        inherited = {name: text for name, text in os.environ.items() if not name.startswith("ZRB_")}
        url = store_url(location).render_as_string(hide_password=False)
        self.environment = {**inherited, "ZRB_STORE_URL": url}
        self.environment["PATH"] = f"{self.folder}/bin:{os.environ['PATH']}"

    def write(self, name: str, content: str) -> Path:
        """Write a file."""
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
        return path

    def start(self, *words: str, environment: dict[str, str] | None = None) -> subprocess.Popen[str]:
        """Start a command in a session of its own."""
        return subprocess.Popen(
            words,
            cwd=self.folder,
            env={**self.environment, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *words: str, environment: dict[str, str] | None = None) -> Ended:
        """Run a command to its end."""
        return finished(self.start(*words, environment=environment))

    def night(self, *options: str, script: str = "script.sh", shell: str = "sh") -> Ended:
        """Run a script as the session `night`, or go on with it."""
        return self.run("zrb-store", "run", "night", "--task", "backup", *options, "--", shell, script)

    def lines(self, name: str) -> list[str]:
        """Return the lines of a file; none if there is no such file."""
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []


def finished(process: subprocess.Popen[str]) -> Ended:
    """Wait until a command ends."""
    try:
        out, err = process.communicate(timeout=DEADLINE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        pytest.fail(f"it did not end: {out} {err}")
    return Ended(process.returncode, out, without_notices(err))
