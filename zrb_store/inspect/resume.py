"""The plan of a resume: what it runs and skips, and why. It is made from a description of the tasks, without zrb.

`decide` decides about each task from a `Workflow` and the attempts that there are; `plan` reads these from the store.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import NamedTuple

from zrb_store.db.location import StoreUrl
from zrb_store.db.transaction import Executor
from zrb_store.errors import InvalidArgument, TaskNotFound, ZrbStoreError
from zrb_store.inspect.workflow import Node, Workflow, in_order_of_start
from zrb_store.names import nearest
from zrb_store.process import current_folder
from zrb_store.queries import attempts, runs
from zrb_store.queries.clock import now_micros
from zrb_store.queries.commands import left_commands
from zrb_store.queries.dependent_steps import of_attempts
from zrb_store.queries.lease import refuse_live
from zrb_store.queries.steps import count_done, inputs_read, of_other_kinds, refuse_repeating
from zrb_store.records import AttemptRecord, JsonTree, SessionRecord, by_key, kind_of
from zrb_store.wings import is_whole, kinds


@dataclass(frozen=True)
class PlannedStep:
    """What a resume does with one step of a task that compares its steps, and why.

    The action is one of:
        `reused`: its stored result is used.
        `made-again`: its request or call is made again.
        `raised-again`: its failure, which the task survived, is raised again, and nothing is paid.
        `stops`: it stops the task, and a person has to decide.
        `not-repeated`: the outcome of the call is unknown, and the task gets that as its result.
        `known-when-it-runs`: the plan cannot know it, and the reason says what of it.
    """

    id: str  # TASK/NUMBER
    step: str  # its name
    action: str
    reason: str


@dataclass(frozen=True)
class Decision:
    """What a resume does with one task, and why.

    A condition is evaluated when the task's turn comes, and the task runs only if it holds then. The reason is one of:
        `completed`: the task has completed.
        `failed`, `interrupted`, `lost`, `waiting`, `never-started`: how its last attempt ended. It was `lost` if its
        process died, or if the attempt was given back.
        `forced`, `downstream-of:TASK`: it runs again because it was named by `--from`, or follows that task.
        `input:NAME`, `inputs-unknown`: it has read an input that `--set` changes, or may have. Those that follow it are
        `downstream-of:` it. With `skip`, it is given back, and nothing starts it.
        `readiness`: it is a readiness check, or a server that has one.
        `not-restorable`: its result cannot be restored, and a task that runs needs it.
        `fallback`: it runs if another task fails, and always if another task starts it.
        `condition`: with `run`, it has never started, and its condition decides whether it will; with `skip`, the
        condition never holds, or the session has completed without the task.
        `gone`: the task has completed, and is not in the workflow any more.
    A task that another one's action has started is `downstream-of:` that one if that one starts over.
    """

    task: str
    action: str  # run or skip
    reason: str
    steps: int = 0  # how many completed steps stand; if the task runs, it gets their results without running them
    starts_over: bool = False  # whether it does not keep its completed steps
    agent_steps: tuple[PlannedStep, ...] = ()  # what becomes of its steps, if it runs and compares them, in their order


@dataclass(frozen=True)
class ResumeOptions:
    """How a resume was asked for."""

    forced: str | None = None  # the task that runs again with everything downstream of it
    inputs: Mapping[str, str] = field(default_factory=dict)  # those that are not stored, by name, as `--NAME VALUE`
    changes: Mapping[str, str] = field(default_factory=dict)  # the texts of those that change, as `--set NAME=VALUE`
    repeat_once: bool = False  # whether completed steps that were declared `once` may run again
    takes_over: bool = False  # whether the session belongs to this project from now on

    @property
    def repeats(self) -> bool:
        """Whether completed tasks run again."""
        return self.forced is not None or bool(self.changes)

    @property
    def are_of_one_session(self) -> bool:
        """Whether they cannot be meant for several sessions."""
        return self.repeats or self.takes_over or bool(self.inputs)


@dataclass(frozen=True)
class PlannedResume:
    """What a resume of one session does."""

    session: str
    forced: str | None  # as in `ResumeOptions`
    changed: Mapping[str, tuple[str, str]]  # the inputs that change, each with its text before and from now on
    tasks: Sequence[Decision]

    def why(self, decision: Decision) -> str:
        """Return the reason of a decision for a reader; in other words if inputs change."""
        kind, _, name = decision.reason.partition(":")
        if kind == "input":
            return f"input {name}: {' -> '.join(self.changed[name])}"
        words = {"completed": "reads no changed input", "inputs-unknown": "not known: runs"}
        words["downstream-of"] = f"downstream of {name}"
        return words.get(kind, decision.reason) if self.changed else decision.reason

    def to_json(self) -> JsonTree:
        return {
            "session": self.session,
            "from": self.forced,
            "set": {name: {"before": before, "now": now} for name, (before, now) in self.changed.items()},
            "tasks": [asdict(decision) for decision in self.tasks],
        }


class Changed(NamedTuple):
    """What a resume changes, and what was read for the completed steps that stand."""

    names: Collection[str]  # of the inputs that it changes
    steps: Sequence[tuple[str, Sequence[str] | None]]  # of each step its task, and what that had read; None: not known


def decide(
    workflow: Workflow,
    records: Sequence[AttemptRecord],
    forced: str | None = None,
    *,
    finished: bool = False,
    changed: Changed | None = None,
) -> list[Decision]:
    """Decide for each task, in an order in which they can run, whether a resume runs it.

    A forced task runs again, with everything downstream of it; so does one that has read a changed input, or may have.
    In a finished session nothing else runs.
    """
    standing = {record.task: record for record in records if record.in_effect}
    last = {record.task: record for record in records}

    ended = finished and forced is None and changed is None
    reachable = set() if ended else workflow.reachable()
    again = {} if forced is None else _forced_reasons(workflow, reachable, forced, last)
    again = {name: why for name, why in again.items() if name in reachable}
    touched = {} if changed is None else _touched(workflow, last | standing, changed)
    touched = {name: why for name, why in touched.items() if name in standing or name in reachable}
    starting_over = {*again} | {
        name for name in touched if name not in workflow.nodes or not workflow.nodes[name].compares_steps
    }
    inner = _started_by(workflow, starting_over, standing)
    why = _Reasons(workflow, standing, last, reachable, again, touched, inner, ended=ended)

    reasons = {name: why.of(name) for name in workflow.order()}
    running = {name for name in reachable if reasons[name] != "completed"}
    unrestorable = {name for name, record in standing.items() if name in reachable - running and not record.restorable}
    while needed := {name for name in unrestorable if running.intersection(workflow.downstream(name))}:
        reasons.update(dict.fromkeys(needed, "not-restorable"))
        running |= needed
        unrestorable -= needed
    for name, record in standing.items():
        if name not in reasons and record.kind != "check":
            reasons[name] = inner.get(name) or touched.get(name) or ("completed" if record.inside else "gone")
    running.update(inner, touched.keys() - workflow.nodes.keys())
    starting_over.update(inner)
    return [
        Decision(name, "run" if name in running else "skip", reason, starts_over=name in starting_over)
        for name, reason in reasons.items()
    ]


class _Reasons(NamedTuple):
    """Why each task of a workflow runs or not, unless a task that runs needs a result that cannot be restored."""

    workflow: Workflow
    standing: Mapping[str, AttemptRecord]  # the completed attempts, by task
    last: Mapping[str, AttemptRecord]  # the last attempts
    reachable: Collection[str]
    again: Mapping[str, str]  # the tasks that `--from` runs again, each with why
    touched: Mapping[str, str]  # those that have read a changed input, and those downstream of them
    inner: Mapping[str, str]  # those that are started by tasks which start over
    ended: bool  # whether the session has finished, and nothing runs again

    def of(self, name: str) -> str:
        node, is_reached = self.workflow.nodes[name], name in self.reachable
        kind = kind_of(
            is_check=bool(self.workflow.checked[name]),
            has_checks=bool(node.checks),
            is_fallback=bool(self.workflow.owners[name]),
        )
        if name in self.inner:
            return self.inner[name]
        if name in self.again:
            return self.again[name]
        if name in self.touched and (is_reached or kind != "fallback"):
            return self.touched[name]
        # A task that was marked by hand does not run again, whatever its kind.
        if name in self.standing and (kind == "task" or self.standing[name].kind == "manual" or self.ended):
            return "completed"
        if node.condition is False:
            return "condition"
        if kind == "fallback":
            return "fallback"
        if kind != "task" and is_reached:
            return "readiness"
        return self._end_of(node, is_reached=is_reached)

    def _end_of(self, node: Node, *, is_reached: bool) -> str:
        """Return how the last attempt of a task ended that has not completed."""
        if node.name not in self.last:
            is_undecided = node.condition is None and (is_reached or self.ended)
            return "condition" if is_undecided else "never-started"
        status = self.last[node.name].status
        # A running attempt belongs to a process that died; a completed one, if the task is unfinished, was given back.
        return "lost" if status in ("running", "completed") else status


def _only_started(workflow: Workflow, last: Mapping[str, AttemptRecord]) -> list[str]:
    """Return the tasks that only the actions of others start."""
    return [name for name, record in last.items() if record.inside is not None and name not in workflow.nodes]


def _started_by(
    workflow: Workflow, starting_over: Collection[str], standing: Mapping[str, AttemptRecord]
) -> dict[str, str]:
    """Return the tasks that actions of these tasks have started, and those downstream of them, each with why."""
    found: dict[str, str] = {}
    waiting = sorted(starting_over)
    while waiting:
        outer = waiting.pop()
        started = [name for name, record in standing.items() if record.inside == outer]
        following = workflow.downstream(outer) if outer in found and outer in workflow.nodes else []
        new = [name for name in (*started, *following) if name not in found and name not in starting_over]
        found.update(dict.fromkeys(new, f"downstream-of:{outer}"))
        waiting += new
    return found


def _touched(workflow: Workflow, last: Mapping[str, AttemptRecord], changed: Changed) -> dict[str, str]:
    """Return the tasks that have read a changed input, or may have, and those downstream of them, each with why.

    A task that has neither completed nor failed counts by its completed steps only. But other tasks may have gone on
    because of its condition, its check or its fallback: then what it has read counts, too.
    """
    read: dict[str, str] = {}
    unknown: dict[str, str] = {}
    steps = by_key(changed.steps, lambda each: each[0])
    for name in [*workflow.order(), *_only_started(workflow, last)]:
        found = [inputs for _, inputs in steps.get(name, [])]
        found += _inputs_that_count(workflow.nodes.get(name), last.get(name))
        names = [one for one in changed.names if any(one in each for each in found if each is not None)]
        if names:
            read[name] = f"input:{names[0]}"
        elif any(each is None or "*" in each for each in found):
            unknown[name] = "inputs-unknown"
    after: dict[str, str] = {}
    for name in (each for each in (*read, *unknown) if each in workflow.nodes):
        for other in workflow.downstream(name, with_fallbacks=True):
            after.setdefault(other, f"downstream-of:{name}")
    return {**{name: why for name, why in unknown.items() if name in last}, **after, **read}


def refuse_unknown_steps(executor: Executor, session: str, session_id: int, decisions: Iterable[Decision]) -> None:
    """Refuse to repeat what completed steps have done whose kind no wing that is here has."""
    if is_whole():
        return
    running = {each.task for each in decisions if each.action == "run" and not each.starts_over}
    for task, kind in of_other_kinds(executor, session_id):
        if task in running and kind not in kinds():
            raise ZrbStoreError(
                f"task {task} of session {session} has steps of kind {kind}, which this zrb-store cannot use again: "
                f"install one that can, or start the task over with --from {shlex.quote(task)}"
            )


def _inputs_that_count(node: Node | None, last: AttemptRecord | None) -> list[Sequence[str] | None]:
    """Return what a task's last attempt has read, as a list of none or one, in which None is not known."""
    if last and (last.in_effect or last.read is not None):
        return [last.read]
    is_open = node is not None and (node.condition is None or (last and (node.checks or node.fallbacks)))
    return [None] if is_open else []


def workflow_of_program(records: Iterable[AttemptRecord]) -> Workflow | None:
    """Return the tasks of a program that zrb does not run, by all attempts of its session; None if it has none yet."""
    nodes = in_order_of_start(record.task for record in records)
    return Workflow(nodes, nodes[-1].name) if nodes else None


def reruns_from(forced: str, records: Sequence[AttemptRecord], *, repeat_once: bool) -> Reruns:
    """Return what a run of a program gives back that runs again from a task on."""
    workflow = workflow_of_program(records)
    if workflow is None:
        raise TaskNotFound(f"there is no task {forced!r} to run again: the session has run none")
    return reruns(decide(workflow, records, forced), records, repeat_once=repeat_once)


_LATE = ("readiness", "fallback")
_SHOWN = 8  # tasks that a message names


@dataclass(frozen=True)
class Reruns:
    """What a run gives back as it starts, because it runs again; attempts and tasks each with the reason."""

    attempts: Sequence[tuple[int, str]] = ()  # the completed attempts whose tasks run again, the newest first
    starting_over: Mapping[str, str] = field(default_factory=dict)  # the tasks that do not keep their completed steps
    repeat_once: bool = False  # whether steps that were declared `once` may run again with them


def reruns(decisions: Sequence[Decision], records: Sequence[AttemptRecord], *, repeat_once: bool = False) -> Reruns:
    """Return what a run gives back as it starts.

    Attempts of checks, servers and fallbacks are not among it: they are given back only when these tasks start again,
    which a condition, or the success of another task, may prevent. A task that runs again only because its result is
    not restorable keeps its steps, and so does one that compares them and has read a changed input.
    """
    again = {
        each.task: each.reason
        for each in decisions
        if (each.action == "run" and each.reason not in _LATE) or each.starts_over
    }
    chosen = [
        (record.id, again[record.task]) for record in reversed(records) if record.in_effect and record.task in again
    ]
    over = {each.task: each.reason for each in decisions if each.starts_over}
    return Reruns(chosen, over, repeat_once)


def _forced_reasons(
    workflow: Workflow, reachable: set[str], forced: str, ran: Mapping[str, AttemptRecord]
) -> dict[str, str]:
    if forced not in workflow.nodes:
        if forced in ran and (outer := ran[forced].inside) is not None:
            raise InvalidArgument(f"no resume runs {forced} by itself: --from {outer} runs the task that starts it")
        names = workflow.order()
        every = f"; the tasks are {', '.join(names[:_SHOWN])}{', ...' if len(names) > _SHOWN else ''}"
        like = nearest(forced, names)
        if forced not in ran:
            raise TaskNotFound(f"there is no task {forced!r} here{like or every}")
        raise TaskNotFound(
            f"task {forced!r}, which the session ran, is no longer here: it was renamed or removed{every}{like}"
        )
    if forced not in reachable:
        owners = workflow.owners[forced]
        why = f"it is a fallback, and runs only if {' or '.join(owners)} fails" if owners else "nothing starts it"
        if workflow.nodes[forced].condition is False:
            why = "its condition never holds"
        raise InvalidArgument(f"no resume runs {forced}: {why}")
    after = dict.fromkeys(workflow.downstream(forced), f"downstream-of:{forced}")
    return {**after, forced: "forced"}


def refuse_program(executor: Executor, session: SessionRecord) -> None:
    """Refuse a session that no command of zrb started, and say what runs it instead."""
    if session.path or is_of_event(session):
        return
    known = runs.of_session(executor, session.id)
    if not known:
        raise TaskNotFound(f"session {session.name} was never run: it has queues, and nothing to resume")
    from zrb_store.inspect.advice import Start

    how = Start.of(executor, session, known).again(here=current_folder())
    raise TaskNotFound(f"session {session.name} was not started by a command of zrb: {how.sentence()}")


def is_of_event(session: SessionRecord) -> bool:
    """Whether the session handled an event of another one."""
    return session.parent is not None and "/" not in session.parent


def without_task(executor: Executor, session_id: int, decisions: Iterable[Decision]) -> list[str]:
    """Say which completed tasks are not in the workflow any more, and what they left in queues."""
    lines = []
    for decision in decisions:
        if decision.reason == "gone":
            from zrb_store.queries.show import live_values_of

            left = live_values_of(executor, session_id, decision.task).items()
            values = [f"{count} value{'s' * (count > 1)} in queue {name}" for name, count in left]
            lines.append(
                f"task {decision.task} has completed, and is no longer in the workflow: "
                f"it left {', '.join(values) or 'no values'}"
            )
    return lines


def commands_to_end(executor: Executor, session: SessionRecord, url: StoreUrl) -> list[str]:
    """Say which commands live of attempts that were cut off, which a resume ends first."""
    left = left_commands(executor, session, url)
    ends = {True: "a resume ends it first", False: "a resume is refused until it has ended"}
    return [f"{each.text()} has outlived its run: {ends[each.may_be_ended]}" for each in left]


def changed_inputs(executor: Executor, session_id: int, names: Collection[str]) -> Changed | None:
    """Return what `decide` needs to know of inputs that a resume changes; None if it changes none."""
    return Changed(names, inputs_read(executor, session_id)) if names else None


def plan(
    executor: Executor,
    session: SessionRecord,
    workflow: Workflow,
    options: ResumeOptions,
    changed: Collection[str] = (),
) -> list[Decision]:
    """Decide what a resume of a session runs and skips, as `decide` does; it changes inputs of these names."""
    refuse_live(executor, session, now_micros(executor))
    known = attempts.of_session(executor, session.id)
    read = changed_inputs(executor, session.id, changed)
    decisions = decide(workflow, known, options.forced, finished=session.is_finished, changed=read)
    chosen = reruns(decisions, known)
    if not chosen.starting_over and not count_done(executor, session.id):
        return decisions  # no step stands
    refuse_unknown_steps(executor, session.name, session.id, decisions)
    # A run first gives back what has not completed. A step that comes back with it does not stand.
    lost = of_attempts(executor, [record.id for record in attempts.unfinished(executor, session.id)])
    for task in () if options.repeat_once else chosen.starting_over:
        refuse_repeating(executor, session.name, session.id, task, without=lost)
    given_back = of_attempts(executor, [attempt_id for attempt_id, _ in chosen.attempts])
    done = count_done(executor, session.id, without=lost | given_back)
    # Checks, and servers and fallbacks that had completed, start over when their turn comes.
    late = {record.task for record in known if record.kind == "check" or record.in_effect}
    over = {decision.task for decision in decisions if decision.reason in _LATE and decision.action == "run"} & late
    over.update(chosen.starting_over)
    return [replace(each, steps=0 if each.task in over else done.get(each.task, 0)) for each in decisions]
