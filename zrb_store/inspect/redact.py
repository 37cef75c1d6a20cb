"""A report for strangers: events without any content."""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePath
from typing import TypeVar

from zrb_store.inspect.report import Report
from zrb_store.inspect.show import Step, Task
from zrb_store.masking import MASK
from zrb_store.queries.by_hand import Change
from zrb_store.queries.history import Returned, Value
from zrb_store.records import UNSUCCESSFUL, AttemptRecord, ErrorRecord, RunRecord


def redacted(report: Report) -> Report:
    """Return a report for strangers, in the same shape: structure, times and types, but nothing that was said.

    Left out are values, inputs, errors' texts, output, command lines, names of steps (which may be made of values), and
    who did what where: user, host, pid and folders.
    """
    session, plan = report.session, report.plan
    task = session.task and PurePath(session.task).name  # of a program it is the whole path
    return replace(
        report,
        session=replace(session, project=None, task=task),
        inputs={},
        runs=[
            replace(_silent(run), user=None, host="", pid=0, command=[], folder=None, inputs=None)
            for run in report.runs
        ],
        tasks=list(map(_silent_task, report.tasks)),
        queues=[replace(each, values=list(map(_emptied, each.values))) for each in report.queues],
        logged=[replace(each, record=_nameless(each.record), output=None) for each in report.logged if each.has_failed],
        changes=[_nobody(change)._replace(detail=None, reason=None) for change in report.changes],
        plan=None if plan is None or plan.refused else plan,
        conversations=[],
        comes_back=list(map(_emptied, report.comes_back)),
        waits=(),
    )


_Ended = TypeVar("_Ended", AttemptRecord, RunRecord)


def _silent(record: _Ended) -> _Ended:
    """Leave out what an error says, and which inputs there are."""
    if isinstance(record, AttemptRecord):
        record = replace(record, inputs_read=None)
    return record if record.error is None else replace(record, error_message="", error_traceback=None)


def _nameless(attempt: AttemptRecord) -> AttemptRecord:
    return replace(_silent(attempt), step=None)


def _nobody(change: Change) -> Change:
    return change._replace(user=None, host="", pid=0, reason=None)


def _silent_task(task: Task) -> Task:
    attempts = [attempt._replace(record=_silent(attempt.record)) for attempt in task.attempts]
    return replace(task, attempts=attempts, steps=list(map(_silent_step, task.steps)))


def _silent_step(step: Step) -> Step:
    result = None if step.result is None and step.beginning is None else MASK
    # A step without a name is named by its id.
    return replace(step, attempts=list(map(_nameless, step.attempts)), result=result, beginning=None, note=None)


def _emptied(value: Value) -> Value:
    """Leave out a value, and who moved it by hand."""
    returns = [
        each._replace(
            record=replace(each.record, reason=_plain_reason(each)),
            error=each.error and ErrorRecord(each.error.type, ""),
        )
        for each in value.returns
    ]
    replaced = [each._replace(content=MASK, by=each.by and _nobody(each.by)) for each in value.replaced]
    return replace(
        value,
        content=MASK,
        replaced=replaced,
        beginning=None,
        pushed_from=value.pushed_from and _nobody(value.pushed_from),
        taken_from=value.taken_from and _nobody(value.taken_from),
        returns=returns,
    )


def _plain_reason(returned: Returned) -> str:
    reason = returned.record.reason
    return reason if reason in UNSUCCESSFUL else returned.ended_death or "another reason"
