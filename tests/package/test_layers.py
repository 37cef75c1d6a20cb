"""The layers of CONTRIBUTING.md: a module imports only from its own layer and from those below, never in a circle.

No module imports a wing but the wing's own, and for type checkers the package itself, whose public names some are.
"""

from __future__ import annotations

import ast
import builtins
import functools
import graphlib
from collections.abc import Iterable, Iterator, Mapping

import pytest

from tests.support.modules import MODULES
from zrb_store import errors, wings

# From top to bottom.
ROWS = [
    ("wings", {*wings.NAMES}),
    ("zrb", {"plugin"}),
    ("commands", {"cli", "__main__"}),
    ("drawing", {"render"}),
    ("facade", {"", "store", "run", "attempt", "xcom", "testing"}),
    ("by hand", {"operations"}),
    ("runtime", {"runtime"}),
    ("readers", {"inspect"}),
    ("queries", {"queries"}),
    ("database", {"db"}),
    ("values", {"codec"}),
    (
        "ground",
        {"errors", "local_time", "masking", "names", "observe", "process", "records", "settings", "system", "wings"},
    ),
]

# Where each library may be imported.
LIBRARIES = {
    "alembic": {"zrb_store.db.migrate", "zrb_store.db.rebuild"},
    "click": {"zrb_store.cli", "zrb_store.render", *(f"zrb_store.{name}" for name in wings.NAMES)},
    "jinja2": {"zrb_store.page"},
    "markupsafe": {"zrb_store.page"},
    "opentelemetry": {"zrb_store.traces", "zrb_store.agents.runtime"},
    "psutil": {"zrb_store.system.portable"},
    "psycopg": {"zrb_store.db.dialect"},
    "pydantic": {"zrb_store.agents.runtime"},
    "pydantic_ai": {"zrb_store.agents"},
    "pydantic_core": {"zrb_store.agents.runtime"},
    "sqlalchemy": {"zrb_store.db", "zrb_store.own_tables", "zrb_store.queries"},
    "starlette": {"zrb_store.page"},
    "uvicorn": {"zrb_store.page"},
    "zrb": {"zrb_store.plugin", "zrb_store.agents.llm_tasks"},
}
# What users import from the package itself.
PUBLIC = {("zrb_store", "zrb_store.agents.once")}
# These load slowly, so they are imported only inside functions.
LATE = {"alembic"}

parsed = functools.cache(ast.parse)


def top_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def row_of(module: str) -> int:
    return next(number for number, (_, names) in enumerate(ROWS) if top_of(module) in names)


def imports(tree: ast.AST, *, on_loading: bool = False) -> Iterator[str]:
    """Yield the modules that code imports: in functions and for typing too, or only when it is loaded."""
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


def foreign_variables(tree: ast.AST) -> Iterator[str]:
    """Yield the variables of other modules that code sets."""
    names = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if f"{node.module}.{alias.name}" in MODULES
    }
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id=name), ctx=ast.Store()) if name in names:
                yield f"{name}.{node.attr}"


def violations(module: str, source: str) -> list[str]:
    tree = parsed(source)
    found = [f"{module} sets {name}" for name in foreign_variables(tree)]
    for name in imports(tree):
        library = name.split(".")[0]
        if (module, name) in PUBLIC:
            continue
        if library == "zrb_store" and row_of(name) < row_of(module):
            found.append(f"{module} ({ROWS[row_of(module)][0]}) imports {name} ({ROWS[row_of(name)][0]})")
        elif library == "zrb_store" and top_of(name) in wings.NAMES and top_of(module) != top_of(name):
            found.append(f"{module} imports {name}, of another wing")
        if library in LIBRARIES and not any(f"{module}.".startswith(f"{place}.") for place in LIBRARIES[library]):
            found.append(f"{module} imports {name}")
    early = {name.split(".")[0] for name in imports(tree, on_loading=True)}
    return found + [f"{module} imports {library} when it is loaded" for library in early & LATE]


def circle(graph: Mapping[str, Iterable[str]]) -> list[str]:
    """Return modules each of which imports the next one, where the last is the first again; or an empty list."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


@pytest.mark.slow
def test_each_module_imports_from_its_own_row_and_below() -> None:
    assert [one for module, path in MODULES.items() for one in violations(module, path.read_text())] == []


@pytest.mark.slow
def test_no_modules_import_each_other() -> None:
    trees = {module: parsed(path.read_text()) for module, path in MODULES.items()}
    assert circle({module: {name for name in imports(tree) if name in MODULES} for module, tree in trees.items()}) == []


def public_types(source: str) -> Iterator[str]:
    """Yield the names of the classes and of the type aliases of a module that begin with no underscore."""
    tree = parsed(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield node.name
    for node in tree.body:
        match node:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=value)
                | ast.AnnAssign(target=ast.Name(id=name), value=value)
            ):
                is_variable = value is not None and ast.unparse(value).startswith("TypeVar")
                if name[0].isupper() and not name.isupper() and not is_variable:
                    yield name


@pytest.mark.slow
def test_no_two_classes_share_a_name() -> None:
    homes: dict[str, list[str]] = {}
    for module, path in MODULES.items():
        for name in public_types(path.read_text()):
            homes.setdefault(name, []).append(module)
    assert {name: modules for name, modules in homes.items() if len(modules) > 1} == {}


def unnamed_errors(source: str) -> Iterator[str]:
    """Yield the functions that return an exception, and are not named for it."""
    known = {name for name, thing in {**vars(builtins), **vars(errors)}.items() if is_exception(thing)}
    for node in ast.walk(parsed(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.returns is not None:
            returned = {*ast.unparse(node.returns).split(" | ")} - {"None"}
            is_named = any(word in node.name for word in ("error", "refusal", "waiting"))
            if returned and returned <= known and not is_named:
                yield node.name


def is_exception(thing: object) -> bool:
    return isinstance(thing, type) and issubclass(thing, BaseException)


@pytest.mark.slow
def test_a_function_that_returns_an_error_is_named_for_it() -> None:
    assert [(module, name) for module, path in MODULES.items() for name in unnamed_errors(path.read_text())] == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("zrb_store.store", "import zrb"),
        ("zrb_store.store", "from sqlalchemy import select"),
        ("zrb_store.store", "def f():\n    from zrb_store import cli"),
        ("zrb_store.store", "from zrb_store.runtime import lease\nlease._renewal = None"),
        ("zrb_store.inspect.show", "if TYPE_CHECKING:\n    from zrb_store.store import Store"),
        ("zrb_store.queries.values", "from zrb_store.operations import push"),
        ("zrb_store.runtime.reclaim", "from zrb_store.operations import push"),
        ("zrb_store.db.engine", "from zrb_store.queries import values"),
        ("zrb_store.codec.text", "from zrb_store.db import engine"),
        ("zrb_store.errors", "from zrb_store import codec"),
        ("zrb_store.cli.show", "from zrb.context import Context"),
        ("zrb_store.db.migrate", "import alembic"),
        ("zrb_store.plugin.commands", "def f():\n    from zrb_store.transfer.export import export"),
        ("zrb_store", "from zrb_store.agents.kinds import KINDS"),
        ("zrb_store.agents.notes", "import zrb"),
    ],
)
def test_mistakes_in_imports_are_found(module: str, source: str) -> None:
    assert len(violations(module, source)) == 1
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}}) != []


def test_mistakes_in_names_are_found() -> None:
    assert [*public_types("class A: ...\nclass _B: ...\nRow = tuple[str]\nT = TypeVar('T')\nMOST = 3")] == ["A", "Row"]
    assert [*unnamed_errors("def gone() -> KeyError | None: ...\ndef gone_error() -> KeyError: ...")] == ["gone"]
