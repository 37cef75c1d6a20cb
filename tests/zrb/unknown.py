"""A zrb of which one thing is not as the plugin knows it runs as stock: `python unknown.py` changes each thing in turn.

Runs inside one release's environment. Each change leaves zrb itself working, and is made in a forked process before the
plugin is imported. Each line of the output names a change and what came of it.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from zrb import Task, cli
from zrb.callback import callback as callback_module
from zrb.group import group as group_module
from zrb.runner import cli as cli_module
from zrb.task import base_trigger as trigger_module
from zrb.xcom import xcom as xcom_module

# Typed loosely, since their methods are replaced.
Callback: Any = callback_module.Callback
Group: Any = group_module.Group
Cli: Any = cli_module.Cli
BaseTrigger: Any = trigger_module.BaseTrigger
Xcom: Any = xcom_module.Xcom

STORE = Path(os.environ["ZRB_STORE_URL"])


class Other:
    """What answers as the attribute of a class did, and is of another kind."""

    def __init__(self, stock: Any) -> None:
        self._stock = stock

    def __get__(self, one: Any, owner: Any = None) -> Any:
        return self._stock.__get__(one, owner)

    def __set__(self, one: Any, value: Any) -> None:
        self._stock.__set__(one, value)


class Function:
    """As `Other`, for functions."""

    def __init__(self, stock: Any) -> None:
        self._stock = stock

    def __get__(self, one: Any, owner: Any = None) -> Any:
        return self._stock if one is None else self._stock.__get__(one, owner)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._stock(*args, **kwargs)


class Moved:
    """An attribute that instances keep under another name."""

    def __init__(self, name: str) -> None:
        self._name = f"moved{name}"

    def __get__(self, one: Any, owner: Any = None) -> Any:
        return self if one is None else one.__dict__[self._name]

    def __set__(self, one: Any, value: Any) -> None:
        one.__dict__[self._name] = value


def main(ctx: Any) -> str:
    """Tell stock zrb from a run with the plugin."""
    try:
        ctx.xcom["missing"]
    except KeyError:
        return "stock" if not hasattr(ctx, "task_name") else "half hooked"
    return "hooked"


def run(change: Callable[[], None], expected: str) -> str:
    """Change zrb, import the plugin and run a task; returns what is wrong."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        change()
        import zrb_store.plugin

        assert zrb_store.plugin is not None
        sys.argv = ["zrb", "main"]
        cli.run(["main"])
    said = [line for line in err.getvalue().splitlines() if line.startswith("zrb-store:")]
    found = []
    if out.getvalue().split() != ["stock"]:
        found.append(f"printed {out.getvalue()!r}")
    if len(said) != 1 or expected not in said[0] or not said[0].endswith("): nothing is stored"):
        found.append(f"said {said}")
    if "xcom" in cli.subgroups:
        found.append("has a group xcom")
    if STORE.exists():
        found.append("made a store")
    return ", ".join(found) or "ran as stock"


def forked(name: str, change: Callable[[], None], expected: str) -> None:
    """As `run`, in a process of its own; prints what came of it."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    try:
        print(f"{name}: {run(change, expected)}")
    except BaseException as error:  # noqa: BLE001 - told to the test
        print(f"{name}: {type(error).__name__} {error}")
    sys.stdout.flush()
    os._exit(0)


def touched() -> dict[Any, dict[str, Any]]:
    """The plugin's table, with owners by their places: this process must not import the plugin."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        with contextlib.redirect_stderr(io.StringIO()):
            from zrb_store.plugin import compat
        text = repr([
            (getattr(owner, "__module__", None) or owner.__name__, getattr(owner, "__qualname__", ""), name,
             kind if isinstance(kind, str) else None)
            for owner, names in compat.TOUCHED.items() for name, kind in names.items()
        ])  # fmt: skip
        os.write(writing, text.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as file:
        rows = eval(file.read())  # noqa: S307 - made above
    os.waitpid(child, 0)
    found: dict[Any, dict[str, Any]] = {}
    for module, qualname, name, kind in rows:
        __import__(module)
        owner = getattr(sys.modules[module], qualname) if qualname else sys.modules[module]
        found.setdefault(owner, {})[name] = kind
    return found


def of_another_kind(owner: Any, name: str, kind: str | None) -> Callable[[], None]:
    """A change of one row of the table."""

    def change() -> None:
        if kind is None:
            setattr(owner, name, Moved(name))
            return
        stock = next(vars(cls)[name] for cls in getattr(owner, "__mro__", [owner]) if name in vars(cls))
        setattr(owner, name, Other(stock) if isinstance(stock, property) else Function(stock))

    return change


def with_a_parameter_more() -> None:
    """A function that is called otherwise: with something before what it is known to take."""
    stock = BaseTrigger._fanout_and_trigger_callback

    async def fanout(self: Any, what: Any, session: Any) -> Any:
        return await stock(self, session)

    BaseTrigger._fanout_and_trigger_callback = fanout


def no_coroutine() -> None:
    """A coroutine function that became a function."""
    stock = Callback.async_run
    Callback.async_run = lambda self, parent_session, session: stock(self, parent_session, session)


def gone() -> None:
    """A method of another name."""
    Cli._print_command = Cli._print_run_command
    del Cli._print_run_command
    Cli.__getattr__ = lambda self, name: object.__getattribute__(self, "_print_command")


def other_callbacks() -> None:
    """Queues that keep their callbacks elsewhere."""
    for name in ("append_push_callback", "add_push_callback"):
        if hasattr(Xcom, name):
            setattr(Xcom, name, lambda self, callback: None)


def refused() -> None:
    """A zrb that refuses the last of what the plugin does: all before is undone."""

    def add_group(self: Any, group: Any, alias: Any = None) -> Any:
        raise TypeError("no more groups")

    Group.add_group = add_group


def every_change() -> dict[str, tuple[Callable[[], None], str]]:
    """Every change by its name, with what the warning says."""
    found: dict[str, tuple[Callable[[], None], str]] = {}
    for owner, names in touched().items():
        for name, kind in names.items():
            if kind is not None and kind.startswith("? ") and not hasattr(owner, name):
                continue  # this release has none
            shown = f"{owner.__name__.rpartition('.')[2]}.{name}"
            expected = f"it has no {shown}" if kind is None else f"{shown} is no "
            found[shown] = (of_another_kind(owner, name, kind), expected)
    found["parameters"] = (with_a_parameter_more, "BaseTrigger._fanout_and_trigger_callback is no async def")
    found["coroutine"] = (no_coroutine, "Callback.async_run is no async def")
    found["gone"] = (gone, "it has no Cli._print_run_command")
    found["callbacks"] = (other_callbacks, "it has no Xcom.push_callbacks")
    found["refused"] = (refused, "TypeError: no more groups")
    return found


if __name__ == "__main__":
    cli.add_task(Task(name="main", action=main, retries=0))
    changes = every_change()
    for title, (how, words) in changes.items():
        forked(title, how, words)
    print(f"changed {len(changes)}")
