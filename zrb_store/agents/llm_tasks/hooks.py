"""The hooks into zrb's LLM tasks, set once per process when the first of them is registered.

Which of them store their steps: ZRB_STORE_AGENTS and attributes of the task decide.
"""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from types import ModuleType
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, TypeVar, cast
from weakref import WeakKeyDictionary

from zrb_store import settings
from zrb_store.agents.once import policies
from zrb_store.agents.settings import budget_of
from zrb_store.errors import InvalidArgument
from zrb_store.plugin import compat
from zrb_store.plugin.compat import AnyContext, AnyTask, Patches
from zrb_store.plugin.messages import warn
from zrb_store.plugin.output import running_attempt

if TYPE_CHECKING:
    from pydantic_ai import DeferredToolResults
    from pydantic_ai.usage import RunUsage

    from zrb_store.agents.llm_tasks.agent_run import AgentRun
    from zrb_store.agents.runtime.changes import OnChange
    from zrb_store.agents.runtime.journal import Journal, Terms
    from zrb_store.attempt import Attempt

P = ParamSpec("P")
A = TypeVar("A")
M = TypeVar("M")
R = TypeVar("R")

# Attributes that a user may set on a task.
STORE_AGENT: Final = "store_agent"  # False to store no steps of its agent, "private" for neither prompts nor answers
ONCE_TOOLS: Final = "once_tools"  # names of tools that must not be repeated, or a dictionary of names and policies
CHANGED_REQUEST: Final = "changed_request"  # as ZRB_STORE_CHANGED_REQUEST
BUDGET: Final = "budget"  # as ZRB_STORE_BUDGET
WAIT_FOR_APPROVAL: Final = "wait_for_approval"  # whether its session waits for approvals, and for a larger budget


def terms_of(task: AnyTask, session: str) -> Terms | None:
    """Return how the agent of a task works in a session; None if its steps are not stored."""
    own = getattr(task, STORE_AGENT, True)
    if own not in (True, False, "private"):
        raise InvalidArgument(f'{task.name}.{STORE_AGENT} is {own!r}: set it to True, False or "private"')
    mode, given = settings.choice("ZRB_STORE_AGENTS"), getattr(task, CHANGED_REQUEST, None)
    on_change = settings.choice("ZRB_STORE_CHANGED_REQUEST", given, f"{task.name}.{CHANGED_REQUEST}")
    if mode == "off" or own is False:
        return None
    from zrb_store.agents.runtime.journal import Terms
    from zrb_store.inspect.advice import resume

    setting = f"`ZRB_STORE_CHANGED_REQUEST={{}} {resume(session)}`"
    if given is not None:
        setting = f'`{task.name}.{CHANGED_REQUEST} = "{{}}"` before `{resume(session)}`'
    return Terms(
        is_private="private" in (own, mode),
        on_change=cast("OnChange", on_change),
        setting=setting,
        budget=budget_of(getattr(task, BUDGET, None), f"{task.name}.{BUDGET}"),
        waits=bool(getattr(task, WAIT_FOR_APPROVAL, False)),
        once=policies(getattr(task, ONCE_TOOLS, None) or (), f"{task.name}.{ONCE_TOOLS}"),
    )


_running: ContextVar[AgentRun | None] = ContextVar("zrb_store_agent", default=None)
"""The run of the agent of the task that runs; None if its steps are not stored."""

_journals: WeakKeyDictionary[Attempt, Journal] = WeakKeyDictionary()
"""The journal of each attempt that has an agent."""

_say = functools.cache(warn)
_UNSUPPORTED = "agents of this release of zrb cannot be stored step by step ({error}): each runs as a whole"
_tried: set[str] = set()

# What is replaced. A release that lacks one of these runs its agents as without this package.
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
    patches.wrap(module.LLMTask, "handle_run_error", _unless_stored)
    patches.wrap(module.LLMTask, "save_cancelled_history", _unless_stored)
    patches.wrap(module, "run_agent", _run_agent)
    patches.wrap(runner, "_execution_loop", _execution_loop)
    deferred_calls = importlib.import_module("zrb.llm.agent.run.deferred_calls")
    patches.wrap(runner, "process_deferred_requests", _process_deferred_requests)
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


def _agent_run(task: AnyTask) -> AgentRun | None:
    """Return the run of a task's agent; None if its steps are not stored."""
    attempt = running_attempt()
    try:
        if attempt is None:
            return None
        if (terms := terms_of(task, attempt.session)) is None:
            from zrb_store.agents.runtime.changes import refuse_to_forget

            refuse_to_forget(attempt)
            return None
        from zrb_store.agents.llm_tasks.agent_run import AgentRun
        from zrb_store.agents.runtime.journal import Journal
    except ImportError as error:
        _say(_UNSUPPORTED.format(error=error))
        return None
    if terms.is_private:
        _say(
            f"the agent of task {attempt.task} stores neither prompts nor answers: if it is interrupted, "
            "it starts from the beginning"
        )
    if attempt not in _journals:
        _journals[attempt] = Journal(attempt, terms)
    return AgentRun(task, _journals[attempt])


def _if_stored(hook: Callable[Concatenate[AgentRun, Callable[..., Any], P], R]) -> Callable[..., R]:
    """Let a hook be called with the run of the agent, and zrb's own function where there is none."""

    @functools.wraps(hook)
    def hooked(stock: Callable[..., R], *args: P.args, **kwargs: P.kwargs) -> R:
        run = _running.get()
        return stock(*args, **kwargs) if run is None else hook(run, stock, *args, **kwargs)

    return hooked


@_if_stored
def _get_system_prompt(run: AgentRun, stock: Callable[..., str], *args: Any, **kwargs: Any) -> str:
    return run.system_prompt(stock(*args, **kwargs))


@_if_stored
def _get_effective_prompt(
    run: AgentRun, stock: Callable[..., Any], task: AnyTask, ctx: AnyContext, message: M, attachments: A, *_: Any
) -> tuple[M, A]:
    return message, attachments  # a retry goes on from the steps, not from a history with a notice


@_if_stored
def _unless_stored(run: AgentRun, stock: Callable[..., object], *args: Any, **kwargs: Any) -> None:
    # The conversation goes on from the steps: a history that is ahead of them would tell of undone calls.
    pass


@_if_stored
async def _run_agent(run: AgentRun, stock: Callable[..., Awaitable[R]], *args: Any, **kwargs: Any) -> R:
    return await (stock(*args, **kwargs) if args else run.run(stock, **kwargs))


@_if_stored
async def _execution_loop(run: AgentRun, stock: Callable[..., Awaitable[R]], *args: Any, **kwargs: Any) -> R:
    if run.is_of(kwargs.get("agent")):
        history, message = run.start(kwargs["current_history"], kwargs["current_message"])
        kwargs |= {"current_history": history, "current_message": message}
    return await stock(*args, **kwargs)


@_if_stored
async def _process_deferred_requests(
    run: AgentRun, stock: Callable[..., Awaitable[DeferredToolResults | None]], *args: Any, **kwargs: Any
) -> DeferredToolResults | None:
    # An agent inside a tool works in the step of the tool.
    if kwargs or running_attempt() is None:
        return await stock(*args, **kwargs)
    return await run.approve(stock, *args)


@_if_stored
async def _confirm(run: AgentRun, stock: Callable[..., Awaitable[R]], call: Any, ui: Any, confirmation: Any) -> R:
    by_person = not callable(confirmation) or hasattr(getattr(confirmation, "__self__", None), "tool_call_handler")
    is_alone = sys.stdin is None or not sys.stdin.isatty()
    if run.is_deciding and by_person and is_alone:
        from zrb_store.agents.llm_tasks.agent_run import NobodyThere

        raise NobodyThere
    return await stock(call, ui, confirmation)


@_if_stored
def _deny(run: AgentRun, stock: Callable[..., R], call: Any, *args: Any) -> R | None:
    """Return no verdict where zrb would deny a call because it is not interactive: the session waits for a person."""
    is_asked = run.is_deciding and call.tool_name != "ExitPlanMode"
    return None if is_asked else stock(call, *args)


@_if_stored
def _record_run_usage(run: AgentRun, stock: Callable[..., R], model: str, usage: RunUsage, *args: Any) -> R | None:
    return None if run.is_logged(usage) else stock(model, usage, *args)


def _hook_chat(patches: Patches, module: ModuleType) -> None:
    patches.wrap(module.ChatExecution, "_create_llm_task_core", _create_llm_task_core)


def _create_llm_task_core(stock: Callable[..., R], self: Any, *args: Any, **kwargs: Any) -> R:
    inner, chat = stock(self, *args, **kwargs), getattr(self, _CHAT)
    for name in (STORE_AGENT, ONCE_TOOLS, CHANGED_REQUEST, BUDGET, WAIT_FOR_APPROVAL):
        if hasattr(chat, name):
            setattr(inner, name, getattr(chat, name))
    # The inner task is no session of its own: its agent works in the attempt of the chat.
    setattr(inner, compat.NEVER, True)
    if kwargs["interactive"] if "interactive" in kwargs else args[3]:
        setattr(inner, STORE_AGENT, False)
    return inner
