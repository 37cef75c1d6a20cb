"""Each promise in docs/promises.md names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "promises.md").read_text(encoding="utf-8")
# The text of each section, by the number in its heading or by the whole heading.
SECTIONS = {
    heading.partition(".")[0]: text for heading, text in re.findall(r"^## (.+)\n((?:(?!## ).*\n)*)", PAGE, re.MULTILINE)
}


def test_every_section_has_a_number_of_its_own() -> None:
    headings = re.findall(r"^## ", PAGE, re.MULTILINE)
    assert len(headings) == len(SECTIONS)


def named_tests(text: str) -> list[tuple[str, str]]:
    """Return the tests that a section names, each with its file."""
    found = []
    for entry in re.split(r"^- ", text.partition("\nTests:\n")[2], flags=re.MULTILINE)[1:]:
        file, *names = re.findall(r"`([^`]+)`", entry)
        found += [(file, name) for name in names]
    return found


@pytest.mark.parametrize("section", SECTIONS)
def test_a_promise_names_tests_that_exist(section: str) -> None:
    named = named_tests(SECTIONS[section])
    assert named
    for file, name in named:
        source = (ROOT / "tests" / file).read_text(encoding="utf-8")
        assert re.search(rf"def {name}\(", source), f"{file} has no {name}"


def test_code_and_tests_refer_to_promises_that_exist() -> None:
    folders = ("zrb_store", "migrations", "tests")
    sources = "\n".join(
        path.read_text(encoding="utf-8") for folder in folders for path in (ROOT / folder).rglob("*.py")
    )
    referred = set(re.findall(r"docs/promises\.md,\s+promise (\d+)", sources))
    assert referred
    assert referred <= set(SECTIONS)
