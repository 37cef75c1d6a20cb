"""The hooks into zrb's LLM tasks, set once per process when the first of them is registered.

Which of them store their steps: ZRB_STORE_AGENTS and attributes of the task decide.
"""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from types import ModuleType
from typing import TYPE_CHECKING, Any, Concatenate, Final, Literal, ParamSpec, TypeVar, cast
from weakref import WeakKeyDictionary

from zrb_store import settings
from zrb_store.errors import InvalidArgument
from zrb_store.plugin import compat
from zrb_store.plugin.compat import AnyContext, AnyTask, Patches
from zrb_store.plugin.messages import warn
from zrb_store.plugin.output import running_attempt
from zrb_store.stepping import Policy, policies, policy_of

if TYPE_CHECKING:
    from pydantic_ai import DeferredToolResults
    from pydantic_ai.usage import RunUsage

    from zrb_store.agents.changes import OnChange
    from zrb_store.agents.journal import Journal
    from zrb_store.attempt import Attempt
    from zrb_store.plugin.agents.agent_run import AgentRun

P = ParamSpec("P")
A = TypeVar("A")
M = TypeVar("M")
R = TypeVar("R")

STORE_AGENT: Final = "store_agent"
"""On a task: False to store no steps of its agent, "private" to store neither prompts nor answers."""
ONCE_TOOLS: Final = "once_tools"
"""On a task: names of tools that must not be repeated, or a dictionary of names and policies."""

CHANGED_REQUEST: Final = "changed_request"
"""On a task: `rerun`, `reuse` or `stop`, as ZRB_STORE_CHANGED_REQUEST."""

BUDGET: Final = "budget"
"""On a task: `tokens=N`, as ZRB_STORE_BUDGET."""
WAIT_FOR_APPROVAL: Final = "wait_for_approval"
"""On a task: whether its session waits for approvals that nobody is there to give, and for a larger budget."""

Mode = Literal["on", "off", "private"]


def mode_of(task: AnyTask) -> Mode:
    """Return how the steps of a task's agent are stored."""
    mode = settings.choice("ZRB_STORE_AGENTS")
    own = getattr(task, STORE_AGENT, True)
    if own not in (True, False, "private"):
        raise InvalidArgument(f'{task.name}.{STORE_AGENT} is {own!r}: set it to True, False or "private"')
    if mode == "off" or own is False:
        return "off"
    return "private" if own == "private" else cast(Mode, mode)


def on_change_of(task: AnyTask) -> OnChange:
    """Return what happens where stored answers of a task's agent no longer fit its requests."""
    name = "ZRB_STORE_CHANGED_REQUEST"
    own = getattr(task, CHANGED_REQUEST, None)
    if own is None:
        return cast("OnChange", settings.choice(name))
    if own not in settings.CHOICES[name]:
        raise InvalidArgument(
            f"{task.name}.{CHANGED_REQUEST} is {own!r}: set it to {', '.join(settings.CHOICES[name])}"
        )
    return cast("OnChange", own)


def _setting(task: AnyTask, session: str) -> str:
    """Return how a person sets another policy, in the place of `{}`."""
    if getattr(task, CHANGED_REQUEST, None) is None:
        return f"`ZRB_STORE_CHANGED_REQUEST={{}} zrb xcom resume {session}`"
    return f'`{task.name}.{CHANGED_REQUEST} = "{{}}"` before `zrb xcom resume {session}`'


def budget_of(task: AnyTask) -> int | None:
    """Return how many tokens a task's session may use; None for any number."""
    own: str | None = getattr(task, BUDGET, None)
    return settings.budget(own, f"{task.name}.{BUDGET}") if own else settings.budget()


def once_tools(task: AnyTask, tools: Sequence[Any]) -> dict[str, Policy]:
    """Return the tools of a task that must not be repeated, by name, and what happens if the end of one is unknown."""
    found: dict[str, Policy] = {}
    for tool in tools:  # functions, or pydantic-ai's objects that have one
        function = getattr(tool, "function", tool)
        policy = policy_of(function)
        if policy is not None:
            found[str(getattr(tool, "name", None) or getattr(function, "__name__", ""))] = policy
    return found | policies(getattr(task, ONCE_TOOLS, ()), f"{task.name}.{ONCE_TOOLS}")


_running: ContextVar[AgentRun | None] = ContextVar("zrb_store_agent", default=None)
"""The run of the agent of the task that runs; None if its steps are not stored."""

_journals: WeakKeyDictionary[Attempt, Journal] = WeakKeyDictionary()
"""The journal of each attempt that has an agent."""

_say = functools.cache(warn)
_UNSUPPORTED = "agents of this release of zrb cannot be stored step by step ({error}): each runs as a whole"
_tried: set[str] = set()

# What is replaced. A release that lacks one of these runs its agents as without this package.
_NOTE_EDITED = "_record_override_if_edited"
_CHAT = "_llm_chat_task"
_CONFIRM, _DENY = "_confirm_via_cli", "_resolve_non_interactive_ask"
_USAGE_LOG = "_record_run_usage"  # 3.14 and before have no such log


def install() -> None:
    """Hook the modules of zrb's LLM tasks that are loaded, each once."""
    for name, hook in (("zrb.llm.task.llm_task", _hook_task), ("zrb.llm.task.chat.execution", _hook_chat)):
        if name in sys.modules and name not in _tried:
            _tried.add(name)
            try:
                with Patches() as patches:
                    hook(patches, sys.modules[name])
                    patches.pop_all()
            except Exception as error:  # noqa: BLE001 - whatever another release has changed: the tasks run
                _say(_UNSUPPORTED.format(error=error))


def _hook_task(patches: Patches, module: ModuleType) -> None:
    runner = importlib.import_module("zrb.llm.agent.run.runner")
    patches.wrap(module.LLMTask, "_exec_action_inner", _exec_action_inner)
    patches.wrap(module.LLMTask, "get_system_prompt", _get_system_prompt)
    patches.wrap(module.LLMTask, "get_effective_prompt", _get_effective_prompt)
    patches.wrap(module.LLMTask, "get_all_tools", _get_all_tools)
    patches.wrap(module.LLMTask, "handle_run_error", _unless_stored)
    patches.wrap(module.LLMTask, "save_cancelled_history", _unless_stored)
    patches.wrap(module, "run_agent", _run_agent)
    patches.wrap(runner, "_execution_loop", _execution_loop)
    deferred_calls = importlib.import_module("zrb.llm.agent.run.deferred_calls")
    note_edited = getattr(deferred_calls, _NOTE_EDITED, lambda *_: None)
    patches.wrap(runner, "process_deferred_requests", functools.partial(_process_deferred_requests, note_edited))
    for name, hook in ((_CONFIRM, _confirm), (_DENY, _deny)):
        if hasattr(deferred_calls, name):
            patches.wrap(deferred_calls, name, hook)
    if hasattr(runner, _USAGE_LOG):
        patches.wrap(runner, _USAGE_LOG, _record_run_usage)


async def _exec_action_inner(
    stock: Callable[Concatenate[AnyTask, P], Awaitable[R]], self: AnyTask, /, *args: P.args, **kwargs: P.kwargs
) -> R:
    token = _running.set(_agent_run(self))
    try:
        return await stock(self, *args, **kwargs)
    finally:
        _running.reset(token)


def _get_system_prompt(stock: Callable[P, str], *args: P.args, **kwargs: P.kwargs) -> str:
    run = _running.get()
    text = stock(*args, **kwargs)
    return text if run is None else run.system_prompt(text)


def _get_effective_prompt(
    stock: Callable[Concatenate[AnyTask, AnyContext, M, A, P], tuple[M, A]],
    self: AnyTask,
    ctx: AnyContext,
    message: M,
    attachments: A,
    *args: P.args,
    **kwargs: P.kwargs,
) -> tuple[M, A]:
    # A retry goes on from the steps, not from a history with a notice.
    if _running.get() is not None:
        return message, attachments
    return stock(self, ctx, message, attachments, *args, **kwargs)


def _get_all_tools(
    stock: Callable[Concatenate[AnyTask, P], list[R]], self: AnyTask, /, *args: P.args, **kwargs: P.kwargs
) -> list[R]:
    tools = stock(self, *args, **kwargs)
    run = _running.get()
    if run is not None:
        run.journal.once.update(once_tools(self, tools))
    return tools


def _unless_stored(stock: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R | None:
    # The conversation goes on from the steps: a history that is ahead of them would tell of undone calls.
    return stock(*args, **kwargs) if _running.get() is None else None


async def _run_agent(stock: Callable[P, Awaitable[R]], *args: P.args, **kwargs: P.kwargs) -> R:
    run = _running.get()
    return await (stock(*args, **kwargs) if run is None or args else run.run(stock, **kwargs))


async def _execution_loop(stock: Callable[..., Awaitable[R]], *args: Any, **kwargs: Any) -> R:
    run = _running.get()
    if run is not None and run.is_of(kwargs.get("agent")):
        history, message = run.start(kwargs["current_history"], kwargs["current_message"])
        kwargs |= {"current_history": history, "current_message": message}
    return await stock(*args, **kwargs)


async def _process_deferred_requests(
    note_edited: Callable[..., None],
    stock: Callable[P, Awaitable[DeferredToolResults | None]],
    *args: P.args,
    **kwargs: P.kwargs,
) -> DeferredToolResults | None:
    run = _running.get()
    # An agent inside a tool works in the step of the tool.
    if run is None or kwargs or running_attempt() is None:
        return await stock(*args, **kwargs)
    return await run.approve(stock, note_edited, *args)


async def _confirm(stock: Callable[..., Awaitable[R]], call: Any, ui: Any, confirmation: Any) -> R:
    run = _running.get()
    by_person = not callable(confirmation) or hasattr(getattr(confirmation, "__self__", None), "tool_call_handler")
    is_alone = sys.stdin is None or not sys.stdin.isatty()
    if run is not None and run.is_deciding and by_person and is_alone:
        from zrb_store.plugin.agents.agent_run import NobodyThere  # late: imports pydantic-ai

        raise NobodyThere
    return await stock(call, ui, confirmation)


def _deny(stock: Callable[..., R], call: Any, *args: Any) -> R | None:
    """Return no verdict where zrb would deny a call because it is not interactive: the session waits for a person."""
    run = _running.get()
    is_asked = run is not None and run.is_deciding and call.tool_name != "ExitPlanMode"
    return None if is_asked else stock(call, *args)


def _record_run_usage(
    stock: Callable[Concatenate[str, RunUsage, P], R],
    model_name: str,
    usage: RunUsage,
    *args: P.args,
    **kwargs: P.kwargs,
) -> R | None:
    run = _running.get()
    return None if run is not None and run.is_logged(usage) else stock(model_name, usage, *args, **kwargs)


def _agent_run(task: AnyTask) -> AgentRun | None:
    """Return the run of a task's agent; None if its steps are not stored."""
    attempt = running_attempt()
    if attempt is None or (mode := mode_of(task)) == "off":
        return None
    try:
        from zrb_store.agents.journal import Journal
        from zrb_store.plugin.agents.agent_run import AgentRun  # late: imports pydantic-ai
    except ImportError as error:
        _say(_UNSUPPORTED.format(error=error))
        return None
    if mode == "private":
        _say(
            f"the agent of task {attempt.task} stores neither prompts nor answers: if it is interrupted, "
            "it starts from the beginning"
        )
    if attempt not in _journals:
        _journals[attempt] = Journal(
            attempt,
            is_private=mode == "private",
            on_change=on_change_of(task),
            setting=_setting(task, attempt.session),
            budget=budget_of(task),
            waits=bool(getattr(task, WAIT_FOR_APPROVAL, False)),
        )
    return AgentRun(task, _journals[attempt])


def _hook_chat(patches: Patches, module: ModuleType) -> None:
    patches.wrap(module.ChatExecution, "_create_llm_task_core", _create_llm_task_core)


def _create_llm_task_core(stock: Callable[..., R], self: Any, *args: Any, **kwargs: Any) -> R:
    inner = stock(self, *args, **kwargs)
    is_interactive = kwargs["interactive"] if "interactive" in kwargs else args[3]
    # The inner task is no session of its own: its agent works in the attempt of the chat.
    setattr(inner, compat.NEVER, True)
    chat = getattr(self, _CHAT)
    setattr(inner, STORE_AGENT, False if is_interactive else getattr(chat, STORE_AGENT, True))
    setattr(inner, ONCE_TOOLS, getattr(chat, ONCE_TOOLS, ()))
    for name in (CHANGED_REQUEST, BUDGET, WAIT_FOR_APPROVAL):
        setattr(inner, name, getattr(chat, name, None))
    return inner
