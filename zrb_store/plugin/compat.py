"""Where zrb's releases differ, each with the reason. Nothing else in the plugin asks for a release."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import Any

from zrb.config.config import CFG
from zrb.context.context import Context
from zrb.context.shared_context import SharedContext
from zrb.dot_dict.dot_dict import DotDict
from zrb.group.group import Group
from zrb.runner.cli import Cli, cli
from zrb.session.session import Session
from zrb.task.any_task import AnyTask
from zrb.xcom.xcom import Xcom

try:
    from zrb.task.base.base_task import BaseTask
except ImportError:  # before 2.69 the class lay one folder higher
    from zrb.task.base_task import BaseTask  # type: ignore[import-not-found,no-redef]

__all__ = [
    "CFG",
    "AnyTask",
    "BaseTask",
    "Cli",
    "Context",
    "DotDict",
    "Group",
    "Session",
    "SharedContext",
    "Xcom",
    "cli",
]

# The method that zrb's retry loop calls: `exec_action` came with 2.32, around the older `_exec_action`.
ACTION = "exec_action" if hasattr(BaseTask, "exec_action") else "_exec_action"

# Until 2.20 `Xcom.get` looked at the oldest value, since then at the newest.
GET_IS_OLDEST = hasattr(Xcom, "get") and Xcom([1, 2]).get() == 1

# Until 2.45 these are plain deque's, which call no callbacks.
WITHOUT_CALLBACKS = [
    name for name in ("appendleft", "extend", "extendleft", "insert", "remove", "__setitem__") if name not in vars(Xcom)
]

_SEED_PLACEHOLDER = re.compile(r"(?<!\{)\{(ctx\.[^{}]+)\}(?!\})")


def missing_hooks() -> list[str]:
    """What the plugin takes hold of and this zrb does not have."""
    wanted: list[tuple[Any, str]] = [
        (BaseTask, ACTION),
        (BaseTask, "exec_root_tasks"),
        (Session, "_register_single_task"),
        (Session, "set_main_task"),
        (Session, "get_task_status"),
        (Session, "terminate"),
        (Session, "final_result"),
        (Context, "xcom"),
        (Context, "render"),
        (SharedContext, "xcom"),
        (Cli, "run"),
        (Cli, "_run_task"),
        (Cli, "_print_run_command"),
    ]
    return [f"{owner.__name__}.{name}" for owner, name in wanted if not hasattr(owner, name)]


def is_secret(task_input: Any) -> bool:
    """Whether an input is secret: the property came with 2.69, before there was only PasswordInput's attribute."""
    return bool(getattr(task_input, "is_secret", False) or getattr(task_input, "_is_secret", False))


def own_inputs(task: Any) -> Any:
    """The inputs that a task itself declares; until 2.69 there are only those merged with its upstreams'."""
    return task.own_inputs if hasattr(task, "own_inputs") else task.inputs


def condition(task: Any) -> bool | None:
    """Whether a task's condition holds, None if zrb asks it when its turn comes; until 2.20 it is no property."""
    given = getattr(task, "execute_condition", getattr(task, "_execute_condition", True))
    if given is None:
        return True
    return given if isinstance(given, bool) else None


def to_snake_case(name: str) -> str:
    """The second name under which zrb keeps an input."""
    from zrb.util.string.conversion import to_snake_case as convert

    return str(convert(name))


def find_task(path: list[str]) -> AnyTask | None:
    """The task that the command line calls by these words, or None."""
    try:
        if hasattr(cli, "extract_node"):
            node, _, rest = cli.extract_node(path)
        else:  # until 2.45 a function, not a method
            from zrb.util.group import extract_node_from_args  # type: ignore[import-not-found]

            node, _, rest = extract_node_from_args(cli, path)
    except Exception:  # noqa: BLE001 - NodeNotFoundError lives in another module in each line of releases
        return None
    return node if isinstance(node, AnyTask) and not rest else None


def task_paths(group: Any = cli, before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """How the command line calls each task."""
    for alias in group.subtasks:
        yield (*before, alias)
    for alias, inner in group.subgroups.items():
        yield from task_paths(inner, (*before, alias))


def subgroup(group: Group, name: str) -> Any:
    """The subgroup called `name`, or None."""
    return group.subgroups.get(name)


def remember_trigger_check(trigger: Any) -> None:
    """Let a trigger answer with the same default check each time: until 2.20 it made a new task at each question."""
    stock = trigger.__dict__["readiness_checks"]
    probe = trigger(name="probe")
    if probe.readiness_checks[0] is probe.readiness_checks[0]:
        return

    def readiness_checks(self: Any) -> Any:
        if super(trigger, self).readiness_checks:
            return stock.fget(self)
        if "_zrb_store_checks" not in self.__dict__:
            self._zrb_store_checks = stock.fget(self)
        return self._zrb_store_checks

    trigger.readiness_checks = property(readiness_checks)


def render_plain_cmd() -> None:
    """On zrb 3 render the `{ctx...}` of a plain `cmd` string that the seed's syntax is in.

    3.0 made plain strings literals; later releases refuse a `{ctx.` in one at declaration.
    """
    from zrb.task import cmd_task as module

    cmd_task: Any = module  # its functions are replaced
    resolve = getattr(cmd_task.CmdTask, "_resolve_cmd_val", None)
    if resolve is None:  # 1.x and 2.x render every plain string themselves
        return

    def resolve_cmd_val(self: Any, ctx: Any, cmd_val: Any) -> Any:
        if isinstance(cmd_val, list):
            return resolve(self, ctx, [_render_seed(ctx, part) for part in cmd_val])
        return resolve(self, ctx, _render_seed(ctx, cmd_val))

    cmd_task.CmdTask._resolve_cmd_val = resolve_cmd_val
    refuse = getattr(cmd_task, "_reject_unrendered_placeholder", None)
    if refuse is not None:

        def reject_unrendered_placeholder(task_name: str, cmd: Any) -> None:
            parts = cmd if isinstance(cmd, list) else [cmd]
            # An empty part keeps the place of one that we render: the message counts them.
            kept = ["" if _has_seed_syntax(part) else part for part in parts]
            refuse(task_name, kept if isinstance(cmd, list) else kept[0])

        cmd_task._reject_unrendered_placeholder = reject_unrendered_placeholder


def _has_seed_syntax(part: Any) -> bool:
    return isinstance(part, str) and ("{ctx.xcom[" in part or "{ctx.task_name" in part)


def _render_seed(ctx: Any, part: Any) -> Any:
    if not _has_seed_syntax(part):
        return part
    # Only what reads the context: other braces are the shell's (`${HOME}`, awk), as zrb 3 leaves them.
    return _SEED_PLACEHOLDER.sub(lambda found: str(ctx.render(found.group(0))), part)


def spare_our_settings() -> None:
    """Since 3.28 zrb warns of variables that look like misspelt settings of its own: ours are not."""
    config: Any = type(CFG)  # its method is replaced
    stock = getattr(config, "get_mistyped_env_keys", None)
    if stock is not None:
        config.get_mistyped_env_keys = lambda self: {
            name: meant for name, meant in stock(self).items() if not name.startswith("ZRB_STORE_")
        }


def builtin_tasks() -> Iterator[Any]:
    """The tasks that zrb itself declares, as far as its modules are loaded."""
    for name, module in list(sys.modules.items()):
        if name == "zrb" or name.startswith("zrb."):
            for value in list(vars(module).values()):
                if isinstance(value, AnyTask):
                    yield value


def declared_by_zrb(task: Any) -> bool:
    """Whether a task is one of zrb's own utilities."""
    if "_zrb_store_builtin" not in task.__dict__:
        # 1.21 binds `llm chat` to no module: its action's module tells.
        module = getattr(getattr(task, "_action", None), "__module__", None) or ""
        of_zrb = module.startswith("zrb.builtin.") or any(task is builtin for builtin in builtin_tasks())
        task._zrb_store_builtin = of_zrb  # a trigger's task is asked about at each event
    return bool(task._zrb_store_builtin)


def stock_exit_is_interrupt(session: Any, task: Any) -> bool:
    """Whether stock zrb ends this finished run as an interrupt: since 3.14, unless the main task is done or skipped."""
    entry = sys.modules.get("zrb.__main__")
    if not hasattr(entry, "_install_sigterm_handler"):  # both came with 3.14
        return False
    status = session.get_task_status(task)
    return not (status.is_completed or status.is_skipped)


def zrb_version() -> str:
    """The running zrb's version."""
    from importlib.metadata import version

    return version("zrb")
