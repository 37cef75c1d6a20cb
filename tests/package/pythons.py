"""Run the smoke tests on each Python of this machine that the package promises to support.

Usage: python -m tests.package.pythons

The promise are the classifiers in pyproject.toml. The version that runs this program is left out: `make test` uses it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]

_FAILED = "failed"


def promised() -> list[str]:
    """Return the minor versions of Python that the classifiers name."""
    classifiers = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["classifiers"]
    versions = (each.removeprefix("Programming Language :: Python :: ") for each in classifiers)
    return [each for each in versions if each.startswith("3.")]


def interpreters(version: str) -> Iterator[str]:
    """Yield what may be an interpreter of a version: on the PATH, and of pyenv, which has most of them elsewhere."""
    yield f"python{version}"
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    yield from (str(path) for path in sorted(pyenv.glob(f"versions/{version}.*/bin/python{version}"), reverse=True))


def is_usable(interpreter: str) -> bool:
    """Whether an interpreter starts and can make an environment."""
    command = [interpreter, "-c", "import ensurepip, sqlite3, ssl, venv"]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def main() -> int:
    """Run the tests on each version that is found, and return 1 if one failed."""
    outcomes = {}
    for version in promised():
        if version == f"{sys.version_info[0]}.{sys.version_info[1]}":
            continue
        found = next(filter(is_usable, interpreters(version)), None)
        if found is None:
            outcomes[version] = "is not on this machine"
            continue
        print(f"Python {version}: {found}", flush=True)
        done = subprocess.run(["make", "--no-print-directory", "smoke", f"PYTHON={found}"], cwd=ROOT, check=False)
        outcomes[version] = _FAILED if done.returncode else "passed the smoke tests"
    print(*(f"Python {version} {outcome}" for version, outcome in outcomes.items()), sep="\n")
    return 1 if _FAILED in outcomes.values() else 0


if __name__ == "__main__":
    sys.exit(main())
