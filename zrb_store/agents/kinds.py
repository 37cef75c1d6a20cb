"""The kinds of steps that agents store."""

from __future__ import annotations

from typing import Final

PROMPT: Final = "prompt"  # keeps what an agent starts from
MODEL_REQUEST: Final = "model_request"  # its result is the model's answer
TOOL_CALL: Final = "tool_call"
APPROVAL: Final = "approval"  # decides whether a call may be executed, or waits for a person who does
DEFERRED: Final = "deferred"  # keeps what answered the deferred calls of one answer
BUDGET: Final = "budget"  # waits for a larger budget, which is its result
OF_CONVERSATION: Final = frozenset({PROMPT, MODEL_REQUEST, TOOL_CALL, APPROVAL, DEFERRED})
KINDS: Final = OF_CONVERSATION | {BUDGET}
