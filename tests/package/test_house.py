"""The house of the tests: what a test shares lies in a module of helpers, and each folder and helper is listed."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import support
from tests.support import programs
from tests.support.modules import ROOT
from zrb_store import wings

pytestmark = pytest.mark.needs(*wings.NAMES)

TESTS = ROOT / "tests"
FILES = sorted(TESTS.rglob("*.py"))
HELPERS = sorted(path.stem for path in (TESTS / "support").glob("[!_]*.py"))
FOLDERS = sorted({path.parent.relative_to(TESTS).parts[0] for path in FILES if path.parent != TESTS} - {"support"})
OF_SEVERAL_SUBJECTS = {"agents", "faults", "machines", "page", "shell", "zrb"}
"""Folders whose modules of helpers are different subjects, as a model and a machine, or a browser and a server."""


def imported(source: str) -> set[str]:
    """Return the modules, and what may be modules, that code imports anywhere."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            found.update({str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)})
    return found


@functools.cache
def imports_of_files() -> dict[Path, set[str]]:
    """Return what each file of the tests imports."""
    return {path: imported(path.read_text(encoding="utf-8")) for path in FILES}


def modules_of_tests(names: set[str]) -> set[str]:
    """Return the names that are modules of tests."""
    return {name for name in names if re.fullmatch(r"tests\.(\w+\.)*test_\w+", name)}


@pytest.mark.slow
def test_no_test_or_helper_imports_a_test() -> None:
    found = {str(path.relative_to(ROOT)): modules_of_tests(names) for path, names in imports_of_files().items()}
    assert {path: names for path, names in found.items() if names} == {}, "move what is shared to a module of helpers"


@pytest.mark.parametrize(
    "source",
    [
        "from tests.queues.test_order import first",
        "import tests.queues.test_order",
        "def f():\n    from tests.queues import test_order",
        "from tests.page.browser.test_page import title as title",
    ],
)
def test_an_import_of_a_test_is_found(source: str) -> None:
    assert len(modules_of_tests(imported(source))) == 1


def test_the_index_of_support_names_each_module_once() -> None:
    assert support.__doc__
    indented = "\n".join(line for line in support.__doc__.splitlines() if line.startswith("    "))
    listed = re.findall(r"\b[a-z_]+(?=[,:(]| \()", re.sub(r":[^\n]*", ":", indented))
    assert sorted(listed) == HELPERS


@pytest.mark.slow
@pytest.mark.parametrize("helper", HELPERS)
def test_what_lies_in_support_is_needed_by_several_folders(helper: str) -> None:
    name = f"tests.support.{helper}"
    users = {path.parent for path, names in imports_of_files().items() if name in names}
    assert len(users) > 1, "move it to the folder that needs it"


def is_program(path: Path) -> bool:
    """Whether a file is started, not imported."""
    return '__name__ == "__main__"' in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("folder", sorted({*FOLDERS} - OF_SEVERAL_SUBJECTS))
def test_a_folder_has_at_most_one_module_of_helpers(folder: str) -> None:
    modules = (path for path in (TESTS / folder).rglob("*.py") if not path.name.startswith(("_", "test_", "conftest")))
    helpers = [path.name for path in modules if not is_program(path)]
    assert len(helpers) <= 1, "join them, or move what other folders need to tests/support"


@pytest.mark.parametrize("folder", FOLDERS)
def test_names_of_tests_have_four_words_or_more(folder: str) -> None:
    sources = {path: path.read_text(encoding="utf-8") for path in (TESTS / folder).rglob("test_*.py")}
    assert sources, f"tests/{folder} has no tests"
    names = {
        name for text in sources.values() for name in re.findall(r"^ *(?:async )?def test_(\w+)", text, re.MULTILINE)
    }
    assert {name for name in names if len(name.split("_")) < 4} == set(), "a name says what is true"


def test_each_folder_is_in_the_table_of_contributing() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `.*$", page.partition("## Tests\n")[2].partition("\n## ")[0], re.MULTILINE)
    listed = {name for row in rows for name in re.findall(r"`([\w/]+)`", row.split("|")[1])}
    assert {*FOLDERS, "support"} == listed


def test_only_what_concerns_all_tests_lies_in_no_folder() -> None:
    assert {path.name for path in FILES if path.parent == TESTS} == {"__init__.py", "chosen.py", "conftest.py"}


@pytest.mark.parametrize("require", [programs.require, programs.require_module])
@pytest.mark.parametrize(("environment", "outcome"), [("true", pytest.fail.Exception), ("", pytest.skip.Exception)])
def test_what_is_missing_skips_a_test_and_fails_it_in_ci(
    monkeypatch: pytest.MonkeyPatch, environment: str, outcome: type[BaseException], require: Callable[[str], Any]
) -> None:
    monkeypatch.setenv("CI", environment)
    with pytest.raises(outcome, match=r"^no-such-program is not installed"):
        require("no-such-program")


def test_the_end_of_a_run_says_what_was_not_tested() -> None:
    fish, zsh, server = (f"Skipped: {name} is not installed" for name in ("fish", "zsh", "PostgreSQL"))
    assert programs.not_tested([fish, "Skipped: this system has no inotify", fish, zsh]) == (
        "Skipped, for want of a program: fish (2), zsh (1). To test them: install fish zsh"
    )
    assert programs.not_tested([server, fish]) == (
        "Skipped, for want of a program: PostgreSQL (1), fish (1). "
        "To test them: install fish; make test (it installs the wheels)"
    )
    assert programs.not_tested(["Skipped: PostgreSQL has no file"]) == ""
