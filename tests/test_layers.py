"""A module imports only from the rows below its own, and each foreign library from one place."""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "zrb_store"
MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}

# From the top down. What is named nowhere belongs to the facade.
ROWS = [
    ("edges", {"cli", "plugin"}),
    ("facade", set()),
    ("queries", {"queries"}),
    ("database", {"db"}),
    ("ground", {"errors", "names", "records", "columns", "codec", "masking", "process", "points", "printing"}),
]
FACADE = 1

LIBRARIES = {
    "alembic": {"zrb_store.db.migrate"},
    "click": {"zrb_store.cli"},
    "psutil": {"zrb_store.process"},
    "psycopg": {"zrb_store.db.dialect"},
    "rich": {"zrb_store.cli"},
    "sqlalchemy": {"zrb_store.db", "zrb_store.queries", "zrb_store.settings"},
    "zrb": {"zrb_store.plugin"},
}


def row_of(module: str) -> int:
    top = module.split(".")[1] if "." in module else ""
    return next((number for number, (_, names) in enumerate(ROWS) if top in names), FACADE)


def imports(tree: ast.AST, *, on_loading: bool = False) -> Iterator[str]:
    """The modules that the code imports: wherever it does so, or only when it is loaded itself."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                yield submodule if submodule in MODULES else str(node.module)
        elif on_loading and (
            isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            or (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
        ):
            continue
        else:
            yield from imports(node, on_loading=on_loading)


def violations(module: str, source: str) -> list[str]:
    found = []
    for name in imports(ast.parse(source)):
        library = name.split(".")[0]
        if library == "zrb_store" and row_of(name) < row_of(module):
            found.append(f"{module} ({ROWS[row_of(module)][0]}) imports {name} ({ROWS[row_of(name)][0]})")
        if library in LIBRARIES and not any(f"{module}.".startswith(f"{place}.") for place in LIBRARIES[library]):
            found.append(f"{module} imports {name}")
    return found


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down(module: str) -> None:
    assert violations(module, MODULES[module].read_text()) == []


def test_no_module_needs_itself_to_be_loaded() -> None:
    graph = {
        module: {name for name in imports(ast.parse(path.read_text()), on_loading=True) if name in MODULES} - {module}
        for module, path in MODULES.items()
    }
    graphlib.TopologicalSorter(graph).prepare()  # names the cycle, if there is one


def test_alembic_is_imported_only_inside_functions() -> None:
    tree = ast.parse(MODULES["zrb_store.db.migrate"].read_text())
    assert "alembic" in "".join(imports(tree))
    assert "alembic" not in "".join(imports(tree, on_loading=True))


FILES = [
    path for folder in ("zrb_store", "migrations", "tests", "benchmarks") for path in (ROOT / folder).rglob("*.py")
]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_is_too_long(path: Path) -> None:
    lines = len(path.read_text().splitlines())
    assert lines <= 350, "a file above 350 lines wants to be two"


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("zrb_store.session", "import zrb"),
        ("zrb_store.session", "from sqlalchemy import select"),
        ("zrb_store.session", "def f():\n    from rich.table import Table"),
        ("zrb_store.session", "from zrb_store import cli"),
        ("zrb_store.queries.values", "from zrb_store.session import Session"),
        ("zrb_store.db.engine", "from zrb_store.queries import values"),
        ("zrb_store.codec.text", "from zrb_store.db import engine"),
        ("zrb_store.cli.show", "from zrb.context import Context"),
    ],
)
def test_wrong_imports_are_found(module: str, source: str) -> None:
    assert len(violations(module, source)) == 1
