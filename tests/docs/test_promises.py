"""Each promise in docs/explanation/guarantees.md has a test that is marked with its number."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest

from zrb_store import wings

pytestmark = pytest.mark.needs(*wings.NAMES)

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "explanation" / "guarantees.md").read_text(encoding="utf-8")
# The number in the heading of each section, or the whole heading.
SECTIONS = [heading.partition(".")[0] for heading in re.findall(r"^## (.+)$", PAGE, re.MULTILINE)]
TESTS = "\n".join(
    path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py") if path != Path(__file__)
)


def test_every_section_has_a_number_of_its_own() -> None:
    assert len(set(SECTIONS)) == len(SECTIONS)


@functools.cache
def marks_of_tests() -> list[set[str]]:
    """Return the marks of each test that has some."""
    tests = (node for node in ast.walk(ast.parse(TESTS)) if isinstance(node, ast.FunctionDef))
    return [{ast.unparse(each).removeprefix("pytest.mark.") for each in test.decorator_list} for test in tests]


@pytest.mark.slow
@pytest.mark.parametrize("section", SECTIONS)
def test_make_test_shows_each_promise(section: str) -> None:
    number = section if section.isdigit() else "0"
    assert any(f"promise(number={number})" in marks and "long" not in marks for marks in marks_of_tests())


def test_no_test_is_marked_with_a_promise_that_is_not_there() -> None:
    assert set(re.findall(r"promise\(number=(\d+)\)", TESTS)) <= {*SECTIONS, "0"}


@pytest.mark.slow
def test_code_and_tests_refer_to_promises_that_exist() -> None:
    folders = ("zrb_store", "migrations", "tests")
    sources = "\n".join(
        path.read_text(encoding="utf-8") for folder in folders for path in (ROOT / folder).rglob("*.py")
    )
    referred = set(re.findall(r"\bguarantees\.md,\s+promise (\d+)", sources))
    assert referred
    assert referred <= set(SECTIONS)
