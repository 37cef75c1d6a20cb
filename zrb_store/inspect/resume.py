"""What `resume --plan` shows: what a resume would run and skip, and how many steps stand."""

from __future__ import annotations

from collections.abc import Iterable

from zrb_store.db.transaction import Executor
from zrb_store.errors import TaskNotFound
from zrb_store.inspect.alert import how_to_start_again
from zrb_store.project import current_folder
from zrb_store.queries import attempts, runs
from zrb_store.queries.clock import now_micros
from zrb_store.queries.lease import refuse_live
from zrb_store.queries.resting_steps import of_attempts
from zrb_store.queries.show import live_values_of
from zrb_store.queries.standing_steps import count_done, refuse_repeating
from zrb_store.records import SessionRecord
from zrb_store.resume_plan import Decision, Workflow, decide, reruns, with_steps


def refuse_program(executor: Executor, session: SessionRecord) -> None:
    """Refuse a session that no command of zrb started, and say what runs it instead.

    Raises:
        TaskNotFound: A program started it, or nothing did.
    """
    if session.path or is_of_event(session):
        return
    known = runs.of_session(executor, session.id)
    if not known:
        raise TaskNotFound(f"session {session.name} was never run: it has queues, and nothing to resume")
    command = how_to_start_again(session, known, current_folder())
    how = f"`{command}` goes on with it" if command else "start its program again"
    raise TaskNotFound(f"session {session.name} was not started by a command of zrb: {how}")


def is_of_event(session: SessionRecord) -> bool:
    """Whether the session handled an event of another one."""
    return session.parent is not None and "/" not in session.parent


def without_task(executor: Executor, session_id: int, decisions: Iterable[Decision]) -> list[str]:
    """Say which completed tasks are not in the workflow any more, and what they left in queues."""
    lines = []
    for decision in decisions:
        if decision.reason == "gone":
            left = live_values_of(executor, session_id, decision.task).items()
            values = [f"{count} value{'s' * (count > 1)} in queue {name}" for name, count in left]
            lines.append(
                f"task {decision.task} has completed, and is not in the workflow as it is declared now: "
                f"it left {', '.join(values) or 'no values'}"
            )
    return lines


def plan(
    executor: Executor, session: SessionRecord, workflow: Workflow, forced: str | None, *, repeat_once: bool = False
) -> list[Decision]:
    """Decide what a resume of a session runs and skips.

    Args:
        workflow: Its tasks.
        forced: A task that runs again with everything downstream of it.
        repeat_once: Whether completed steps that were declared `once` may run again with them.

    Raises:
        SessionBusy: A process runs the session: what is left changes from moment to moment.
        TaskNotFound: There is no task of the name `forced`.
        InvalidArgument: No resume starts it, or a step would run again that may not.
    """
    refuse_live(executor, session, now_micros(executor))
    known = attempts.of_session(executor, session.id)
    decisions = decide(workflow, known, forced, finished=session.is_finished)
    chosen = reruns(decisions, known)
    # A run first gives back what has not completed. A step that comes back with it does not stand.
    lost = of_attempts(executor, [record.id for record in attempts.unfinished(executor, session.id)])
    if not repeat_once:
        refuse_repeating(executor, session.name, session.id, chosen.starting_over, without=lost)
    given_back = of_attempts(executor, [attempt_id for attempt_id, _ in chosen.attempts])
    done = count_done(executor, session.id, without=lost | given_back)
    return with_steps(decisions, known, chosen.starting_over, done)
