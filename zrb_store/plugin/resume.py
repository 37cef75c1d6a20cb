"""`zrb xcom resume`: runs what a stored session has left, with the inputs it was started with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zrb_store.plugin import attach, compat
from zrb_store.plugin.refusal import refusing

if TYPE_CHECKING:
    from zrb_store.cli.resume import Request
    from zrb_store.plan import Step
    from zrb_store.records import SessionRecord
    from zrb_store.store import Store


def dispatch(args: list[str], program: str) -> int:
    """Run the command with the arguments as typed; returns the exit code."""
    from zrb_store.cli import resume as command
    from zrb_store.cli import run

    command.plan_of = plan_of
    command.request = None
    code = run(args, program)
    if code == 0 and command.request is not None:
        # Only now, when click is done: a task's exceptions and signals are zrb's to report.
        with refusing:
            _resume(command.request)
    return code


def plan_of(store: Store, record: SessionRecord, forced: str | None) -> list[Step]:
    """What a resume of this session runs and skips. Nothing is run or written.

    Raises:
        TaskNotFound: The main task, or the task to run again, is not here.
        InvalidName: No resume starts the task to run again.
        InputsDiffer: The session is of another project, or of another task of this path.
        SessionBusy: A process runs it: what is left changes from moment to moment.
    """
    from zrb_store import lease
    from zrb_store.plan import decide
    from zrb_store.plugin.graph import Graph
    from zrb_store.project import current_project
    from zrb_store.purpose import Purpose, refuse_other
    from zrb_store.queries import attempts, values

    project = current_project(compat.CFG.INIT_FILE_NAME)
    refuse_other(record, Purpose(project=project))
    task = _main_task(record)
    session = compat.Session(shared_ctx=compat.SharedContext(args=[]), root_group=compat.cli)
    session.set_main_task(task)
    graph = Graph(session)
    refuse_other(record, Purpose(task=graph.name(task), project=project))
    with store.database.snapshot() as transaction:
        lease.refuse_live(transaction, record, values.moment(transaction))
        known = attempts.of_session(transaction, record.id)
    return decide(graph.workflow(task), known, forced, finished=record.is_finished)


def _resume(request: Request) -> None:
    from zrb_store import codec
    from zrb_store.plugin.inputs import inputs_to_resume

    task = _main_task(request.session)
    stored = request.session.inputs
    inputs = inputs_to_resume(task, codec.decode(stored) if stored else {}, request.inputs)
    session = compat.Session(shared_ctx=compat.SharedContext(args=[]), root_group=compat.cli)
    setattr(session, attach.NAME, request.session.name)
    if request.forced is not None:
        setattr(session, attach.FROM, request.forced)
    result = task.run(session, kwargs=inputs)
    if compat.stock_exit_is_interrupt(session, task):
        raise KeyboardInterrupt
    if result is not None:
        print(result)


def _main_task(record: SessionRecord) -> Any:
    from zrb_store.errors import TaskNotFound
    from zrb_store.names import nearest

    path = " ".join(record.path)
    if not path and record.parent and "/" not in record.parent:
        raise TaskNotFound(
            f"session {record.name} is of an event of session {record.parent}, and not started by itself: "
            "push the event again"
        )
    if not path:
        raise TaskNotFound(
            f"session {record.name} was not started by a command of zrb: "
            f"start its program again with ZRB_STORE_SESSION={record.name}"
        )
    task = compat.find_task(record.path)
    if task is None:
        known = [" ".join(words) for words in compat.task_paths()]
        raise TaskNotFound(
            f"the main task of session {record.name}, `{compat.cli.name} {path}`, is not here{nearest(path, known)} "
            f"(its project is {record.project})"
        )
    return task
