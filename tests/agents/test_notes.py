"""How `show` draws the steps of agents."""

from __future__ import annotations

from typing import Any

import pytest

from tests.agents.steps import columns_of, new_step
from tests.support.sessions import attempt_record
from zrb_store.agents.notes import NO_COSTS, Spent, agent_note, agents_of, costs_of_step, executions
from zrb_store.agents.step import AgentStep
from zrb_store.records import AttemptRecord


def answer(given: int, answered: int, **more: Any) -> dict[str, Any]:
    """Return the result of a model's step."""
    usage = {"input_tokens": given, "output_tokens": answered}
    return {"kind": "answer", "response": {"model_name": "gpt-5.2", "usage": usage}, **more}


@pytest.mark.parametrize(
    ("name", "result", "note"),
    [
        ("model", answer(3, 4), "model 1: gpt-5.2, 3 in / 4 out tokens"),
        ("model~4", answer(1204, 88), "model 4: gpt-5.2, 1,204 in / 88 out tokens"),
        (
            "model~4",
            answer(1, 1, changed="request changed: messages[3]"),
            "model 4: gpt-5.2, 1 in / 1 out tokens, request changed: messages[3]",
        ),
        ("model~2", {"kind": "refused", "text": "too long\nby 3"}, "model 2: refused: too long"),
        ("model~2", {"kind": "refused"}, "model 2: refused: "),
        ("tool charge c1", {"kind": "return", "return_value": "ok", "call": {"n": 3}}, 'tool charge {"n": 3} -> ok'),
        ("tool charge c1", {"kind": "value", "value": [1]}, "tool charge  -> [1]"),
        (
            "desk~2: tool look c1 approved",
            {
                "kind": "value",
                "value": {
                    "$": "object",
                    "type": "zrb_store.agents.Content",
                    "v": ["BinaryContent", {"media_type": "image/png", "data": "QUJD"}],
                },
            },
            "desk~2: tool look  -> [image/png, 3 bytes]",
        ),
        (
            "tool charge c1",
            {"kind": "retry", "message": "less", "call": {}},
            "tool charge {} -> asks to try again: less",
        ),
        ("tool charge c1", {"kind": "failed", "message": "no money", "call": {}}, "tool charge {} -> failed: no money"),
        ("tool charge c1", {"kind": "unknown", "value": "?", "call": {}}, "tool charge {} -> its outcome is unknown"),
        (
            "approval c1 c2",
            {"kind": "approval", "results": {"approvals": {"c1": True, "c2": {"kind": "tool-denied", "message": ""}}}},
            "approval: c1 approved, c2 denied",
        ),
        (
            "prompt",
            {
                "kind": "prompt",
                "message": [{"parts": [{"content": "Go\non\n\n<live-context>\nnoon"}]}],
                "history": [],
                "system_prompt": "",
            },
            "prompt: Go",
        ),
        # What a person has marked.
        ("model", {"kind": "answer"}, None),
        ("model", "text", None),
        ("model", None, None),
        ("tool box c1", {"kind": "hammer"}, None),
    ],
)
def test_the_note_of_a_step_follows_its_kind(name: str, result: Any, note: str | None) -> None:
    assert agent_note(attempt_record(**columns_of(name)), result) == note
    assert agent_note(attempt_record(step=name), result) is None  # of a user, who names it so


def test_costs_count_what_was_paid_and_what_was_lost() -> None:
    """A request that was lost costs what nobody knows; an answer that was given back was paid."""

    def row(step: str, result: Any, status: str = "completed", **more: Any) -> tuple[AttemptRecord, Any]:
        of = {"step": step} if step == "own" else columns_of(step)
        record = attempt_record(status=status, **{"run_id": 1, "parent_id": 1, **of, **more})
        return record, result

    told = row("tool charge a", {"kind": "retry", "message": "less"})
    failed = row("tool charge a", None, "failed")
    lost = row("tool charge a", None, "lost", once=True)
    unknown = row("tool charge a", {"kind": "unknown", "value": "?"}, once=True, parent_id=2)
    assert [executions(rows) for rows in ([failed, told], [failed, failed, told], [lost, told], [lost, unknown])] == [
        *(1, 2, 2, 1)
    ]
    steps = [
        [row("prompt", {"kind": "prompt"})],
        [row("model", answer(1000, 10))],
        [row("model~2", answer(100, 1), given_back_at=5), row("model~2", answer(2000, 20), parent_id=2)],
        [row("model~3", None, "lost"), row("model~3", answer(3, 3), run_id=None)],  # as forked
        [failed, told],
        [row("own", {"kind": "value"})],
    ]
    costs = sum((costs_of_step(each, 2, None) for each in steps), NO_COSTS)
    assert costs.text() == (
        "paid 3 answers (3,100 in / 31 out tokens) and 1 tool call; "
        "used again 2 answers (1,003 in / 13 out tokens) and 1 tool call; "
        "thrown away 1 answer (100 in / 1 out tokens)"
    )
    assert costs_of_step(steps[-1], 2, None).text() == ""
    # What the last attempt did not get to, it has not used; what a person has marked, no agent has called; what a fork
    # has copied and given back, it had not paid.
    steps = [
        [row("a: model", answer(1, 1))],
        [row("a: model~2", answer(1, 1), parent_id=2)],
        [row("b: model", answer(1, 1))],
        [row("a: tool charge c1", "by hand", run_id=None)],
        [row("a: model~3", answer(1, 1), run_id=None, given_back_at=5)],
    ]
    agents = agents_of([new_step("a: model~2")])
    costs = sum((costs_of_step(each, 2, agents) for each in steps), NO_COSTS)
    assert (costs.used_again[:4], costs.thrown_away) == ((1, 1, 1, 0), Spent())


@pytest.mark.parametrize(
    ("attributes", "own"),
    [
        (None, AgentStep()),
        ('{"agent": "desk", "run": 2, "call": "c1"}', AgentStep("desk", 2, call="c1")),
        # As another program may have written it.
        ('{"agent": 1, "run": true, "call": null, "more": "x"}', AgentStep()),
    ],
)
def test_a_step_is_what_its_attributes_say(attributes: str | None, own: AgentStep) -> None:
    assert AgentStep.of(attempt_record(attributes=attributes)) == own


@pytest.mark.parametrize(
    ("own", "label"),
    [
        (AgentStep(), ""),
        (AgentStep("front desk", 2), "front desk~2"),
        (AgentStep("desk~2"), '"desk~2"'),
        (AgentStep("desk: model"), '"desk: model"'),
    ],
)
def test_a_step_of_an_agent_has_a_label(own: AgentStep, label: str) -> None:
    assert own.label == label
