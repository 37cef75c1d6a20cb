"""`zrb xcom resume`: plan and run the remaining tasks of a stored session (`ZrbResumer`)."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from zrb_store.errors import TaskNotFound
from zrb_store.inspect.resume import (
    Decision,
    ResumeOptions,
    commands_to_end,
    is_of_event,
    plan,
    refuse_program,
    without_task,
)
from zrb_store.names import nearest
from zrb_store.plugin import compat
from zrb_store.plugin.compat import AnyTask
from zrb_store.plugin.graph import Graph, has_changed
from zrb_store.plugin.inputs import given_again
from zrb_store.plugin.inputs_resumed import ResumedInputs
from zrb_store.plugin.messages import warn
from zrb_store.process import current_project
from zrb_store.queries import attempts
from zrb_store.queries.dependent_steps import steps_to_resume
from zrb_store.queries.steps import StepRecord
from zrb_store.queries.survived import survived_by
from zrb_store.records import SessionRecord
from zrb_store.run import RunSpec
from zrb_store.store import Store
from zrb_store.wings import load, planners_of

PlanSteps: TypeAlias = Callable[
    [Decision, Sequence[StepRecord], AnyTask | None, Mapping[str, Any], Collection[int]], tuple[Decision, list[str]]
]
"""Adds to the decision about a task what becomes of its known steps, with notes for a user.

It gets the task if it is declared, its inputs as far as they are known, and the ids of the failures that it survived.
"""


@dataclass(frozen=True)
class ResumeRequest:
    """A resume that was asked for."""

    session: SessionRecord
    graph: Graph
    options: ResumeOptions
    runs: bool = True  # whether anything is left to run
    secrets: frozenset[str] = frozenset()  # names of the secret inputs that an earlier run was given
    changed_inputs: frozenset[str] = frozenset()  # names of those that are declared in another way now
    set_inputs: Mapping[str, tuple[str, str]] = field(default_factory=dict)  # those that change, as `RunSpec` has them

    def added_to(self, spec: RunSpec) -> RunSpec:
        """Return what a run is for, which this resume starts."""
        return replace(
            spec,
            changed_inputs=self.changed_inputs,
            set_inputs=self.set_inputs,
            again=self.options.forced is not None or bool(self.set_inputs),
            takes_over=self.options.takes_over,
        )


class ZrbResumer:
    """One resume: its plan and its run. The command `resume` gets it as click's `ctx.obj`."""

    changed: Mapping[str, tuple[str, str]] = {}  # the inputs that `plan` found to change, with their texts
    _is_accepted = False
    _task: AnyTask
    _inputs: ResumedInputs
    _zrb_session: compat.Session
    _request: ResumeRequest

    @functools.cached_property
    def project(self) -> str:
        """The project of the working directory."""
        return current_project(compat.CFG.INIT_FILE_NAME)

    def plan(self, store: Store, session: SessionRecord, options: ResumeOptions) -> list[Decision]:
        """Decide what a resume of the session runs and skips."""
        refuse_program(store.database, session)
        graph = self.declared(session, takes_over=options.takes_over)
        self._inputs = ResumedInputs(self._task, session, options, asking=False)
        self.changed = self._inputs.set
        decisions = plan(store.database, session, graph.workflow(self._task), options, self.changed)
        runs = any(decision.action == "run" for decision in decisions)
        self._request = ResumeRequest(session, graph, options, runs, given_again(session))
        return decisions

    def explain(self, store: Store, decisions: list[Decision]) -> tuple[list[Decision], list[str]]:
        """Add what becomes of steps, where wings know it, and return what else a user should know."""
        request, session = self._request, self._request.session
        asks = [
            f"secret input {one.name} is asked for, unless it is given: --{one.name} VALUE"
            for one in self._task.inputs
            if request.runs and compat.is_secret(one) and one.name not in request.options.inputs
            if one.name in request.secrets or one.always_prompt
        ]
        tasks = {name: task for task, name in request.graph.names.items()}
        skipped = {one.task for one in decisions if one.task in tasks and one.action == "skip"}
        with store.database.snapshot() as transaction:
            notes = commands_to_end(transaction, session, store.database.url)
            notes += without_task(transaction, session.id, decisions)
            notes += [
                f"task {one.task} has changed since {one.name} completed, and is skipped: --from {one.task} runs it"
                for one in attempts.of_session(transaction, session.id)
                if one.in_effect and one.task in skipped and has_changed(tasks[one.task], one.code)
            ]
            running = [decision.task for decision in decisions if decision.action == "run"]
            known = {task: steps_to_resume(transaction, session.id, task) for task in running}
            survived = {task: survived_by(transaction, session.id, task) for task in running if known[task]}
        found, more = list[Decision](), list[str]()
        for decision in decisions:
            steps = known.get(decision.task, ())
            for place in planners_of(one.kind for one in steps):
                plan_steps: PlanSteps = load(place)
                of_task = tasks.get(decision.task), self._inputs.known, survived[decision.task]
                decision, said = plan_steps(decision, steps, *of_task)
                more += said
            found.append(decision)
        return found, [*self._inputs.added, *self._inputs.kept, *asks, *notes, *more]

    def declared(self, session: SessionRecord, *, takes_over: bool = False) -> Graph:
        """Find the main task of a session, make a zrb session for it, and return its tasks."""
        RunSpec(project=self.project, takes_over=takes_over).refuse_other(session)
        self._task = _main_task(session)
        # With the environment: the graph makes the contexts of the tasks, and zrb copies it into each when it is made.
        shared_ctx = compat.SharedContext(args=[], env=dict(os.environ))
        self._zrb_session = compat.Session(shared_ctx=shared_ctx, root_group=compat.cli)
        self._zrb_session.set_main_task(self._task)
        graph = Graph(self._zrb_session)
        RunSpec(task=graph.task_name(self._task), project=self.project, takes_over=takes_over).refuse_other(session)
        return graph

    def accept(self) -> None:
        """Note that what was planned is to be run. `run` does it once click is done."""
        self._is_accepted = True

    def run(self) -> None:
        """Run what was accepted, if anything was. Exceptions and signals of its tasks end the process as in stock zrb.

        The decision of `plan` is taken again when the run has the lease.
        """
        if not self._is_accepted:
            return
        request = self._request
        inputs = ResumedInputs(self._task, request.session, request.options, asking=request.runs)
        for line in (*inputs.added, *inputs.kept):
            warn(line)
        changed = frozenset({*inputs.changed, *inputs.set})
        setattr(self._zrb_session, compat.RESUMED, replace(request, changed_inputs=changed, set_inputs=inputs.set))
        # zrb takes the inputs that a session has, and parses no others.
        self._zrb_session.shared_ctx.input.update(inputs.values)
        result = self._task.run(self._zrb_session, str_kwargs=inputs.texts)
        if compat.stock_exit_is_interrupt(self._zrb_session, self._task):
            raise KeyboardInterrupt
        if result is not None:
            print(result)


def _main_task(session: SessionRecord) -> AnyTask:
    path = " ".join(session.path)
    # Also if its task is a command: without its parent, its results and its mapped queues would go nowhere.
    if is_of_event(session):
        raise TaskNotFound(
            f"session {session.name} handled an event of session {session.parent}, and events are handled once: "
            "push the event again to repeat it"
        )
    task = compat.find_task(session.path)
    if task is None:
        known = [" ".join(words) for words in compat.task_paths()]
        raise TaskNotFound(
            f"the main task of session {session.name}, `{compat.cli.name} {path}`, is not here{nearest(path, known)} "
            f"(its project is {session.project})"
        )
    return task
