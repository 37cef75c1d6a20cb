"""What `last` shows: the newest result of a task, of any session."""

from __future__ import annotations

from datetime import timedelta

from zrb_store.db.engine import Database
from zrb_store.errors import ValueNotFound
from zrb_store.inspect.ages import rounded
from zrb_store.inspect.stored_value import StoredValue, result_of
from zrb_store.project import Projects, current_project
from zrb_store.queries import attempts, sessions
from zrb_store.queries.clock import now_micros
from zrb_store.queries.last import newest_result


def last_result(
    database: Database,
    task: str,
    *,
    max_age: timedelta | None = None,
    any_project: bool = False,
    of: str | None = None,
) -> StoredValue:
    """Return the newest result of a task in a completed session of the current project.

    Args:
        database: Where to look.
        task: Name of the task, which need not be the main task of its session.
        max_age: Refuse a result that is older.
        any_project: Look in every project.
        of: Only sessions of this main task; or of this script, module or program, by its path or the last part of it.

    Raises:
        ValueNotFound: There is no result, or the newest one is too old.
    """
    project = None if any_project else current_project()
    with database.snapshot() as transaction:
        found = newest_result(transaction, task, None if project is None else Projects((project,)), of)
        where = "" if project is None else f" in project {project} (--any-project looks in all)"
        if found is None:
            sessions_of = "no completed session" if of is None else f"no completed session of {of!r}"
            raise ValueNotFound(f"{sessions_of} has a result of task {task!r}{where}")
        name, attempt_id = found
        attempt = attempts.by_id(transaction, attempt_id)
        session = sessions.get(transaction, name)
        if attempt is None or attempt.ended_at is None:
            raise ValueNotFound(f"the newest result of task {task!r} was deleted meanwhile")
        age = now_micros(transaction) - attempt.ended_at
        if max_age is not None and age > (most := max_age // timedelta(microseconds=1)):
            raise ValueNotFound(
                f"the newest result of task {task!r}{where} is of session {name}, "
                f"{rounded(age)} old, older than {rounded(most)}"
            )
        return result_of(transaction, session, attempt)
