"""The data of a report for strangers: structure, names, times, types and sizes, but nothing that was said.

What may be shown of each kind of record is listed here. A field that is not listed, such as a new one, is empty, and a
record of a kind that is not listed is an error.
"""

from __future__ import annotations

import functools
import re
import shlex
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import PurePath
from typing import Any

from zrb_store.inspect.advice import Start
from zrb_store.inspect.log import AttemptLog
from zrb_store.inspect.resume import Decision
from zrb_store.inspect.show import Queue, ShownAttempt, ShownStep, Task
from zrb_store.masking import MASK, one_line
from zrb_store.page.content import Plan, Report
from zrb_store.queries.by_hand import Change
from zrb_store.queries.clock import Moment
from zrb_store.queries.history import AttemptName, Replaced, Returned, Value
from zrb_store.queries.holders import Holder
from zrb_store.queries.output import StoredOutput
from zrb_store.queries.queues import QueueRules
from zrb_store.queries.show import Holding, QueueCounts, StepCounts
from zrb_store.records import (
    COMMAND,
    UNSUCCESSFUL,
    AttemptRecord,
    ErrorRecord,
    Lazy,
    ReplacedRecord,
    ReturnRecord,
    RunRecord,
    SessionRecord,
    ValueRecord,
)

# Of a value and a result, redacted() says that it is there; of a return, why, if its reason is one of a few words.
_SHOWN: dict[type, str] = {
    Report: "session start read_at runs runs_left_out tasks queues logged logged_left_out changes pending "
    "comes_back comes_back_elsewhere killed holders plan",
    SessionRecord: "id name status task path tasks parent forked_from pinned fence created_at ended_at created_tick "
    "ended_tick ",
    Start: "session takes_over uses_zrb",
    RunRecord: "id session_id number origin python_version zrb_version started_at lease_expires_at suspected_at "
    "ended_at status notified_at started_tick ended_tick error_type stop_requested_at acknowledged_at seen_at",
    Task: "name status last restorable result attempts counts steps attempts_left_out steps_left_out",
    StepCounts: "task steps standing kept running failed interrupted lost of_wings",
    ShownAttempt: "record output",
    StoredOutput: "bytes truncated",
    AttemptRecord: "id session_id session run_id run fence task number kind status restorable result_queue_id "
    "result_seq error_type started_at ended_at given_back_at parent_id step_of step_number once deadline_at "
    "started_tick ended_tick given_back_tick ",
    ShownStep: "attempts status executions tokens",
    Queue: "now values earlier",
    QueueCounts: "id name values live dead delayed held rules",
    Holding: "acts elsewhere",
    Holder: "home_id queue_id session number values since status",
    QueueRules: "max_deliveries retry_after paused_at",
    Value: "id record is_live pusher taker returns replaced pushed_from taken_from",
    ValueRecord: "queue_id seq state type size pushed_at pushed_by ended_at taken_by moved_from orphaned "
    "failed_deliveries pushed_tick ended_tick plain due_at ",
    AttemptName: "name given_back failed",
    Moment: "at tick",
    Returned: "record taker error",
    ReturnRecord: "queue_id seq taken_by taken_at returned_at failed_deliveries taken_tick returned_tick due_at ",
    Replaced: "record by",
    ReplacedRecord: "queue_id seq type size failed_deliveries replaced_at replaced_tick ",
    ErrorRecord: "type",
    AttemptLog: "record parent was_retried",
    Change: "at action",
    Plan: "tasks",
    Decision: "task action reason steps starts_over",
}
_PLAIN = (bool, int, float, str, type(None))


@functools.cache
def _fields(kind: type) -> list[tuple[str, bool, bool]]:
    """Return the name of each field of a kind of record, whether it is shown, and whether it may be None."""
    shown = _SHOWN[kind].split()
    return [(name, name in shown, "None" in str(written)) for name, written in kind.__annotations__.items()]


def _only(thing: Any, rename: Callable[[str], str]) -> Any:
    """Return a record, or records, with nothing but what is shown of each, and with other names."""
    kind: Any = type(thing)
    if kind is str:
        return rename(thing)
    if kind in _PLAIN:
        return thing
    if kind in (list, tuple):
        return kind(_only(each, rename) for each in thing)
    if kind in (dict, Counter):
        return kind({_only(key, rename): _only(item, rename) for key, item in thing.items()})
    fields = {}
    for name, is_shown, may_be_none in _fields(kind):
        value = getattr(thing, name)
        fields[name] = _only(value, rename) if is_shown else None if may_be_none else type(value)()
    redact = _FURTHER.get(kind)
    return kind(**fields) if redact is None else redact(kind(**fields), thing)


def redacted(report: Report) -> Report:
    """Return a report for strangers, in the same shape."""
    argv = report.session.argv
    # Without another name, the task of a command, and the queue of its result, are named for the words of the command.
    words, program = one_line(shlex.join(argv)), PurePath(argv[0]).name if argv else ""
    logged = [each for each in report.logged if each.has_failed]
    shown: Report = _only(replace(report, logged=logged), lambda text: text.replace(words, program) if argv else text)
    return shown


def _session(shown: SessionRecord, session: SessionRecord) -> SessionRecord:
    """Show of a command that there is one, and of a program, whose task is the whole path, its name."""
    path = [COMMAND, MASK] if session.argv else session.path
    task = shown.task and PurePath(shown.task).name
    return replace(shown, path=path, task=task, parent=shown.parent and _first_word(shown.parent))


def _first_word(attempt: str) -> str:
    """Return the name of an attempt of another session, whose task may be named for the words of its command."""
    return re.sub(r"(?s)\s.*?(?=(?:/\d+)?(?:#\d+)?\Z)", " […]", attempt, count=1)


def _attempt_name(shown: AttemptName, _: AttemptName) -> AttemptName:
    return shown._replace(name=_first_word(shown.name))


def _start(shown: Start, start: Start) -> Start:
    path = [COMMAND, MASK] if start.path[:1] == [COMMAND] else start.path
    return shown._replace(path=path, parent=start.parent and _first_word(start.parent))


def _plan(shown: Plan, plan: Plan) -> Plan | None:
    return None if plan.refused else shown


def _step(shown: ShownStep, step: ShownStep) -> ShownStep:
    return shown if step.result is None and step.beginning is None else replace(shown, result=MASK)


def _queue(shown: Queue, queue: Queue) -> Queue:
    return replace(shown, live=Lazy(lambda: iter([MASK] * len(queue.live)), len(queue.live)))


def _value(shown: Value, _: Value) -> Value:
    return replace(shown, content=MASK)


def _replaced(shown: Replaced, _: Replaced) -> Replaced:
    return shown._replace(content=MASK)


def _returned(shown: Returned, returned: Returned) -> Returned:
    reason = returned.record.reason
    plain = reason if reason in UNSUCCESSFUL else returned.ended_death or "another reason"
    return shown._replace(record=replace(shown.record, reason=plain))


_FURTHER: dict[type, Any] = {
    AttemptName: _attempt_name,
    SessionRecord: _session,
    Start: _start,
    Plan: _plan,
    ShownStep: _step,
    Queue: _queue,
    Value: _value,
    Replaced: _replaced,
    Returned: _returned,
}
