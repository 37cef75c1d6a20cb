"""Tasks that a step of unknown end has stopped: a person has to find out whether it happened."""

from __future__ import annotations

import asyncio

from zrb_store.errors import StepUncertain


class TaskStopped(asyncio.CancelledError):
    """A step's end is unknown. Every zrb release lets a cancellation pass: no retry, no fallback, no successor."""


def uncertain_step(error: BaseException | None) -> StepUncertain | None:
    """Return the `StepUncertain` that an exception is, contains as a group, or was raised because of; else None."""
    if error is None or isinstance(error, StepUncertain):
        return error
    parts = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    earlier = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    found = (uncertain_step(part) for part in (*parts, earlier))
    return next((one for one in found if one is not None), None)
