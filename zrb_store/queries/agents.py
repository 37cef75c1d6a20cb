"""What agents store in steps: the kinds of these steps, and what was paid for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, Protocol, Self

from zrb_store.db.core import bindparam, is_one_of, literal, sa, statement, t
from zrb_store.db.transaction import Executor, Row
from zrb_store.names import numbered, quoted

PROMPT: Final = "prompt"  # keeps what an agent starts from
MODEL_REQUEST: Final = "model_request"  # its result is the model's answer
TOOL_CALL: Final = "tool_call"
APPROVAL: Final = "approval"  # decides whether a call may be executed, or waits for a person who does
DEFERRED: Final = "deferred"  # keeps what answered the deferred calls of one answer
BUDGET: Final = "budget"  # waits for a larger budget, which is its result
OF_CONVERSATION: Final = frozenset({PROMPT, MODEL_REQUEST, TOOL_CALL, APPROVAL, DEFERRED})
KINDS: Final = OF_CONVERSATION | {BUDGET}


class OfKind(Protocol):
    """An attempt of a step, or what is to be one."""

    @property
    def kind(self) -> str: ...

    @property
    def attributes(self) -> str | None: ...


class AgentStep(NamedTuple):
    """Which step of an agent an attempt is of. Its attributes are these, without those that have their defaults."""

    agent: str = ""  # the name of an agent of `durable`; zrb's have none
    run: int = 1  # which run of the agent it is, in its task
    number: int = 1  # of a request or a prompt in this run; of a call, which one with its id
    tool: str = ""
    call: str = ""  # the id that the model gave to the call; the ids, of what answered several

    @classmethod
    def of(cls, attempt: OfKind) -> Self:
        """Return what the attributes of an agent's step say."""
        found: dict[str, Any] = json.loads(attempt.attributes or "{}")
        defaults = cls._field_defaults.items()
        return cls(**{name: found[name] for name, default in defaults if type(found.get(name)) is type(default)})

    def encoded(self) -> str | None:
        """Return the attributes to store, as JSON."""
        found = {name: own for name, own in self._asdict().items() if own != self._field_defaults[name]}
        return json.dumps(found) if found else None

    @property
    def label(self) -> str:
        """The run of the agent as people read it, such as `desk~2`; empty for an agent of zrb."""
        return numbered(quoted(self.agent, unless='[^"~:]+'), self.run) if self.agent else ""


def is_answer() -> sa.ColumnElement[bool]:
    """Return the condition that an attempt asks a model."""
    return t.attempt.c.kind == literal(MODEL_REQUEST)


def is_call() -> sa.ColumnElement[bool]:
    """Return the condition that an attempt is of a tool's call."""
    return t.attempt.c.kind == literal(TOOL_CALL)


@statement
def _paid_since() -> sa.Select[int, str, str | None]:
    return (
        sa.select(t.attempt.c.ended_tick, t.attempt.c.kind, t.attempt.c.result)
        .select_from(t.attempt.join(t.session))
        .where(
            *(t.session.c.name == bindparam("session"), t.attempt.c.step_of.is_not(None)),
            *(t.attempt.c.status == literal("completed"), t.attempt.c.run_id.is_not(None)),
            *(t.attempt.c.ended_tick > bindparam("since"), is_one_of(t.attempt.c.kind, MODEL_REQUEST, BUDGET)),
        )
        .order_by(t.attempt.c.ended_tick)
    )


def paid_since(executor: Executor, session: str, tick: int) -> Sequence[Row]:
    """Return the answers that models gave after a moment in the session itself, and the raised budgets.

    Each has its moment, its kind and its result.
    """
    return executor.execute(_paid_since(), {"session": session, "since": tick})


class Decided(NamedTuple):
    """What was decided about a call, or about several."""

    kind: str
    attributes: str | None
    answer: str
    moment: int  # when a person has answered, or a capability has decided


@statement
def _decided() -> sa.Select[*Row]:
    is_its_answer = sa.or_(
        t.value.c.taken_by == t.attempt.c.id,
        sa.and_(
            *(t.attempt.c.status == literal("waiting"), t.value.c.ended_at.is_(None)),
            t.value.c.queue_id.in_(
                sa.select(t.queue.c.id).where(
                    t.queue.c.session_id == t.attempt.c.session_id, t.queue.c.name == t.attempt.c.awaited_queue
                )
            ),
        ),
    )
    answer = sa.func.coalesce(t.value.c.data, t.attempt.c.result)
    moment = sa.func.coalesce(t.value.c.pushed_at, t.attempt.c.ended_at)
    return (
        sa.select(t.attempt.c.kind, t.attempt.c.attributes, answer, moment)
        .select_from(t.attempt.outerjoin(t.value, is_its_answer))
        .where(
            *(t.attempt.c.session_id == bindparam("session_id"), t.attempt.c.kind == literal(APPROVAL)),
            *(t.attempt.c.given_back_at.is_(None), answer.is_not(None)),
        )
        .order_by(t.attempt.c.id.desc())
    )


def decided(executor: Executor, session_id: int) -> list[Decided]:
    """Return what was decided about calls in a session, the latest question first."""
    return list(map(Decided._make, executor.execute(_decided(), {"session_id": session_id})))
