"""What type checkers know of the package: `step` and `run.task` compare arguments, and no other name exists."""

from __future__ import annotations

import builtins
import inspect
import re
import subprocess
import sys
import typing
from pathlib import Path

import pytest

import zrb_store

pytestmark = pytest.mark.needs("agents")  # which has some of the names

PROGRAM = """
import asyncio

from sqlalchemy import Connection, Engine

import zrb_store
from zrb_store import Run, step


def fetch(page: int, *, size: int = 10) -> list[str]:
    return []


async def ask(question: str) -> str:
    return ""


def load(connection: Connection, rows: list[str]) -> int:
    return 0


def work(run: Run, shop: Engine) -> None:
    rows: list[str] = step("page", fetch, 3, size=5)
    rows = run.task.options(retries=3, retry_after=[1, 10])("page", fetch, 3)
    rows = step.options(once=True)("page", fetch, 3)
    rows = step("page", fetch, 3, once=True)
    answer: str = asyncio.run(run.task("ask", ask, "why"))
    count: int = step.transaction(shop, "load", load, rows)
    step.transaction(shop, "load", load)  # refused
    run.task.transaction(shop, "load", load, 3)  # refused
    step("page", fetch, "3")  # refused
    run.task("page", fetch)  # refused
    step.options(retries=1)("page", fetch, 3, page=4)  # refused
    number: int = run.task("page", fetch, 3)  # refused
    zrb_store.open_stores()  # refused
"""


@pytest.mark.slow
@pytest.mark.on_sqlite
def test_mypy_compares_arguments_and_knows_no_other_names(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")
    # With the configuration of the project, whose cache `make check` has filled: without it, this takes half a minute.
    command = [sys.executable, "-m", "mypy", str(program)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    refused = [number for number, line in enumerate(PROGRAM.splitlines(), 1) if line.endswith("# refused")]
    found = [int(number) for number in re.findall(r"program\.py:(\d+): error:", done.stdout)]
    assert sorted({*found}) == refused, done.stdout + done.stderr


def test_the_names_of_the_package_agree() -> None:
    assert {*zrb_store.__all__} == {name for name in dir(zrb_store) if not name.startswith("__")}
    source = inspect.getsource(zrb_store)
    typed = {*re.findall(r"^    from zrb_store\.[\w.]+ import \w+ as (\w+)$", source, re.MULTILINE)}
    assert typed == {*zrb_store.__all__} - {"step", "wait"}
    for name in zrb_store.__all__:
        assert getattr(zrb_store, name) is not None


def test_what_signatures_name_is_importable() -> None:
    page = (Path(__file__).parents[2] / "docs/reference/python.md").read_text(encoding="utf-8")
    signatures = re.findall(r"```text\n(.*?)```", page, re.DOTALL)
    known = {*zrb_store.__all__, *vars(typing), *vars(builtins), "PathLike", "T", "P"}
    known.add("AbstractCapability")  # of pydantic-ai
    named = {name for each in signatures for name in re.findall(r"\b[A-Z]\w+\b", each)}
    assert named - known == set()
