"""Install the peers: `python -m benchmarks.install`. Those that cannot be installed are reported as missing later."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path


def install(*requirements: str) -> bool:
    """Install packages with pip, and return whether that succeeded."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", *requirements]
    return subprocess.run(command, check=False).returncode == 0


def main() -> None:
    """Install all peers at once; if that fails, one by one."""
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())
    requirements: list[str] = project["dependency-groups"]["bench"]
    if not install(*requirements):
        for requirement in requirements:
            if not install(requirement):
                print(f"{requirement} cannot be installed: it will be missing in the tables")


if __name__ == "__main__":
    main()
