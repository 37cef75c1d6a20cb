"""One run of the agent of an LLM task: what it starts from, how zrb runs it, and what must not be done twice."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any, TypeVar

from pydantic_ai import DeferredToolResults, ToolApproved, ToolDenied
from pydantic_ai.messages import ModelMessage, ToolCallPart
from pydantic_ai.usage import RunUsage
from zrb.llm.agent import common
from zrb.llm.agent.run import deferred_calls

from zrb_store import codec
from zrb_store.agents.runtime.capability import StoredAgent, StoredHandler, finishing
from zrb_store.agents.runtime.decisions import APPROVAL, UNDECIDED, arguments_of, dump_decisions, read_decisions
from zrb_store.agents.runtime.digests import code, digest
from zrb_store.agents.runtime.journal import Journal
from zrb_store.agents.runtime.stored import NotReadable, Prompt, read_prompt
from zrb_store.attempt import Step
from zrb_store.attempt.steps import StoredResult
from zrb_store.codec.arguments import positional_and_named
from zrb_store.plugin.compat import AnyTask
from zrb_store.queries.steps import NewStep, StepRecord
from zrb_store.records import JsonValue

T = TypeVar("T")
# zrb calls functions in threads with this, as far as this release has it. That module has no other use for asyncio.
if vars(common).get("asyncio") is asyncio:
    setattr(common, "asyncio", SimpleNamespace(**{**vars(asyncio), "to_thread": finishing(asyncio.to_thread)}))  # noqa: B010


# zrb's function that notes of an approved call that its arguments were edited, as far as this release has it.
_note_edited: Callable[[Any, Any], None] = getattr(deferred_calls, "_record_override_if_edited", lambda *_: None)


class NobodyThere(Exception):
    """zrb would ask a person about a call."""


RunAgent = Callable[..., Awaitable[Any]]
Decide = Callable[..., Awaitable[DeferredToolResults | None]]


def instructions_of(task: AnyTask, text: str, stored: StepRecord | None) -> tuple[JsonValue, str]:
    """Return digests of the instructions that a task declares, and the text: the stored ones if they are the same.

    `stored` is the step of a prompt that is done. Of the sections that zrb adds (the folder, commands, the project's
    files) only the names count.
    """
    manager = getattr(task, "prompt_manager_attr", None)
    declared: JsonValue = {"text": digest(text)}
    if manager is not None:
        sections, prompts = list(manager.active_sections), list(map(code, manager.prompts))
        declared = {"sections": digest(sections), "prompts": digest(prompts)}
    if stored is not None:
        then = positional_and_named(stored.arguments or "null")[1].get("instructions")
        with suppress(NotReadable):  # `run` tells of it
            prompt = read_prompt(codec.decode(stored.result or "null"))
            # Other code may give the same text.
            if prompt and (then == declared or prompt.system_prompt == text):
                return then, prompt.system_prompt
    return declared, text


class AgentRun:
    """One run of the agent of a task, in an attempt that is stored."""

    def __init__(self, task: AnyTask, journal: Journal) -> None:
        self._task = task
        self.journal = journal
        self._agent: Any = None
        self._system_prompt = ""
        self._declared: JsonValue = {}
        self._step: Step | None = None
        self._opened = ExitStack()
        self._prompt: Prompt | None = None
        self._logged_usage: RunUsage | None = None
        self.is_deciding = False  # whether zrb decides about a call

    def system_prompt(self, text: str) -> str:
        """Return the instructions of the agent: the stored ones, unless the task declares others now."""
        self._declared, self._system_prompt = instructions_of(self._task, text, self.journal.stored_prompt())
        return self._system_prompt

    async def run(self, run_agent: Callable[..., Awaitable[T]], **kwargs: Any) -> T:
        """Run the agent as zrb does, over the steps of the attempt."""
        self._agent = agent = kwargs["agent"]
        agent.run = self._over_steps(agent.run)
        arguments: dict[str, JsonValue] = {
            "message": digest(kwargs.get("message")),
            "attachments": digest(kwargs.get("attachments") or []),
            "instructions": self._declared,
        }
        # A checkpoint of zrb would be ahead of the steps that stand.
        kwargs["checkpoint_fn"] = None
        try:
            with self._opened:
                step = self._opened.enter_context(self.journal.prompt(arguments))
                if isinstance(step, StoredResult):
                    if not self.journal.changes.reuses_prompt:
                        self._prompt = read_prompt(codec.decode(step.result))
                    self._opened.close()
                else:
                    self._step = step
                if self._prompt is not None:
                    # Nothing has to be condensed or described again.
                    kwargs |= {"message_history": [], "attachments": None, "live_context": ""}
                return await run_agent(**kwargs)
        except Exception:
            if self.journal.fatal is not None:
                raise self.journal.fatal from None
            raise
        finally:
            self._agent = None

    def is_of(self, agent: Any) -> bool:
        """Whether this is the run of an agent: others may run inside it."""
        return agent is not None and agent is self._agent

    def start(self, history: list[ModelMessage], message: T) -> tuple[list[ModelMessage], T]:
        """Return the history and the message that the agent starts from: the stored ones, else those of zrb."""
        if self._step is not None:
            self.journal.keep(self._step, Prompt(message, history, self._system_prompt).dump)
            self._step = None
            self._opened.close()
        elif self._prompt is not None:
            return list(self._prompt.history), self._prompt.message
        return history, message

    def _over_steps(self, run: RunAgent) -> RunAgent:
        async def run_over_steps(*args: Any, **kwargs: Any) -> Any:
            journal = self.journal
            position = journal.position
            journal.any_live = False
            capabilities = [*(kwargs.pop("capabilities", None) or ()), StoredHandler(journal), StoredAgent(journal)]
            try:
                result = await run(*args, capabilities=capabilities, **kwargs)
            except Exception:
                # zrb may run it again with the same history.
                journal.restart(position)
                raise
            if not journal.any_live:
                self._logged_usage = result.usage
            return result

        return run_over_steps

    def is_logged(self, usage: RunUsage) -> bool:
        """Whether zrb logged this usage before: every answer that it sums up came from the store."""
        return self._logged_usage is not None and usage is self._logged_usage

    async def approve(self, decide: Decide, requests: Any, *args: Any) -> DeferredToolResults | None:
        """Return what was decided about tool calls that need an approval, then or now: each call is a step."""
        decided, asked = DeferredToolResults(), list[tuple[NewStep, ToolCallPart]]()
        none = replace(requests, calls=[], approvals=[])
        alone = [(call, replace(none, calls=[call])) for call in requests.calls or ()]
        alone += [(call, replace(none, approvals=[call])) for call in requests.approvals or ()]
        for call, one in alone:
            new = self.journal.approval(call)
            try:
                results = await self._approve_one(decide, new, call, one, *args)
            except NobodyThere:
                asked.append((new, call))
                continue
            if results is None:
                return None
            decided.approvals |= results.approvals
        if asked:
            decided.approvals |= await self.journal.ask(asked)
        return decided if alone else await decide(requests, *args)

    async def _approve_one(
        self, decide: Decide, new: NewStep, call: ToolCallPart, *args: Any
    ) -> DeferredToolResults | None:
        with self.journal.decision(new) as step:
            if isinstance(step, StoredResult):
                repeated = read_decisions(codec.decode(step.result), [call])
                _note_edited(call, repeated.approvals.get(call.tool_call_id))
                return repeated
            try:
                self.is_deciding = self.journal.terms.waits
                results = await decide(*args)
            except NobodyThere:
                step.fail(UNDECIDED, "interrupted")
                raise
            finally:
                self.is_deciding = False
            # pydantic-ai refuses all else that a task's function may return.
            decided = (bool, ToolApproved, ToolDenied)
            if results is None or not all(isinstance(one, decided) for one in results.approvals.values()):
                step.fail(UNDECIDED, "interrupted")
                if self.journal.terms.waits:
                    raise NobodyThere
            else:
                arguments = arguments_of([call])  # which may be rewritten by now
                self.journal.keep(step, partial(dump_decisions, APPROVAL, results, arguments))
            return results
