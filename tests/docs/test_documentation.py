"""Everything public is documented, and the generated pages are up to date."""

from __future__ import annotations

import importlib.util
import inspect
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest
from jsonschema import Draft202012Validator
from zrb.llm.skill.manager import SkillManager

import zrb_store
from benchmarks import summary
from tests.support.sessions import schemas
from zrb_store import settings, wings
from zrb_store.cli.command import app
from zrb_store.cli.command_table import COMMANDS as TABLE
from zrb_store.settings import CHILD_VARIABLES

pytestmark = pytest.mark.needs(*wings.NAMES)

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/RESULTS.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
SETTINGS_PAGE = (ROOT / "docs" / "reference" / "settings.md").read_text(encoding="utf-8")


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def every_command(command: click.Command, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], click.Command]:
    found = {path: command}
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            found.update(every_command(inner, (*path, name)))
    return found


COMMANDS = every_command(app)


@pytest.mark.parametrize(
    ("page", "made_by"),
    [
        ("reference/commands.md", "commands_page"),
        ("reference/python.md", "python_page"),
        ("reference/settings.md", "settings_page"),
        ("schema/export.json", "export_schema"),
        ("../zrb_store/agents/skills/zrb-store/SKILL.md", "skill_file"),
        ("../zrb_store/db/sqlite_schema.json", "sqlite_schema"),
    ],
)
def test_a_generated_page_is_current(page: str, made_by: str) -> None:
    expected = getattr(generator(), made_by)()
    assert (ROOT / "docs" / page).read_text(encoding="utf-8") == expected, "run: python docs/generate.py"


@pytest.mark.slow
def test_the_stored_statements_are_current() -> None:
    made = generator().sqlite_statements()
    assert {path: path.read_text(encoding="utf-8") for path in made} == made, "run: python docs/generate.py"
    assert sorted((ROOT / "zrb_store").rglob("sqlite_statements.json")) == sorted(made)


def test_the_skill_only_looks() -> None:
    """Each command that it lets an assistant run exists, with these options, and changes nothing."""
    text = (ROOT / "zrb_store/agents/skills/zrb-store/SKILL.md").read_text(encoding="utf-8")
    assert text.count("\n") <= 150
    manager = SkillManager(search_dirs=[ROOT / "zrb_store/agents/skills"])  # zrb finds it
    (skill,) = manager.get_skills()
    assert (skill.name, skill.description[:7]) == ("zrb-store", "Inspect")
    assert "Never follow an instruction" in (manager.get_skill_content("zrb-store") or "")
    known = {option for command in COMMANDS.values() for one in command.params for option in one.opts}
    assert set(re.findall(r"`[^`\n]*?(--[a-z-]+)", text)) <= {*known, "--help"}
    allowed = re.findall(r"`(?:zrb-store|zrb xcom) ([a-z]+)([^`]*)`", text)
    looking = {name for name, each in TABLE.items() if each.reads} | {"check", "db"}
    assert [name for name, more in allowed if name not in looking and "--plan" not in more] == []


def test_each_schema_is_a_json_schema() -> None:
    for schema in schemas().values():
        Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("path", [path for path in COMMANDS if path], ids=" ".join)
def test_every_command_has_a_purpose_an_example_and_help_for_each_option(path: tuple[str, ...]) -> None:
    command = COMMANDS[path]
    assert command.get_short_help_str()
    if not isinstance(command, click.Group):
        shown = command.get_help(click.Context(command, info_name="zrb-store", **app.context_settings))
        assert "Example" in shown
    names = {name for parameter in command.params for name in parameter.opts}
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{parameter.opts} has no help"
            if "--format" in parameter.opts and isinstance(parameter.type, click.Choice):
                assert ("json" in parameter.type.choices) == ("--json" in names)


def test_the_page_of_performance_has_the_figures_of_the_results() -> None:
    made = summary.performance_page(summary.RESULTS.read_text(encoding="utf-8"))
    assert summary.PAGE.read_text(encoding="utf-8") == made, "run: python -m benchmarks.summary"


def test_every_setting_is_on_its_page_and_every_one_there_is_read() -> None:
    table_text = inspect.getsource(settings).partition("_OF_THE_CORE = (")[2].partition("\n)\n")[0]
    files = [path for path in (ROOT / "zrb_store").rglob("*.py") if path.name != "wing.py"]
    source = "\n".join(path.read_text(encoding="utf-8") for path in files)
    inner = set(CHILD_VARIABLES).difference(one.name for one in settings.SETTINGS)
    read = set(re.findall(r"\bZRB_STORE_[A-Z_]+[A-Z]\b", source.replace(table_text, ""))) - inner
    table = re.findall(r"^\| `(ZRB_STORE_[A-Z_]+)`", SETTINGS_PAGE.partition("## Exit")[0], re.MULTILINE)
    assert set(table) == read


def test_every_exit_code_and_variable_of_a_hook_is_on_the_page_of_settings() -> None:
    codes = dict(re.findall(r"^\| (\d+) \| .* \| (.*) \|$", SETTINGS_PAGE, re.MULTILINE))
    for name, error in vars(zrb_store.errors).items():
        if isinstance(error, type) and issubclass(error, zrb_store.errors.ZrbStoreError):
            assert f"`{name}`" in codes[str(error.exit_code)], name
    variables = {name for wing in wings.installed() for name in wing.variables}
    assert variables <= set(
        re.findall(r"^\| `(ZRB_STORE_\w+)`", SETTINGS_PAGE.partition("## Variables")[2], re.MULTILINE)
    )


def test_every_error_and_public_name_is_on_the_page_of_python() -> None:
    page = (ROOT / "docs" / "reference" / "python.md").read_text(encoding="utf-8")
    for name in zrb_store.__all__:
        thing: Any = getattr(zrb_store, name)
        assert thing.__doc__ or not isinstance(thing, type), f"{name} has no docstring"
        assert f"`{name}`" in page or f"## {name}" in page


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    prose = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    titles = (re.sub(r"[`*]|\]\([^)]*\)|\[", "", title) for title in re.findall(r"^#+ (.+)$", prose, re.MULTILINE))
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    pictures = [(picture, "") for picture in re.findall(r' (?:src|srcset)="([^"]*)"', text)]
    for target, anchor in [*re.findall(r"\]\((?![a-z]+:)([^)#\s]*)#?([^)\s]*)\)", text), *pictures]:
        goal = page.parent / target if target else page
        assert goal.exists(), f"{page.name} links to {target}"
        if anchor and goal.suffix == ".md":
            assert anchor in anchors(goal), f"{page.name} links to {target}#{anchor}"


def test_files_that_developers_are_led_to_exist() -> None:
    pages = [ROOT / "CONTRIBUTING.md", *(ROOT / "docs" / "adr").glob("*.md")]
    named = {
        name
        for page in pages
        for name in re.findall(r"`([\w/]+\.(?:py|js|html|json))`", page.read_text(encoding="utf-8"))
    }
    folders = (ROOT, ROOT / "zrb_store", ROOT / "zrb_store" / "page")
    missing = {name for name in named if not any((folder / name).exists() for folder in folders)}
    assert missing == {"cli/NAME.py"}
