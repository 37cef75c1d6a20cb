"""Why a step that began before is not simply run, or its result returned."""

from __future__ import annotations

import shlex

from zrb_store.attempt.under_way import AttemptUnderWay
from zrb_store.codec.inputs import call_text, describe_changes, mask_encoded
from zrb_store.errors import InputsDiffer, StepUncertain
from zrb_store.queries.steps import StepRecord
from zrb_store.records import iso
from zrb_store.safe_text import mask_text, printable


def refuse_other_arguments(attempt: AttemptUnderWay, known: StepRecord, name: str, arguments: str) -> None:
    """Raise an error if a step that is done had other arguments.

    Raises:
        InputsDiffer: It had.
    """
    if known.arguments is None:  # a person marked it before it ever began
        return
    difference = describe_changes(mask_encoded(known.arguments), arguments)
    if difference:
        raise InputsDiffer(mask_text(f"{_describe(attempt, known, name)} completed with other arguments: {difference}"))


def refuse_uncertain(attempt: AttemptUnderWay, known: StepRecord, name: str) -> None:
    """Raise an error if a step was declared `once`, began before, and is not known to have failed.

    Raises:
        StepUncertain: That is so.
    """
    if not known.once or known.status == "failed":
        return
    what = f"began at {iso(known.started_at)}, and its end is unknown"
    if known.stands:
        what = "completed, but its result could not be stored"
    elif known.status == "completed":
        what = "completed, and was given back"
    arguments = "unknown" if known.arguments is None else call_text(known.arguments)
    # A command names a step by its name, or by its id if messages show the name differently.
    reference = name if printable(mask_text(name)) == name else f"{attempt.task}/{known.step_number}"
    words = shlex.join([attempt.session, attempt.task, "--step", reference])
    raise StepUncertain(
        mask_text(
            f"{_describe(attempt, known, name)} {what}; its arguments were {arguments}. It is declared `once`: find "
            f"out whether it happened, then run `zrb-store mark {words} completed --result JSON`, or the same with "
            "`failed` and no result to let it run again"
        )
    )


def _describe(attempt: AttemptUnderWay, known: StepRecord, name: str) -> str:
    step_id = f"{attempt.session}/{attempt.task}/{known.step_number}#{known.number}"
    return f"step {name} of task {attempt.task} ({step_id})"
