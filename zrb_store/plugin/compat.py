"""Everything that the plugin uses of zrb, and how its releases differ. Only this module asks which release runs.

It names the attributes that the plugin sets on zrb's objects, and replaces (`Patches`) and lists (`TOUCHED`) what is
zrb's.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any, Final

from zrb.callback.callback import Callback
from zrb.config.config import CFG
from zrb.context.context import Context
from zrb.context.shared_context import SharedContext
from zrb.dot_dict.dot_dict import DotDict
from zrb.group.group import Group
from zrb.input.any_input import AnyInput
from zrb.runner.cli import Cli, cli
from zrb.session.session import Session
from zrb.task import cmd_task
from zrb.task.any_task import AnyTask
from zrb.task.base_trigger import BaseTrigger
from zrb.task_status.task_status import TaskStatus
from zrb.util.string import conversion
from zrb.xcom.xcom import Xcom

RECORDER: Final = "_zrb_store_recorder"
"""On a session: its `Recorder`."""
RESUMED: Final = "_zrb_store_resumed"
"""On a session that `zrb xcom resume` starts: its `ResumeRequest`."""
CHILD: Final = "_zrb_store_child"
"""On a session that a trigger starts: the name that it is stored under."""
NEVER: Final = "_zrb_store_never"
"""On a task whose sessions are never stored."""
VIEW: Final = "_zrb_store_view"
"""On a task's context: `ctx.xcom` of its attempt."""
CHECKS: Final = "_zrb_store_checks"
"""On a trigger: its default readiness checks."""
BUILTIN: Final = "_zrb_store_builtin"
"""On a task: whether zrb itself declared it."""


_ABSENT = object()


class Patches:
    """The attributes that were replaced, so that they can be restored."""

    def __init__(self) -> None:
        self._replaced: list[tuple[Any, str, Any]] = []

    def put(self, owner: Any, name: str, new: Any) -> None:
        """Set an attribute of a class or a module."""
        self._replaced.append((owner, name, vars(owner).get(name, _ABSENT)))
        setattr(owner, name, new)

    def wrap(self, owner: Any, name: str, wrapper: Callable[[Any], Any]) -> None:
        """Replace a function of a class or a module by what `wrapper` makes of it."""
        stock = vars(owner)[name] if name in vars(owner) else getattr(owner, name)
        self.put(owner, name, functools.wraps(stock)(wrapper(stock)))

    def undo(self) -> None:
        """Restore everything, the last change first."""
        while self._replaced:
            owner, name, old = self._replaced.pop()
            if old is _ABSENT:
                delattr(owner, name)
            else:
                setattr(owner, name, old)


try:
    from zrb.task.base.base_task import BaseTask
except ImportError:  # before 2.69 the class was one folder higher
    from zrb.task.base_task import BaseTask  # type: ignore[import-not-found,no-redef]

__all__ = [
    "CFG",
    "AnyInput",
    "AnyTask",
    "BaseTask",
    "BaseTrigger",
    "Callback",
    "Cli",
    "Context",
    "DotDict",
    "Group",
    "Session",
    "SharedContext",
    "TaskStatus",
    "Xcom",
    "cli",
    "cmd_task",
]

# The method that zrb's retry loop calls. `exec_action` came with 2.32 and calls the older `_exec_action`.
ACTION = "exec_action" if hasattr(BaseTask, "exec_action") else "_exec_action"

# Up to and including 2.32 `Xcom.get` returns the oldest value; in 2.38 and later it returns the newest.
GET_IS_OLDEST = hasattr(Xcom, "get") and Xcom([1, 2]).get() == 1

# What an empty queue says, by the name of the operation. Before 3.28 `peek` does not say what to do.
EMPTY: dict[str, str] = {}
for _operation in (Xcom.pop, Xcom.peek):
    try:
        _operation(Xcom([]))
    except IndexError as _error:
        EMPTY[_operation.__name__] = str(_error)

# Up to and including 2.63 these are methods of a plain deque, which call no callbacks.
WITHOUT_CALLBACKS = [
    name for name in ("appendleft", "extend", "extendleft", "insert", "remove", "__setitem__") if name not in vars(Xcom)
]

# Whether the method of the session's log appends to a list, passes the text on to a parent session, and does no more.
_code = getattr(getattr(SharedContext, "append_to_shared_log", None), "__code__", None)
_NAMES = "_log append session parent shared_ctx append_to_shared_log"
LOG_IS_LIST = _code is not None and " ".join(_code.co_names) == _NAMES

_SEED_PLACEHOLDER = r"(?<!\{)\{(ctx\.[^{}]+)\}(?!\})"  # compiled at its first use, which most processes do not have


# Everything of zrb that the plugin touches: functions with their first parameters (async ones are coroutine functions),
# properties, and attributes that __init__ sets, with their types. A `?` marks what some releases lack.
# A zrb that differs from this is left alone (see `hooks.problems`).
TOUCHED: dict[Any, dict[str, Any]] = {
    BaseTask: {
        ACTION: "async (self, ctx)",
        "exec_root_tasks": "async (self, session)",
        "run": "(self, session, str_kwargs, kwargs)",
        "async_run": "async (self, session, str_kwargs, kwargs)",
        "name": "property",
        "inputs": "property",
        "own_inputs": "? property",
        "execute_condition": "? property",
        "upstreams": "property",
        "successors": "property",
        "fallbacks": "property",
        "readiness_checks": "property",
    },
    Session: {
        "_register_single_task": "(self, task)",
        "set_main_task": "(self, main_task)",
        "get_task_status": "(self, task)",
        "terminate": "(self)",
        "final_result": "property",
        "name": "property",
        "shared_ctx": "property",
        "parent": "property",
        "root_group": "property",
        "task_path": "property",
        "is_terminated": "property",
        "_name": str,
        "_context": dict,
        "_task_status": dict,
    },
    TaskStatus: {"mark_as_completed": "(self)", "is_completed": "property", "is_skipped": "property"},
    Context: {
        "render": "(self, template)",
        "log_info": "(self, *values)",
        "append_to_shared_log": "(self, message)",
        "xcom": "property",
        "args": "property",
        "env": "property",
        "session": "property",
        "_task_name": str,
        "_shared_ctx": SharedContext,
    },
    SharedContext: {
        "xcom": "property",
        "input": "property",
        "is_tty": "property",
        "is_web_mode": "? property",
        "append_to_shared_log": "(self, message)",
        "shared_log": "property",
        "_xcom": DotDict,
    },
    BaseTrigger: {"_fanout_and_trigger_callback": "async (self, session)", "readiness_checks": "property"},
    Callback: {"async_run": "async (self, parent_session, session)", "_task": AnyTask},
    AnyInput: {
        "name": "property",
        "always_prompt": "property",
        "is_secret": "? property",
        "get_default_str": "(self, shared_ctx)",
        "prompt_cli_str": "(self, shared_ctx)",
        "update_shared_context": "(self, shared_ctx, str_value, value)",
    },
    Group: {
        "add_group": "(self, group)",
        "add_task": "(self, task)",
        "subgroups": "property",
        "subtasks": "property",
        "extract_node": "? (self, args)",
    },
    Cli: {
        "run": "(self, str_args)",
        "_run_task": "(self, task, args, run_kwargs)",
        "_print_run_command": "(self, run_command)",
        "name": "property",
    },
    cmd_task.CmdTask: {"_resolve_cmd_val": "? (self, ctx, cmd_val)"},
    cmd_task: {
        "_reject_unrendered_placeholder": "? (task_name, cmd)",
        "run_command": "async (cmd)",
    },
    type(CFG): {"get_mistyped_env_keys": "? (self)"},
}


def is_secret(task_input: AnyInput) -> bool:
    """Whether an input is secret. The property came with 2.69; before, only PasswordInput had an attribute for it."""
    return bool(getattr(task_input, "is_secret", False) or getattr(task_input, "_is_secret", False))


def allows_empty(task_input: AnyInput) -> bool:
    """Whether an input may be left empty. No release has a property for it."""
    return bool(getattr(task_input, "_allow_empty", False))


def own_inputs(task: AnyTask) -> list[AnyInput]:
    """Return the inputs that a task itself declares. Before 2.69 zrb only tells them merged with its upstreams'."""
    return task.own_inputs if hasattr(task, "own_inputs") else task.inputs


def condition(task: AnyTask) -> bool | None:
    """Whether a task's condition holds; None if zrb evaluates it later. It is a property in 2.32 and later."""
    given = getattr(task, "execute_condition", getattr(task, "_execute_condition", True))
    if given is None:
        return True
    return given if isinstance(given, bool) else None


def is_llm_task(task: AnyTask) -> bool:
    """Whether a task chats with an LLM. By name, since importing zrb's class would import its LLM libraries."""
    return _has_class(task, "LLMTask", "LLMChatTask")


def is_cmd_task(task: AnyTask) -> bool:
    """Whether a task runs a command."""
    return _has_class(task, "CmdTask")


def exit_code(error: BaseException) -> int | None:
    """Return the exit code if a CmdTask failed because its command did; else None. The class came with 3.0."""
    kind = getattr(cmd_task, "CmdTaskError", None)
    if kind is not None:
        return error.return_code if isinstance(error, kind) else None
    is_plain = type(error) in (Exception, RuntimeError)
    match = re.fullmatch(r"Process .* exited \((-?\d+)\)", str(error), re.DOTALL) if is_plain else None
    return None if match is None else int(match[1])


def _has_class(task: AnyTask, *names: str) -> bool:
    return any(cls.__name__ in names for cls in type(task).__mro__)


def to_snake_case(name: str) -> str:
    """Return the second name under which zrb keeps an input."""
    return str(conversion.to_snake_case(name))


def find_task(path: list[str]) -> AnyTask | None:
    """Return the task that these words call on the command line, or None."""
    extract_node = cli.extract_node if hasattr(cli, "extract_node") else extract_node_function()
    try:
        node, _, rest = extract_node(path)
    except Exception:  # noqa: BLE001 - NodeNotFoundError lives in another module in each line of releases
        return None
    return node if isinstance(node, AnyTask) and not rest else None


def extract_node_function() -> Any:
    """Return the function that finds a task by words. Since 2.45 it is a method of groups instead: None."""
    try:
        from zrb.util.group import extract_node_from_args  # type: ignore[import-not-found]  # late: not in all releases
    except ImportError:
        return None
    return functools.partial(extract_node_from_args, cli)


def task_paths(group: Any = cli, before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Return the words that call each task on the command line."""
    for alias in group.subtasks:
        yield (*before, alias)
    for alias, inner in group.subgroups.items():
        yield from task_paths(inner, (*before, alias))


def remember_trigger_check(patches: Patches) -> None:
    """Make a trigger return the same default check each time. 2.28 and before make a new task each time."""
    stock: Any = vars(BaseTrigger)["readiness_checks"]
    probe = BaseTrigger(name="probe")
    if probe.readiness_checks[0] is probe.readiness_checks[0]:
        return

    def readiness_checks(self: BaseTrigger) -> Any:
        if super(BaseTrigger, self).readiness_checks:
            return stock.fget(self)
        if CHECKS not in self.__dict__:
            setattr(self, CHECKS, stock.fget(self))
        return getattr(self, CHECKS)

    patches.put(BaseTrigger, "readiness_checks", property(readiness_checks))


def render_plain_cmd(patches: Patches) -> None:
    """On zrb 3, render a plain `cmd` string that uses `{ctx.xcom[...]}` or `{ctx.task_name}`.

    Since 3.0 plain strings are literals; later releases refuse `{ctx.` in one when the task is declared.
    """
    resolve = getattr(cmd_task.CmdTask, "_resolve_cmd_val", None)
    if resolve is None:  # 1.x and 2.x render every plain string themselves
        return

    def resolve_cmd_val(self: cmd_task.CmdTask, ctx: Context, cmd_val: Any, *args: Any, **kwargs: Any) -> Any:
        parts = (
            [_render_seed(ctx, part) for part in cmd_val] if isinstance(cmd_val, list) else _render_seed(ctx, cmd_val)
        )
        return resolve(self, ctx, parts, *args, **kwargs)

    patches.put(cmd_task.CmdTask, "_resolve_cmd_val", resolve_cmd_val)
    refuse = getattr(cmd_task, "_reject_unrendered_placeholder", None)
    if refuse is not None:

        def reject_unrendered_placeholder(task_name: str, cmd: Any, *args: Any, **kwargs: Any) -> None:
            parts = cmd if isinstance(cmd, list) else [cmd]
            # An empty part stands for one that we render: the message counts the parts.
            kept = ["" if _has_seed_syntax(part) else part for part in parts]
            refuse(task_name, kept if isinstance(cmd, list) else kept[0], *args, **kwargs)

        patches.put(cmd_task, "_reject_unrendered_placeholder", reject_unrendered_placeholder)


def _has_seed_syntax(part: Any) -> bool:
    return isinstance(part, str) and ("{ctx.xcom[" in part or "{ctx.task_name" in part)


def _render_seed(ctx: Context, part: Any) -> Any:
    if not _has_seed_syntax(part):
        return part
    # Only placeholders that read the context. Other braces are the shell's (`${HOME}`, awk), as in zrb 3.
    return re.sub(_SEED_PLACEHOLDER, lambda found: str(ctx.render(found.group(0))), part)


def spare_our_settings(patches: Patches) -> None:
    """Keep zrb from taking our settings for misspelt ones of its own, as it does since 3.28."""
    stock = getattr(type(CFG), "get_mistyped_env_keys", None)
    if stock is not None:

        def get_mistyped_env_keys(self: Any, *args: Any, **kwargs: Any) -> dict[str, str]:
            found = stock(self, *args, **kwargs)
            return {name: meant for name, meant in found.items() if not name.startswith("ZRB_STORE_")}

        patches.put(type(CFG), "get_mistyped_env_keys", get_mistyped_env_keys)


def builtin_tasks() -> Iterator[AnyTask]:
    """Return the tasks that zrb itself declares, as far as its modules are loaded."""
    for name, module in list(sys.modules.items()):
        if name == "zrb" or name.startswith("zrb."):
            for value in list(vars(module).values()):
                if isinstance(value, AnyTask):
                    yield value


def declared_by_zrb(task: AnyTask) -> bool:
    """Whether a task is one of zrb's own utilities."""
    if BUILTIN not in task.__dict__:
        # 1.21 binds `llm chat` to no module, so the module of its action decides.
        module = getattr(getattr(task, "_action", None), "__module__", None) or ""
        of_zrb = module.startswith("zrb.builtin.") or any(task is builtin for builtin in builtin_tasks())
        setattr(task, BUILTIN, of_zrb)  # asked at each event of a trigger
    return bool(getattr(task, BUILTIN))


def stock_exit_is_interrupt(session: Session, task: AnyTask) -> bool:
    """Whether stock zrb ends this run as an interrupt.

    It does in 3.8.1 and later, unless the main task is done or skipped.
    """
    entry = sys.modules.get("zrb.__main__")
    if not hasattr(entry, "_install_sigterm_handler"):  # both came with 3.8.1
        return False
    status = session.get_task_status(task)
    return not (status.is_completed or status.is_skipped)


def zrb_version() -> str:
    """Return the version of the running zrb."""
    from importlib.metadata import version  # late: slow to import, and needed only when a session is stored

    return version("zrb")
