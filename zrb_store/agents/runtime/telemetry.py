"""What OpenTelemetry is told about a resumed agent: spans and metrics of what ran, not of what came from the store.

pydantic-ai leaves out what it is told here to be stored, from 2.68 on. Earlier releases report it again.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from pydantic_ai import durable_exec

from zrb_store.attempt import Step
from zrb_store.attempt.steps import StoredResult

replay_scope: Any = getattr(durable_exec, "replay_scope", nullcontext)
"""A context for one run of an agent."""

_record: Any = getattr(durable_exec, "record_durable_unit", None)


def report(step: Step | StoredResult | None) -> None:
    """Report that a request or a call has run as a step, or that its result was stored; nothing if it was not made."""
    if _record is not None and step is not None:
        _record(executed=not isinstance(step, StoredResult))
