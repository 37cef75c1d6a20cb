"""A report for strangers: what happened, but nothing that was said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePath

from zrb_store.inspect.log import RunLog
from zrb_store.inspect.report import Report, ReportStep, ReportTask, ReportValue
from zrb_store.masking import MASK
from zrb_store.queries.by_hand import Change
from zrb_store.records import UNSUCCESSFUL, AttemptRecord, ErrorRecord, ReturnRecord


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
        runs=[run._replace(log=_silent_run(run.log)) for run in report.runs],
        tasks=list(map(_silent_task, report.tasks)),
        queues=[replace(queue, values=list(map(_emptied, queue.values))) for queue in report.queues],
        logged=[replace(each, record=_nameless(each.record), output=None) for each in report.logged if each.has_failed],
        changes=[_nobody(change)._replace(detail=None) for change in report.changes],
        plan=None if plan is None or plan.refused else plan,
    )


def _silent_run(run: RunLog) -> RunLog:
    record = replace(run.record, user=None, host="", pid=0, command=[], folder=None)
    return RunLog(record, run.error and ErrorRecord(run.error.type, ""))


def _silent(attempt: AttemptRecord) -> AttemptRecord:
    """Leave out what an error says."""
    return attempt if attempt.error is None else replace(attempt, error_message="", error_traceback=None)


def _nameless(attempt: AttemptRecord) -> AttemptRecord:
    return replace(_silent(attempt), step=None)


def _nobody(change: Change) -> Change:
    return change._replace(user=None, host="", pid=0)


def _silent_task(task: ReportTask) -> ReportTask:
    attempts = [attempt._replace(record=_silent(attempt.record)) for attempt in task.attempts]
    return replace(task, attempts=attempts, steps=list(map(_silent_step, task.steps)))


def _silent_step(shown: ReportStep) -> ReportStep:
    result = None if shown.step.result is None and shown.beginning is None else MASK
    attempts = list(map(_nameless, shown.step.attempts))  # a step without a name is named by its id
    return ReportStep(replace(shown.step, attempts=attempts, result=result))


def _emptied(shown: ReportValue) -> ReportValue:
    """Leave out a value, and who moved it by hand."""
    value = shown.value
    returns = [
        each._replace(
            record=replace(each.record, reason=_plain_reason(each.record)),
            error=each.error and ErrorRecord(each.error.type, ""),
        )
        for each in value.returns
    ]
    return ReportValue(
        replace(
            value,
            content=MASK,
            pushed_from=value.pushed_from and _nobody(value.pushed_from),
            popped_by=value.popped_by and _nobody(value.popped_by),
            returns=returns,
        )
    )


def _plain_reason(record: ReturnRecord) -> str:
    if record.reason in UNSUCCESSFUL:
        return record.reason
    return "requeued" if record.deliveries == 0 else "another reason"
