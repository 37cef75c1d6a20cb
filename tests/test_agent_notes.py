"""How `show` draws the steps of agents."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sessions import attempt_record
from zrb_store.inspect.agents import agent_note, agent_sum
from zrb_store.inspect.show import Step


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
            "tool charge c1",
            {"kind": "retry", "message": "less", "call": {}},
            "tool charge {} -> asks to try again: less",
        ),
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
        # Steps of the user's own.
        ("model", {"kind": "answer"}, None),
        ("model", "text", None),
        ("model", None, None),
        ("page 3", answer(1, 1), None),
        ("tool box", {"kind": "hammer"}, None),
    ],
)
def test_notes(name: str, result: Any, note: str | None) -> None:
    assert agent_note(name, result) == note


def test_the_sum() -> None:
    def step(name: str, result: Any, run: int | None, status: str = "completed") -> Step:
        return Step([attempt_record(step=name, run=run)], status, result)

    steps = [
        step("prompt", {"kind": "prompt"}, 1),
        step("model", answer(1000, 10), 1),
        step("tool charge a", {"kind": "value", "value": 1}, 1),
        step("model~2", answer(2000, 20), 2),
        step("tool charge b", None, 2, "running"),
        step("own", {"kind": "value"}, 1),
    ]
    assert agent_sum(steps, 1) == "2 answers (3,000 in / 30 out tokens), 1 tool calls"
    saved = "1 (1,000 in / 10 out tokens) and 1 came from the store"
    assert agent_sum(steps, 2) == f"2 answers (3,000 in / 30 out tokens), 1 tool calls; of these {saved}"
    assert agent_sum(steps[:1], 1) == ""
    copied = [step("model", answer(1000, 10), None), *steps[3:]]
    assert agent_sum(copied, None) == "2 answers (3,000 in / 30 out tokens), 0 tool calls"
    assert agent_sum(copied, 2).endswith("; of these 1 (1,000 in / 10 out tokens) and 0 came from the store")
