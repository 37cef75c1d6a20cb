"""Programs and libraries of tests: without one a test is skipped, and the end of the run says so; in CI it fails."""

from __future__ import annotations

import importlib
import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

import pytest

WHEELS = {"PostgreSQL", "aiosqlite", "asyncpg", "greenlet", "litestream", "psycopg2", "zrb"}
"""What `make test` installs as a wheel; all others are packages of the system."""

_MISSING = " is not installed"


def require(program: str) -> str:
    """Return the path of a program. Without it the test is skipped; in CI it fails."""
    return found(program) or refuse(program)


def found(program: str) -> str | None:
    """Return the path of a program, if it is installed: beside Python, on the PATH, or where services lie."""
    places = (str(Path(sys.executable).parent), os.environ["PATH"], "/usr/sbin")
    return shutil.which(program, path=os.pathsep.join(places))


def require_module(name: str) -> Any:
    """Return a module of a library. Without it the test is skipped; in CI it fails."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        refuse(name.partition(".")[0])


def refuse(program: str) -> NoReturn:
    """Skip the test because a program or a library is missing; in CI it fails."""
    if os.environ.get("CI"):
        pytest.fail(f"{program}{_MISSING} (.ci/run installs it)")
    pytest.skip(f"{program}{_MISSING}")


def not_tested(reasons: Iterable[str]) -> str:
    """Return one line that says what is missing, for how many tests, and how to install it; "" if nothing is."""
    counts = Counter(
        reason.removeprefix("Skipped: ").removesuffix(_MISSING) for reason in reasons if reason.endswith(_MISSING)
    )
    if not counts:
        return ""
    names = ", ".join(f"{name} ({count})" for name, count in sorted(counts.items()))
    packages = " ".join(sorted(counts.keys() - WHEELS))
    commands = [f"install {packages}"] if packages else []
    commands += ["make test (it installs the wheels)"] if counts.keys() & WHEELS else []
    return f"Skipped, for want of a program: {names}. To test them: {'; '.join(commands)}"
