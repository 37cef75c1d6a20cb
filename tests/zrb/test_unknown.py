"""On unknown releases the plugin first checks everything that it uses, and runs as stock zrb if anything differs."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.modules import MODULES
from tests.zrb.conftest import Zrb, lines, only
from zrb_store.plugin import compat

# Attributes that the plugin reads with a default, since some releases lack them.
WITH_DEFAULT = {
    *("_action", "_allow_empty", "_execute_condition", "_is_secret", "_install_sigterm_handler", "_retries"),
    "_record_override_if_edited",
}
# A release that lacks one of these plans the steps of an agent as `known when it runs`.
OF_PLANS = {"_message", "_attachment", "_render_message", "_create_agent"}
OF_PYTHON = {"_replace", "_exit", "_getframe"}
oldest_and_newest = only(lambda version: version < (2,) or version >= (3, 28))  # slow


@pytest.mark.promise(number=7)
@pytest.mark.oldest
def test_a_zrb_that_cannot_be_hooked_runs_as_stock(zrb: Zrb) -> None:
    zrb.tasks("cli.add_task(Task(name='main', action=lambda ctx: 7))")
    (zrb.folder / "future.py").write_text(
        "from zrb.session.session import Session\n"
        "Session.register_one_task = Session._register_single_task\n"
        "del Session._register_single_task\n"
        "Session.__getattr__ = lambda self, name: self.register_one_task\n"
    )
    done = zrb.run("main", PYTHONPATH=str(zrb.folder), ZRB_INIT_MODULES="future:zrb_store.plugin")
    assert done.out.strip() == "7"
    (line,) = [line for line in lines(done.err) if line.startswith("zrb-store:")]
    assert "is not supported (it has no Session._register_single_task): nothing is stored" in line
    assert zrb.sessions() == []


@pytest.mark.newest
@pytest.mark.slow
@oldest_and_newest
def test_zrb_runs_as_stock_whatever_differs(zrb: Zrb) -> None:
    zrb.db.unlink()
    done = zrb.run(str(Path(__file__).with_name("unknown.py")), program="python")
    *changes, last = done.out.splitlines()
    assert last == f"changed {len(changes)}"
    assert len(changes) > 50
    assert [line for line in changes if not line.endswith(": ran as stock")] == []


@oldest_and_newest
def test_a_module_that_is_elsewhere(zrb: Zrb) -> None:
    zrb.tasks("cli.add_task(Task(name='main', action=lambda ctx: 7))")
    (zrb.folder / "future.py").write_text(
        "import sys\nimport zrb.callback.callback\nsys.modules['zrb.callback.callback'] = None\n"
    )
    done = zrb.run("main", PYTHONPATH=str(zrb.folder), ZRB_INIT_MODULES="future:zrb_store.plugin")
    assert done.out.strip() == "7"
    (line,) = [line for line in lines(done.err) if line.startswith("zrb-store:")]
    assert "zrb.callback.callback" in line
    assert line.endswith("): nothing is stored")


def private_names(node: ast.AST, *, in_class: bool = False) -> Iterator[tuple[str, bool]]:
    """Yield every private attribute that a module uses, and whether it is one of the module's own classes."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Attribute):
            own = in_class and isinstance(child.value, ast.Name) and child.value.id in ("self", "cls")
            yield child.attr, own
        elif isinstance(child, ast.Call) and getattr(child.func, "id", "") in ("getattr", "hasattr"):
            yield str(getattr(child.args[1], "value", "")), False
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) and in_class:
            yield child.name, True
        inner = in_class or isinstance(child, ast.ClassDef)
        yield from private_names(child, in_class=inner)


@pytest.mark.slow
@pytest.mark.oldest
def test_the_table_has_every_private_name_of_zrb() -> None:
    found = {
        module: [
            (name, own) for name, own in private_names(ast.parse(path.read_text())) if name[:1] == "_" != name[1:2]
        ]
        for module, path in MODULES.items()
    }
    ours = {name for names in found.values() for name, own in names if own}
    touched = {name for names in compat.TOUCHED.values() for name in names} | WITH_DEFAULT | OF_PLANS | OF_PYTHON
    strange = {
        f"{module}: {name}"
        for module, names in found.items()
        if module.startswith("zrb_store.plugin")
        for name, own in names
        if not own and name not in ours | touched and not name.startswith("_zrb_store_")
    }
    assert strange == set()
    assert "_task_status" in touched - ours
