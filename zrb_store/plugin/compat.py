"""Everything that the plugin uses of zrb, and how its releases differ. Only this module asks which release runs.

It names the attributes that the plugin sets on zrb's objects, and replaces (`Patches`) and lists (`TOUCHED`) what is
zrb's.
"""

from __future__ import annotations

import functools
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from types import CodeType, ModuleType
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from zrb.callback.callback import Callback as Callback
from zrb.config.config import CFG as CFG
from zrb.context import any_context
from zrb.context.any_context import AnyContext as AnyContext
from zrb.context.any_shared_context import AnySharedContext as AnySharedContext
from zrb.context.context import Context as Context
from zrb.context.shared_context import SharedContext as SharedContext
from zrb.dot_dict.dot_dict import DotDict as DotDict
from zrb.group.any_group import AnyGroup as AnyGroup
from zrb.group.group import Group as Group
from zrb.input.any_input import AnyInput as AnyInput
from zrb.runner.cli import Cli as Cli
from zrb.runner.cli import cli as cli
from zrb.session.any_session import AnySession as AnySession
from zrb.session.session import Session as Session
from zrb.task import cmd_task as cmd_task
from zrb.task.any_task import AnyTask as AnyTask
from zrb.task.base_trigger import BaseTrigger as BaseTrigger
from zrb.task_status.task_status import TaskStatus as TaskStatus
from zrb.util.string import conversion
from zrb.xcom.xcom import Xcom as Xcom

try:
    from zrb.task.base.base_task import BaseTask as BaseTask
except ImportError:  # before 2.69 the class was one folder higher
    from zrb.task.base_task import BaseTask as BaseTask  # type: ignore[import-not-found,no-redef]

Action = Callable[[AnyTask, AnyContext], Any]
P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

# Attributes that the plugin sets on objects of zrb.
RECORDER: Final = "_zrb_store_recorder"  # on a session: its `Recorder`
RESUMED: Final = "_zrb_store_resumed"  # on a session that `zrb xcom resume` starts: its `ResumeRequest`
REPLAYED: Final = "_zrb_store_replayed"  # on a session of `zrb xcom replay`: runs one action in place of all
CHILD: Final = "_zrb_store_child"  # on a session that a trigger starts: the name that it is stored under
NEVER: Final = "_zrb_store_never"  # on a task whose sessions are never stored
VIEW: Final = "_zrb_store_view"  # on a task's context: `ctx.xcom` of its attempt
READ: Final = "_zrb_store_read"  # on a task's context: the names of the inputs that it has read, and `ctx.input`
CHECKS: Final = "_zrb_store_checks"  # on a trigger: its default readiness checks
BUILTIN: Final = "_zrb_store_builtin"  # on a task: whether zrb itself declared it


class Patches(ExitStack):
    """What is replaced of zrb. It is restored if the `with` block raises; if not, the block ends with `pop_all`."""

    def put(self, owner: Any, name: str, new: T) -> None:
        """Set an attribute of a class, a module or an object."""
        if name in vars(owner):
            self.callback(setattr, owner, name, vars(owner)[name])
        else:
            self.callback(delattr, owner, name)
        setattr(owner, name, new)

    def wrap(self, owner: type | ModuleType, name: str, hook: Callable[..., T]) -> None:
        """Let a hook be called in place of a function of a class or a module: with the function, and its arguments."""
        stock = vars(owner)[name] if name in vars(owner) else getattr(owner, name)

        def hooked(*args: Any, **kwargs: Any) -> T:
            return hook(stock, *args, **kwargs)

        async def hooked_async(*args: Any, **kwargs: Any) -> Any:
            return await hooked(*args, **kwargs)  # type: ignore[misc]  # this hook is a coroutine function as well

        self.put(owner, name, functools.wraps(stock)(hooked_async if inspect.iscoroutinefunction(stock) else hooked))


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


# Everything of zrb that the plugin touches: functions with their first parameters (async ones are coroutine functions),
# properties, and attributes that __init__ sets, with their types. A `?` marks what some releases lack.
# A zrb that differs from this is left alone (see `hooks.problems`).
TOUCHED: dict[type | ModuleType, dict[str, str | type]] = {
    BaseTask: {
        ACTION: "async (self, ctx)",
        "exec_root_tasks": "async (self, session)",
        "get_ctx": "(self, session)",
        "run": "(self, session, str_kwargs, kwargs)",
        "async_run": "async (self, session, str_kwargs, kwargs)",
        **dict.fromkeys(["name", "inputs", "upstreams", "successors", "fallbacks", "readiness_checks"], "property"),
        **dict.fromkeys(("own_inputs", "execute_condition"), "? property"),
    },
    Session: {
        "_register_single_task": "(self, task)",
        "set_main_task": "(self, main_task)",
        "get_task_status": "(self, task)",
        "terminate": "(self)",
        **dict.fromkeys(["final_result", "name", "shared_ctx", "parent", "root_group", "task_path"], "property"),
        "is_terminated": "property",
        "_name": str,
        "_context": dict,
        "_task_status": dict,
    },
    TaskStatus: {
        "mark_as_completed": "(self)",
        "mark_as_started": "(self)",
        "is_completed": "property",
        "is_skipped": "property",
    },
    Context: {
        "render": "(self, template)",
        "log_info": "(self, *values)",
        "append_to_shared_log": "(self, message)",
        "set_attempt": "(self, attempt)",
        "set_max_attempt": "(self, max_attempt)",
        **dict.fromkeys(["xcom", "input", "args", "env", "session"], "property"),
        "_task_name": str,
        "_shared_ctx": SharedContext,
    },
    SharedContext: {
        "append_to_shared_log": "(self, message)",
        **dict.fromkeys(["xcom", "input", "is_tty", "shared_log"], "property"),
        "is_web_mode": "? property",
        "_xcom": DotDict,
        "_input": DotDict,
        "session": "property",
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
    cmd_task: {"_reject_unrendered_placeholder": "? (task_name, cmd)", "run_command": "async (cmd)"},
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


def action_of(task: AnyTask) -> Action:
    """Return the action of a task's class as it was before it was wrapped."""
    action: Action = getattr(type(task), ACTION).__wrapped__
    return action


def code_of_action(task: AnyTask) -> CodeType:
    """Return the code of the user's function that a task runs, or of the method that runs something else."""
    given = getattr(task, "_action", None)
    function = inspect.unwrap(given) if callable(given) else None
    code: CodeType = (function if inspect.isfunction(function) else action_of(task)).__code__
    return code


def enter(task: AnyTask, session: Session, attempt: int) -> Context:
    """Prepare the attempt of this number within the run as zrb does, and return the task's context."""
    ctx = task.get_ctx(session)
    assert isinstance(ctx, Context)
    ctx.set_attempt(attempt)
    ctx.set_max_attempt(max(attempt, getattr(task, "retries", getattr(task, "_retries", 0)) + 1))
    session.get_task_status(task).mark_as_started()
    if current := getattr(any_context, "current_ctx", None):  # 2.x and later
        current.set(ctx)
    return ctx


def is_llm_task(task: AnyTask) -> bool:
    """Whether a task chats with an LLM. By name, since importing zrb's class would import its LLM libraries."""
    return any(cls.__name__ in ("LLMTask", "LLMChatTask") for cls in type(task).__mro__)


def is_cmd_task(task: AnyTask) -> bool:
    """Whether a task runs a command."""
    return isinstance(task, cmd_task.CmdTask)


def exit_code(error: BaseException) -> int | None:
    """Return the exit code if a CmdTask failed because its command did; else None. The class came with 3.0."""
    kind = getattr(cmd_task, "CmdTaskError", None)
    if kind is not None:
        return error.return_code if isinstance(error, kind) else None
    is_plain = type(error) in (Exception, RuntimeError)
    match = re.fullmatch(r"Process .* exited \((-?\d+)\)", str(error), re.DOTALL) if is_plain else None
    return None if match is None else int(match[1])


def to_snake_case(name: str) -> str:
    """Return the second name under which zrb keeps an input."""
    return str(conversion.to_snake_case(name))


def find_task(path: list[str]) -> AnyTask | None:
    """Return the task that these words call on the command line, or None."""
    extract = extract_node()
    try:
        node, _, rest = extract(path) if extract else (None, None, path)
    except Exception:  # noqa: BLE001 - NodeNotFoundError lives in another module in each line of releases
        return None
    return node if isinstance(node, AnyTask) and not rest else None


def extract_node() -> Callable[[list[str]], tuple[AnyTask | AnyGroup, list[str], list[str]]] | None:
    """Return the function that finds a task by words, since 2.45 a method of groups; None if there is none."""
    if hasattr(cli, "extract_node"):
        return cli.extract_node
    try:
        from zrb.util.group import extract_node_from_args  # type: ignore[import-not-found]  # late: not in all releases
    except ImportError:
        return None
    return functools.partial(extract_node_from_args, cli)


def task_paths(group: AnyGroup = cli, before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Return the words that call each task on the command line."""
    for alias in group.subtasks:
        yield (*before, alias)
    for alias, inner in group.subgroups.items():
        yield from task_paths(inner, (*before, alias))


def hook_some_releases(patches: Patches) -> None:
    """Replace what only some releases have, or do in another way."""
    probe = BaseTrigger(name="probe")
    if probe.readiness_checks[0] is not probe.readiness_checks[0]:  # 2.28 and before make a new task each time
        stock = vars(BaseTrigger)["readiness_checks"].fget
        patches.put(BaseTrigger, "readiness_checks", property(functools.partial(_remembered_checks, stock)))
    if hasattr(cmd_task.CmdTask, "_resolve_cmd_val"):  # 1.x and 2.x render every plain string themselves
        patches.wrap(cmd_task.CmdTask, "_resolve_cmd_val", _resolve_cmd_val)
        if hasattr(cmd_task, "_reject_unrendered_placeholder"):
            patches.wrap(cmd_task, "_reject_unrendered_placeholder", _reject_unrendered_placeholder)
    if hasattr(type(CFG), "get_mistyped_env_keys"):
        patches.wrap(type(CFG), "get_mistyped_env_keys", _get_mistyped_env_keys)


def _remembered_checks(stock: Callable[[BaseTrigger], list[AnyTask]], self: BaseTrigger) -> list[AnyTask]:
    if super(BaseTrigger, self).readiness_checks:
        return stock(self)
    if CHECKS not in self.__dict__:
        setattr(self, CHECKS, stock(self))
    checks: list[AnyTask] = getattr(self, CHECKS)
    return checks


# On zrb 3, a plain `cmd` string that uses `{ctx.xcom[...]}` or `{ctx.task_name}` is rendered. Since 3.0 plain strings
# are literals; later releases refuse `{ctx.` in one when the task is declared.


def _resolve_cmd_val(
    stock: Callable[Concatenate[cmd_task.CmdTask, Context, T, P], R],
    self: cmd_task.CmdTask,
    ctx: Context,
    cmd_val: T,
    *args: P.args,
    **kwargs: P.kwargs,
) -> R:
    # Only placeholders that read the context. Other braces are the shell's (`${HOME}`, awk), as in zrb 3.
    def render(part: str) -> str:
        return re.sub(r"(?<!\{)\{(ctx\.[^{}]+)\}(?!\})", lambda found: str(ctx.render(found.group(0))), part)

    return stock(self, ctx, _with_seeds(cmd_val, render), *args, **kwargs)


def _reject_unrendered_placeholder(
    stock: Callable[Concatenate[str, T, P], None], task_name: str, cmd: T, *args: P.args, **kwargs: P.kwargs
) -> None:
    # An empty part stands for one that we render: the message counts the parts.
    stock(task_name, _with_seeds(cmd, lambda _: ""), *args, **kwargs)


def _with_seeds(cmd: Any, change: Callable[[str], str]) -> Any:
    """Return a `cmd`, or a list of its parts, with those plain strings changed that ask for a queue or a name."""
    if isinstance(cmd, list):
        return [_with_seeds(part, change) for part in cmd]
    return change(cmd) if isinstance(cmd, str) and ("{ctx.xcom[" in cmd or "{ctx.task_name" in cmd) else cmd


def _get_mistyped_env_keys(stock: Callable[P, dict[str, str]], *args: P.args, **kwargs: P.kwargs) -> dict[str, str]:
    """Keep zrb from taking our settings for misspelt ones of its own, as it does since 3.28."""
    found = stock(*args, **kwargs)
    return {name: meant for name, meant in found.items() if not name.startswith("ZRB_STORE_")}


def declared_by_zrb(task: AnyTask) -> bool:
    """Whether a task is one of zrb's own utilities."""
    if BUILTIN not in task.__dict__:
        # 1.21 binds `llm chat` to no module, so the module of its action decides.
        of_action = getattr(getattr(task, "_action", None), "__module__", None) or ""
        of_zrb = of_action.startswith("zrb.builtin.") or any(
            task is value
            for name, module in list(sys.modules.items())
            if f"{name}.".startswith("zrb.")
            for value in list(vars(module).values())
        )
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
