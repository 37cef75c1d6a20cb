"""`zrb xcom resume`: plan and run what a stored session has left to do, with its stored inputs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from zrb_store.errors import TaskNotFound
from zrb_store.inspect.resume import is_of_event, plan, refuse_program, without_task
from zrb_store.names import nearest
from zrb_store.plugin import compat, zrb_attributes
from zrb_store.plugin.error_exit import ErrorExit
from zrb_store.plugin.graph import Graph
from zrb_store.plugin.inputs import given_again
from zrb_store.plugin.messages import warn
from zrb_store.plugin.resumed_inputs import inputs_to_resume
from zrb_store.project import current_project
from zrb_store.records import SessionRecord
from zrb_store.resume_plan import Decision
from zrb_store.run import RunSpec
from zrb_store.store import Store


@dataclass(frozen=True)
class ResumeRequest:
    """A resume that was asked for.

    Attributes:
        session: The stored session.
        forced: Task that runs again with everything downstream of it.
        inputs: Inputs that are not stored, by name.
        graph: The session's tasks.
        repeat_once: Whether completed steps that were declared `once` may run again with `forced`.
        runs: Whether anything is left to run.
        secrets: Names of the secret inputs that an earlier run was given.
        changed_inputs: Names of the inputs that are not the stored ones, since they are declared in another way now.
    """

    session: SessionRecord
    forced: str | None
    inputs: dict[str, str]
    graph: Graph
    repeat_once: bool = False
    runs: bool = True
    secrets: frozenset[str] = frozenset()
    changed_inputs: frozenset[str] = frozenset()


class Resumer:
    """One resume: its plan and its run. The command `resume` gets it as click's `ctx.obj`."""

    def __init__(self, error_exit: ErrorExit) -> None:
        self._error_exit = error_exit
        self._task: Any = None
        self._zrb_session: Any = None
        self._graph: Graph
        self._runs = True
        self._request: ResumeRequest | None = None

    def plan(
        self,
        store: Store,
        session: SessionRecord,
        forced: str | None,
        inputs: Mapping[str, str],
        *,
        repeat_once: bool = False,
    ) -> tuple[list[Decision], list[str]]:
        """Decide what a resume of the session runs and skips. Nothing is run or written.

        Returns:
            The decisions, and what else a user should know, in one line each.

        Raises:
            TaskNotFound: The main task, or the task to run again, is not here.
            InvalidArgument: No resume starts the task to run again, or a step would run again that may not.
            InputsDiffer: The session is of another project, or of another task with this path, or the task declares
                other inputs now.
            SessionBusy: A process runs the session: what is left changes from moment to moment.
        """
        project = current_project(compat.CFG.INIT_FILE_NAME)
        RunSpec(project=project).refuse_other(session)
        refuse_program(store.database, session)
        self._task = _main_task(session)
        # With the environment: the graph makes the contexts of the tasks, and zrb copies it into each when it is made.
        shared_ctx = compat.SharedContext(args=[], env=dict(os.environ))
        self._zrb_session = compat.Session(shared_ctx=shared_ctx, root_group=compat.cli)
        self._zrb_session.set_main_task(self._task)
        self._graph = Graph(self._zrb_session)
        RunSpec(task=self._graph.task_name(self._task), project=project).refuse_other(session)
        workflow = self._graph.workflow(self._task)
        with store.database.snapshot() as transaction:
            decisions = plan(transaction, session, workflow, forced, repeat_once=repeat_once)
            notes = without_task(transaction, session.id, decisions)
        self._runs = any(decision.action == "run" for decision in decisions)
        return decisions, [*inputs_to_resume(self._task, session, inputs, asking=False).added, *notes]

    def accept(
        self, session: SessionRecord, forced: str | None, inputs: dict[str, str], *, repeat_once: bool = False
    ) -> None:
        """Remember what is to be resumed. `run` does it once click is done.

        Args:
            session: The session, which was planned.
            forced: Task that runs again with everything downstream of it.
            inputs: Inputs that are not stored (secret ones, or made of a secret one), by name.
            repeat_once: Whether completed steps that were declared `once` may run again with them.
        """
        self._request = ResumeRequest(
            session, forced, inputs, self._graph, repeat_once, self._runs, given_again(session)
        )

    def run(self) -> None:
        """Run what was accepted, if anything was. Exceptions and signals of its tasks end the process as in stock zrb.

        The decision of `plan` is taken again when the run has the lease.
        """
        if self._request is None:
            return
        with self._error_exit:
            self._run(self._request)

    def _run(self, request: ResumeRequest) -> None:
        inputs = inputs_to_resume(self._task, request.session, request.inputs, asking=request.runs)
        for line in inputs.added:
            warn(line)
        request = replace(request, changed_inputs=frozenset(inputs.changed))
        setattr(self._zrb_session, zrb_attributes.RESUMED, request)
        # zrb takes the inputs that a session has, and parses no others.
        self._zrb_session.shared_ctx.input.update(inputs.values)
        result = self._task.run(self._zrb_session, str_kwargs=inputs.texts)
        if compat.stock_exit_is_interrupt(self._zrb_session, self._task):
            raise KeyboardInterrupt
        if result is not None:
            print(result)


def _main_task(session: SessionRecord) -> Any:
    path = " ".join(session.path)
    # Also if its task is a command: without its parent, its results and its mapped queues would go nowhere.
    if is_of_event(session):
        raise TaskNotFound(
            f"session {session.name} handled an event of session {session.parent}, and an event is handled once: "
            "to have it handled again, push it again"
        )
    task = compat.find_task(session.path)
    if task is None:
        known = [" ".join(words) for words in compat.task_paths()]
        raise TaskNotFound(
            f"the main task of session {session.name}, `{compat.cli.name} {path}`, is not here{nearest(path, known)} "
            f"(its project is {session.project})"
        )
    return task
