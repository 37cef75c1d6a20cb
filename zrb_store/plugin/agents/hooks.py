"""The hooks into zrb's LLM tasks, set once per process when the first of them is registered.

Which LLM tasks store their steps: ZRB_STORE_AGENTS, and attributes of the task.
"""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, Final, Literal, cast
from weakref import WeakKeyDictionary

from zrb_store import settings
from zrb_store.errors import InvalidArgument
from zrb_store.plugin import compat
from zrb_store.plugin.compat import Patches
from zrb_store.plugin.messages import WarnOnce
from zrb_store.stepping import POLICIES, Policy, policy_of

STORE_AGENT: Final = "store_agent"
"""On a task: False to store no steps of its agent, "private" to store neither prompts nor answers."""
ONCE_TOOLS: Final = "once_tools"
"""On a task: names of tools that must not be repeated, or a dictionary of names and policies."""

Mode = Literal["on", "off", "private"]


def mode_of(task: Any) -> Mode:
    """Return how the steps of a task's agent are stored.

    Raises:
        InvalidArgument: The setting or the task's attribute has another value.
    """
    mode = settings.agents()
    own = getattr(task, STORE_AGENT, True)
    if own not in (True, False, "private"):
        raise InvalidArgument(f'{task.name}.{STORE_AGENT} is {own!r}: set it to True, False or "private"')
    if mode == "off" or own is False:
        return "off"
    return "private" if own == "private" else cast(Mode, mode)


def once_tools(task: Any, tools: list[Any]) -> dict[str, Policy]:
    """Return the tools of a task that must not be repeated, by name, and what happens if the end of one is unknown.

    Args:
        tools: Its tools: functions, or pydantic-ai's objects that have one.

    Raises:
        InvalidArgument: The task's attribute has another form.
    """
    found: dict[str, Policy] = {}
    for tool in tools:
        function = getattr(tool, "function", tool)
        policy = policy_of(function)
        if policy is not None:
            found[str(getattr(tool, "name", None) or getattr(function, "__name__", ""))] = policy
    named = getattr(task, ONCE_TOOLS, ())
    for name, own in named.items() if isinstance(named, Mapping) else [(name, "stop") for name in named]:
        if own not in POLICIES:
            raise InvalidArgument(f"{task.name}.{ONCE_TOOLS}[{name!r}] is {own!r}: set it to stop or tell")
        found[name] = cast(Policy, own)
    return found


_running: ContextVar[Any] = ContextVar("zrb_store_agent", default=None)
"""The `AgentRun` of the task that runs; None if its steps are not stored."""

_journals: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()
"""The `Journal` of each attempt that has an agent."""

_say = WarnOnce()
_UNSUPPORTED = "agents of this release of zrb cannot be stored step by step ({error}): each runs as a whole"
_tried: set[str] = set()

# What is replaced. A release that lacks one of these runs its agents as without this package.
_OF_TASK = (
    "_exec_action_inner",
    "get_system_prompt",
    "get_effective_prompt",
    "get_all_tools",
    "handle_run_error",
    "save_cancelled_history",
)
_OF_RUNNER = ("_execution_loop", "process_deferred_requests")
_OF_APPROVALS = "zrb.llm.agent.run.deferred_calls"
_NOTE_EDITED = "_record_override_if_edited"
_OF_CHAT = "_create_llm_task_core"
_CHAT = "_llm_chat_task"
_USAGE_LOG = "_record_run_usage"


def install() -> None:
    """Hook the modules of zrb's LLM tasks that are loaded, each once."""
    for name, hook in (("zrb.llm.task.llm_task", _hook_task), ("zrb.llm.task.chat.execution", _hook_chat)):
        if name in sys.modules and name not in _tried:
            _tried.add(name)
            patches = Patches()
            try:
                hook(patches, sys.modules[name])
            except Exception as error:  # noqa: BLE001 - whatever another release has changed: the tasks run
                patches.undo()
                _say(_UNSUPPORTED.format(error=error))


def _hook_task(patches: Patches, module: Any) -> None:
    task: Any = module.LLMTask
    runner: Any = importlib.import_module("zrb.llm.agent.run.runner")
    stock = {name: getattr(task, name) for name in _OF_TASK}
    of_runner = {name: getattr(runner, name) for name in _OF_RUNNER}
    run_agent = module.run_agent

    @functools.wraps(stock["_exec_action_inner"])
    async def exec_action_inner(self: Any, *args: Any, **kwargs: Any) -> Any:
        token = _running.set(_agent_run(self))
        try:
            return await stock["_exec_action_inner"](self, *args, **kwargs)
        finally:
            _running.reset(token)

    @functools.wraps(stock["get_system_prompt"])
    def get_system_prompt(self: Any, *args: Any, **kwargs: Any) -> Any:
        run = _running.get()
        text = stock["get_system_prompt"](self, *args, **kwargs)
        return text if run is None else run.system_prompt(text)

    @functools.wraps(stock["get_effective_prompt"])
    def get_effective_prompt(self: Any, ctx: Any, message: Any, attachments: Any, *args: Any, **kwargs: Any) -> Any:
        # A retry goes on from the steps, not from a history with a notice.
        if _running.get() is not None:
            return message, attachments
        return stock["get_effective_prompt"](self, ctx, message, attachments, *args, **kwargs)

    @functools.wraps(stock["get_all_tools"])
    def get_all_tools(self: Any, *args: Any, **kwargs: Any) -> Any:
        tools = stock["get_all_tools"](self, *args, **kwargs)
        run = _running.get()
        if run is not None:
            run.journal.once.update(once_tools(self, tools))
        return tools

    def unless_stored(name: str) -> Any:
        @functools.wraps(stock[name])
        def save(self: Any, *args: Any, **kwargs: Any) -> Any:
            # The conversation goes on from the steps: a history that is ahead of them would tell of undone calls.
            return stock[name](self, *args, **kwargs) if _running.get() is None else None

        return save

    @functools.wraps(run_agent)
    async def run_over_steps(*args: Any, **kwargs: Any) -> Any:
        run = _running.get()
        return await (run_agent(*args, **kwargs) if run is None or args else run.run(run_agent, **kwargs))

    patches.put(task, "_exec_action_inner", exec_action_inner)
    patches.put(task, "get_system_prompt", get_system_prompt)
    patches.put(task, "get_effective_prompt", get_effective_prompt)
    patches.put(task, "get_all_tools", get_all_tools)
    patches.put(task, "handle_run_error", unless_stored("handle_run_error"))
    patches.put(task, "save_cancelled_history", unless_stored("save_cancelled_history"))
    patches.put(module, "run_agent", run_over_steps)
    _hook_runner(patches, runner, of_runner)
    _hook_usage_log(patches, runner)


def _hook_runner(patches: Patches, runner: Any, stock: dict[str, Any]) -> None:
    @functools.wraps(stock["_execution_loop"])
    async def execution_loop(*args: Any, **kwargs: Any) -> Any:
        run = _running.get()
        if run is None or not run.is_of(kwargs.get("agent")):
            return await stock["_execution_loop"](*args, **kwargs)
        history, message = run.start(kwargs["current_history"], kwargs["current_message"])
        return await stock["_execution_loop"](
            *args, **{**kwargs, "current_history": history, "current_message": message}
        )

    note_edited = getattr(importlib.import_module(_OF_APPROVALS), _NOTE_EDITED, lambda *_: None)

    @functools.wraps(stock["process_deferred_requests"])
    async def process_deferred_requests(*args: Any, **kwargs: Any) -> Any:
        run = _running.get()
        decide = stock["process_deferred_requests"]
        # An agent inside a tool works in the step of the tool.
        if run is None or kwargs or _attempt() is None:
            return await decide(*args, **kwargs)
        return await run.approve(decide, note_edited, *args)

    patches.put(runner, "_execution_loop", execution_loop)
    patches.put(runner, "process_deferred_requests", process_deferred_requests)


def _hook_usage_log(patches: Patches, runner: Any) -> None:
    record = getattr(runner, _USAGE_LOG, None)
    if record is None:  # 3.14 and before have no such log
        return

    @functools.wraps(record)
    def record_run_usage(model_name: Any, usage: Any, *args: Any, **kwargs: Any) -> Any:
        run = _running.get()
        return None if run is not None and run.is_logged(usage) else record(model_name, usage, *args, **kwargs)

    patches.put(runner, _USAGE_LOG, record_run_usage)


def _attempt() -> Any:
    """Return the attempt that the code runs in, unless it runs in a step or nothing is stored."""
    module: Any = sys.modules.get("zrb_store.attempt")
    if module is None:  # no session is stored, and the store is not even loaded
        return None
    from zrb_store.xcom import current_attempt  # late: imports SQLAlchemy

    attempt = current_attempt.get()
    return attempt if isinstance(attempt, module.Attempt) else None


def _agent_run(task: Any) -> Any:
    """Return the run of a task's agent; None if its steps are not stored."""
    attempt = _attempt()
    mode = "off" if attempt is None else mode_of(task)
    if mode == "off":
        return None
    try:
        from zrb_store.plugin.agents.agent_run import AgentRun  # late: imports pydantic-ai
        from zrb_store.plugin.agents.journal import Journal
    except ImportError as error:
        _say(_UNSUPPORTED.format(error=error))
        return None
    if mode == "private":
        _say(
            f"the agent of task {attempt.task} stores neither prompts nor answers: if it is interrupted, "
            "it starts from the beginning"
        )
    if attempt not in _journals:
        _journals[attempt] = Journal(attempt, is_private=mode == "private")
    return AgentRun(task, _journals[attempt])


def _hook_chat(patches: Patches, module: Any) -> None:
    execution: Any = module.ChatExecution
    create = getattr(execution, _OF_CHAT)

    @functools.wraps(create)
    def create_llm_task_core(self: Any, *args: Any, **kwargs: Any) -> Any:
        inner = create(self, *args, **kwargs)
        chat = getattr(self, _CHAT)
        is_interactive = kwargs["interactive"] if "interactive" in kwargs else args[3]
        # The inner task is no session of its own: its agent works in the attempt of the chat.
        setattr(inner, compat.NEVER, True)
        setattr(inner, STORE_AGENT, False if is_interactive else getattr(chat, STORE_AGENT, True))
        setattr(inner, ONCE_TOOLS, getattr(chat, ONCE_TOOLS, ()))
        return inner

    patches.put(execution, _OF_CHAT, create_llm_task_core)
