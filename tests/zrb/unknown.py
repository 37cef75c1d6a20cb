"""Change one thing at a time in zrb, and check that the plugin then leaves zrb as it is: `python unknown.py`.

This runs in the environment of one release. Each change leaves zrb itself working, and is made in a forked process
before the plugin is imported. Each line of the output names a change and its result.
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

# Without types, since their methods are replaced.
Callback: Any = callback_module.Callback
Group: Any = group_module.Group
Cli: Any = cli_module.Cli
BaseTrigger: Any = trigger_module.BaseTrigger
Xcom: Any = xcom_module.Xcom

STORE = Path(os.environ["ZRB_STORE_URL"])


class OtherProperty:
    """A stand-in for a property: it behaves the same, but is of another kind."""

    def __init__(self, stock: Any) -> None:
        self._stock = stock

    def __get__(self, one: Any, owner: Any = None) -> Any:
        return self._stock.__get__(one, owner)

    def __set__(self, one: Any, value: Any) -> None:
        self._stock.__set__(one, value)


class OtherFunction:
    """A stand-in for a function: it behaves the same, but is of another kind."""

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
    """Return whether stock zrb or the plugin runs the task."""
    try:
        ctx.xcom["missing"]
    except KeyError:
        return "stock" if not hasattr(ctx, "task_name") else "half hooked"
    return "hooked"


def run(change: Callable[[], None], expected: str) -> str:
    """Change zrb, import the plugin and run a task; return what is wrong."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        change()
        import zrb_store.plugin

        assert zrb_store.plugin is not None
        sys.argv = ["zrb", "main"]
        cli.run(["main"])
    warnings = [line for line in err.getvalue().splitlines() if line.startswith("zrb-store:")]
    found = []
    if out.getvalue().split() != ["stock"]:
        found.append(f"printed {out.getvalue()!r}")
    if len(warnings) != 1 or expected not in warnings[0] or not warnings[0].endswith("): nothing is stored"):
        found.append(f"warned {warnings}")
    if "xcom" in cli.subgroups:
        found.append("has a group xcom")
    if STORE.exists():
        found.append("made a store")
    return ", ".join(found) or "ran as stock"


def forked(name: str, change: Callable[[], None], expected: str) -> None:
    """Call `run` in a forked process, and print its result."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    try:
        print(f"{name}: {run(change, expected)}")
    except BaseException as error:  # noqa: BLE001 - printed for the test
        print(f"{name}: {type(error).__name__} {error}")
    sys.stdout.flush()
    os._exit(0)


def touched() -> dict[Any, dict[str, Any]]:
    """Return the plugin's table of what it uses, read in another process, since this one must not import the plugin."""
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
    """Return a function that changes the kind of one attribute in the table."""

    def change() -> None:
        if kind is None:
            setattr(owner, name, Moved(name))
            return
        stock = next(vars(cls)[name] for cls in getattr(owner, "__mro__", [owner]) if name in vars(cls))
        setattr(owner, name, OtherProperty(stock) if isinstance(stock, property) else OtherFunction(stock))

    return change


def additional_parameter() -> None:
    """Give a function another signature: an additional parameter before those that the plugin knows."""
    stock = BaseTrigger._fanout_and_trigger_callback

    async def fanout(self: Any, what: Any, session: Any) -> Any:
        return await stock(self, session)

    BaseTrigger._fanout_and_trigger_callback = fanout


def no_coroutine() -> None:
    """Replace a coroutine function by a plain function."""
    stock = Callback.async_run
    Callback.async_run = lambda self, parent_session, session: stock(self, parent_session, session)


def renamed_method() -> None:
    """Give a method another name."""
    Cli._print_command = Cli._print_run_command
    del Cli._print_run_command
    Cli.__getattr__ = lambda self, name: object.__getattribute__(self, "_print_command")


def other_callbacks() -> None:
    """Replace the methods by which queues keep their callbacks."""
    for name in ("append_push_callback", "add_push_callback"):
        if hasattr(Xcom, name):
            setattr(Xcom, name, lambda self, callback: None)


def refused_group() -> None:
    """Make zrb refuse the last step of the plugin, which must then undo the steps before."""

    def add_group(self: Any, group: Any, alias: Any = None) -> Any:
        raise TypeError("no more groups")

    Group.add_group = add_group


def every_change() -> dict[str, tuple[Callable[[], None], str]]:
    """Return every change by its name, with a part of the warning that it must cause."""
    found: dict[str, tuple[Callable[[], None], str]] = {}
    for owner, names in touched().items():
        for name, kind in names.items():
            if kind is not None and kind.startswith("? ") and not hasattr(owner, name):
                continue  # this release does not have the attribute
            shown = f"{owner.__name__.rpartition('.')[2]}.{name}"
            expected = f"it has no {shown}" if kind is None else f"{shown} is no"
            found[shown] = (of_another_kind(owner, name, kind), expected)
    found["parameters"] = (additional_parameter, "BaseTrigger._fanout_and_trigger_callback is no async def")
    found["coroutine"] = (no_coroutine, "Callback.async_run is no async def")
    found["gone"] = (renamed_method, "it has no Cli._print_run_command")
    found["callbacks"] = (other_callbacks, "it has no Xcom.push_callbacks")
    found["refused"] = (refused_group, "TypeError: no more groups")
    return found


if __name__ == "__main__":
    cli.add_task(Task(name="main", action=main, retries=0))
    changes = every_change()
    for title, (how, words) in changes.items():
        forked(title, how, words)
    print(f"changed {len(changes)}")
