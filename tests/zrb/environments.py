"""Environments with one zrb release each, created at their first use and kept in `.envs/` of the repository.

`python -m tests.zrb.environments` creates all of them.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from tests.chosen import releases

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".envs"


def environment(release: str) -> Path:
    """Return the folder of the environment with this release of zrb and this checkout, creating it if needed."""
    return environment_with(f"zrb-{release}", "zrb" if release == "latest" else f"zrb=={release}")


def with_telemetry(release: str) -> Path:
    """Return the folder of the environment with this release of pydantic-ai and OpenTelemetry's SDK."""
    packages = ("opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http")
    return environment_with(f"telemetry-{release}", f"pydantic-ai-slim=={release}", *packages)


def environment_with(name: str, *packages: str) -> Path:
    """Return the folder of the environment with these packages and this checkout, creating it if needed."""
    FOLDER.mkdir(exist_ok=True)
    # Keep environments of other versions of this checkout, since tests may be using them.
    folder = FOLDER / f"{name}-{_recipe()}"
    with (FOLDER / f"{folder.name}.lock").open("w") as lock:  # several test processes may ask for it at once
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "made").exists():
            _make(folder, *packages)
            (folder / "made").touch()
    return folder


def _recipe() -> str:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    parts = [sys.version, str(ROOT), *project["dependencies"], *project["scripts"].values(), "postgres"]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]


def _make(folder: Path, *packages: str) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    python = folder / "bin" / "python"
    what = [*packages, "--editable", f"{ROOT}[postgres]"]
    uv = _uv()
    if uv is None:
        _call(sys.executable, "-m", "venv", folder)
        _call(python, "-m", "pip", "install", "--quiet", *what)
    else:
        _call(uv, "venv", "--quiet", "--python", sys.executable, folder)
        _call(uv, "pip", "install", "--quiet", "--python", python, *what)


def _uv() -> str | None:
    beside = Path(sys.executable).with_name("uv")
    return str(beside) if beside.exists() else shutil.which("uv")


def _call(*command: str | Path) -> None:
    # Do not install into an environment that is active in the calling process.
    environ = {name: value for name, value in os.environ.items() if not re.match("VIRTUAL_ENV|PYTHON", name)}
    environ["UV_SYSTEM_CERTS"] = "1"  # use the system's certificates, like pip, since a proxy may have its own
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))} failed:\n{done.stdout}{done.stderr}")


if __name__ == "__main__":
    for one in releases():
        environment(one)
