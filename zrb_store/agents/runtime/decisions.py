"""What is decided while an agent waits: about calls, by zrb, a capability or a person; and about a larger budget.

The budget is what the agents of a session may use over all its runs (`ZRB_STORE_BUDGET`): no request is made after it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import count
from typing import Any

from pydantic import TypeAdapter
from pydantic_ai import DeferredToolResults, ToolApproved, ToolDenied
from pydantic_ai.messages import ToolCallPart

from zrb_store import codec
from zrb_store.agents.kinds import BUDGET
from zrb_store.agents.notes import Spent, answer_cost, as_object
from zrb_store.agents.queries import paid_since
from zrb_store.agents.runtime.digests import digest
from zrb_store.agents.runtime.stored import Data, Mode, NotReadable, storable
from zrb_store.agents.settings import Limits, UsedUp
from zrb_store.attempt import Attempt
from zrb_store.attempt.exact_steps import stored_step
from zrb_store.attempt.waits import answers_in
from zrb_store.db.transaction import Transaction
from zrb_store.errors import BudgetUsed
from zrb_store.masking import ErrorText, mask_text
from zrb_store.names import numbered, quoted
from zrb_store.queries.steps import NewStep, StepKey
from zrb_store.queries.waits import drop_other_answers

_RESULTS: TypeAdapter[DeferredToolResults] = TypeAdapter(DeferredToolResults)
_MOST = 1000  # characters of a call that a person is asked about
APPROVAL, RESULTS = "approval", "deferred results"
"""The kinds of what is stored: whether calls may be executed, or their results."""
UNDECIDED = ErrorText("Undecided", "somebody decides later", "")
"""Why a step in which it was to be decided about a call ends without a decision."""


def arguments_of(calls: Sequence[ToolCallPart]) -> Data:
    """Return the arguments of tool calls by call id, as they are now. A hook of zrb may rewrite them in place."""
    return {call.tool_call_id: call.args for call in calls if isinstance(call.args, dict)}


def dump_decisions(kind: str, results: DeferredToolResults, rewritten: Data | None, mode: Mode) -> Data:
    """Return what was decided as it is stored, with the arguments that were rewritten meanwhile, by call id."""
    dumped = _RESULTS.dump_python(results, mode=mode)
    if mode == "python":  # a picture among them would come back as a dict
        dumped["calls"] |= {name: own for name, one in results.calls.items() if (own := storable(one)) is not one}
    return {"kind": kind, "results": dumped, **({"rewritten": rewritten} if rewritten else {})}


def read_decisions(stored: Any, calls: Sequence[ToolCallPart], *, kind: str = APPROVAL) -> DeferredToolResults:
    """Return what was decided, after the arguments of the calls are rewritten as they were then.

    What a person has marked as the result is a verdict about the calls, or the result of the only one.
    """
    is_marked = not isinstance(stored, dict) or stored.get("kind") not in (APPROVAL, RESULTS)
    if kind == RESULTS and is_marked and len(calls) == 1:
        return DeferredToolResults(calls={calls[0].tool_call_id: stored})
    if isinstance(stored, bool) or (isinstance(stored, dict) and stored.get("kind") in ("approved", "denied")):
        return DeferredToolResults(approvals={call.tool_call_id: decision(stored) for call in calls})
    try:
        results = _RESULTS.validate_python(stored["results"])
    except (KeyError, TypeError, ValueError) as error:
        raise NotReadable("no decision about calls") from error
    for call in calls:
        if isinstance(call.args, dict):
            call.args.update(stored.get("rewritten", {}).get(call.tool_call_id) or {})
    return results


def decision(answer: Any) -> ToolApproved | ToolDenied:
    """Return what a person has answered about a call: what is no approval denies it."""
    answer = answer if isinstance(answer, dict) else {"kind": "approved" if answer is True else "denied"}
    if answer.get("kind") == "approved":
        return ToolApproved()
    return ToolDenied(str(answer["reason"])) if answer.get("reason") else ToolDenied()


def ask(
    attempt: Attempt, calls: Sequence[tuple[NewStep, ToolCallPart]], *, is_private: bool
) -> dict[str, ToolApproved | ToolDenied]:
    """Return what a person has answered about calls, by their ids; else end the attempt until then.

    The calls are given with the steps that keep the answers.
    """

    def question(new: NewStep, call: ToolCallPart) -> NewStep:
        args = call.args if isinstance(call.args, str) else json.dumps(call.args, ensure_ascii=False)
        say = call.tool_name if is_private else mask_text(f"{call.tool_name} {args}")
        say = say if len(say) <= _MOST else f"{say[:_MOST]}..."
        return new._replace(awaited_queue=_queue(attempt, new.step), say=say, say_digest=digest([call.tool_name, args]))

    def drop_others(transaction: Transaction) -> None:
        attempt.refuse_if_closed(transaction)
        for each in questions:
            drop_other_answers(transaction, attempt.session, attempt.id, each)

    questions = [question(*each) for each in calls]
    attempt.database.transact(drop_others)
    answers = answers_in(attempt, questions)
    return {call.tool_call_id: decision(codec.decode(answer)) for (_, call), answer in zip(calls, answers, strict=True)}


def _queue(attempt: Attempt, what: str) -> str:
    """Return the name of the queue to which the answer about something comes."""
    task = quoted(attempt.task, unless='[^":]+')
    return f"{task}: {what}"


class Budget:
    """The budget of a session, as one attempt of it sees that.

    Args:
        limits: What may be used. A person may have raised it.
        waits: Whether the session waits for a larger one, rather than that the task ends.
    """

    def __init__(self, attempt: Attempt, limits: Limits, *, waits: bool) -> None:
        self._attempt = attempt
        self._limits = limits
        self._waits = waits
        self._spent, self._tick = Spent(), 0

    def used_up(self) -> UsedUp | None:
        """Return what of it is used up by the answers that were paid until now."""
        for tick, kind, result in paid_since(self._attempt.database, self._attempt.session, self._tick):
            self._tick = tick
            data = codec.to_json(result or "null")
            if kind == BUDGET:
                self._limits = self._limits.raised(Limits.of(as_object(data)))
            else:
                self._spent += answer_cost(data)
        return self._limits.used_up(self._spent)

    def refuse_or_wait(self) -> None:
        """Raise an error, or end the attempt until a person raises the budget, if it is used up."""
        attempt = self._attempt
        while used := self.used_up():
            if not self._waits:
                raise BudgetUsed(
                    f"{attempt.task}: {used.why}: start it again with a larger one, such as "
                    f"{self._limits.larger(self._spent)} (in ZRB_STORE_BUDGET, or where the task or the agent "
                    "has its own)"
                )
            names = (numbered("budget of agents", number) for number in count(1))
            name = next(name for name in names if not stored_step(attempt, StepKey(BUDGET, name)))
            unit = json.dumps({"unit": used.unit})
            queue = _queue(attempt, "budget")
            new = NewStep(name, None, kind=BUDGET, attributes=unit, awaited_queue=queue, say=used.why)
            answers_in(attempt, [new])
