"""`Store`, an opened database, and `Session`, one workflow execution of a unique name in it."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from zrb_store import codec, observe, settings
from zrb_store.attempt import AttemptReference, referenced_attempt
from zrb_store.codec.arguments import without_secrets
from zrb_store.db.engine import Database
from zrb_store.db.location import shown_url, store_url
from zrb_store.db.schema import open_database
from zrb_store.db.transaction import Executor
from zrb_store.errors import InvalidArgument, ZrbStoreError
from zrb_store.masking import remember, remember_command
from zrb_store.names import check_name, check_session_name
from zrb_store.process import Projects, current_script
from zrb_store.queries import runs, sessions
from zrb_store.queries.clock import now_micros
from zrb_store.queries.lease import status_of
from zrb_store.records import AttemptRecord, SessionRecord
from zrb_store.runtime import notify
from zrb_store.xcom import Xcoms

if TYPE_CHECKING:
    from zrb_store.inspect.resume import Reruns
    from zrb_store.run import Run, RunSpec


class Session:
    """The durable identity of one workflow execution. Creating this object neither reads nor writes the database.

    Attributes:
        database: The store's database.
        name: Its unique name.
        xcom: Its queues by name, open to every process at any time.
    """

    def __init__(
        self, database: Database, name: str, max_value: int, parent_attempt: AttemptReference | None = None
    ) -> None:
        self.database = database
        self.name = check_session_name(name)
        self.xcom = Xcoms(database, name, max_value, parent_attempt=parent_attempt)

    def __repr__(self) -> str:
        return f"<Session {self.name}>"

    def record(self) -> SessionRecord:
        """Read what the store knows of the session.

        Raises:
            SessionNotFound: There is no such session yet.
        """
        return sessions.get(self.database, self.name)

    @property
    def status(self) -> str:
        """`open`, `running`, `stale`, `waiting`, `completed`, `failed` or `interrupted`."""
        database, record = self.database, self.record()
        return status_of(database, record.status, runs.last(database, record.id), now_micros(database))

    def run(
        self,
        *,
        task: str | None = None,
        inputs: Mapping[str, Any] | None = None,
        project: str | None = None,
        again: bool = False,
        from_task: str | None = None,
        repeat_once: bool = False,
        on_lost: Callable[[ZrbStoreError], None] | None = None,
    ) -> Run:
        """Prepare a run of this session's tasks: a context manager, or an object with `start` and `end`.

        Args:
            task: Name of the main task; later runs must have the same one. By default the absolute path of
                the script that this process runs: a script that may be moved between two runs needs a name.
                `python -c` and `-m`, a REPL, a notebook, and an installed program such as pytest have none.
            inputs: The same as in earlier runs; an input that cannot be stored always differs. Passwords of URLs are
                masked; leave other secrets out.
            project: Folder of the project, the same as in earlier runs; by default none. It is not the working
                directory, which differs between cron and a terminal.
            again: Start a new run although the session has completed, as a worker that runs every night does. Tasks
                that have completed stay completed: give each piece of work a name of its own.
            from_task: Run this task again, and each that first began after it, even if the session has completed. On
                start they are given back with their steps, as by `resume --from`.
            repeat_once: Whether that may run completed `once` steps again; otherwise they are refused.
            on_lost: Called with the error, in another thread, as soon as it is known that the run must end: another
                process has taken the session over, or the store was replaced.

        Raises:
            InvalidArgument: No task can have this name; on start: a completed `once` step would run again.
            TaskNotFound: On start: the session has not run the task of `from_task`.
            SessionBusy: On start: another process runs it.
            SessionCompleted: On start: there is nothing left to run.
            SessionWaiting: On start: no wait of it is over.
            InputsDiffer: On start: it belongs to another project, another task or script, or other inputs. Or `resume`
                has started this program to run another session.
            LeaseLost: On start: another process is removing it.
        """
        from zrb_store.run import RunSpec

        if task is not None:
            check_name(task, "task")
        asked = settings.resumes(self.name)
        if asked is not None:
            from_task, repeat_once = asked.from_task or from_task, asked.repeat_once or repeat_once
        spec = RunSpec(
            task=current_script() if task is None else task,
            inputs=None if inputs is None else without_secrets(inputs),
            project=project,
            command=list(sys.argv),
            again=again or from_task is not None,
        )
        return self.prepare(spec, on_lost, from_task=from_task, repeat_once=repeat_once)

    def prepare(
        self,
        spec: RunSpec,
        on_lost: Callable[[ZrbStoreError], None] | None = None,
        *,
        from_task: str | None = None,
        repeat_once: bool = False,
    ) -> Run:
        """Prepare a run, as `run` does, that is for what this says."""
        from zrb_store.run import Run

        remember_command(spec.command)
        choose = None
        if from_task is not None:
            from zrb_store.inspect.resume import reruns_from

            def choose(_: Executor, records: list[AttemptRecord]) -> Reruns:
                return reruns_from(from_task, records, repeat_once=repeat_once)

        starter = self.xcom.parent_attempt
        if spec.parent is None and starter is not None:
            spec = replace(spec, parent=starter.full_name)
        return Run(Xcoms(self.database, self.name, self.xcom.max_value), spec, on_lost, choose)


def open_store(location: str | os.PathLike[str] | None = None, *, read_only: bool = False) -> Store:
    """Open a store; create it if it does not exist.

    Args:
        location: Path of a SQLite file, or a SQLAlchemy URL (`sqlite:///...`, `postgresql://...`);
            by default `ZRB_STORE_URL`, otherwise `~/.zrb/xcom.db`.
        read_only: Create, upgrade and write nothing.

    Raises:
        StoreMissing: `read_only`, and there is no store.
        StoreUnavailable: The database cannot be reached or used.
        SchemaBehind: It must be upgraded by `zrb-store db upgrade` first.
        SchemaAhead: It was made by a newer zrb-store.
        InvalidArgument: The location or a setting is malformed.
    """
    return Store(location, read_only=read_only)


class Store:
    """One opened database; a context manager that closes it.

    Attributes:
        url: Where it is, with its password masked.
        max_value: The largest encoded value in bytes.
        parent_attempt: The attempt of another process that started this one (`ZRB_STORE_ATTEMPT`), or None.
    """

    def __init__(self, location: str | os.PathLike[str] | None = None, *, read_only: bool = False) -> None:
        url = store_url(location)
        self.url = shown_url(url)
        self.max_value = settings.size("ZRB_STORE_MAX_VALUE")
        settings.retention()  # a mistake in these is reported now, not at the end of a run
        settings.size("ZRB_STORE_OUTPUT_LIMIT")
        try:
            self.database = open_database(url, read_only=read_only, durability=settings.choice("ZRB_STORE_DURABILITY"))
        except ZrbStoreError as error:
            # The user of a reader sees the error, and a parent process loses the same store.
            if not read_only and not os.environ.get("ZRB_STORE_ATTEMPT") and notify.is_wanted():
                notify.notifier().notify_unavailable(error, url)
            raise
        if notify.is_wanted():
            self.database.on_death = _notify_dead_values
        self.database.observer = observe.observer()
        self.parent_attempt: AttemptReference | None = None
        token = os.environ.get("ZRB_STORE_ATTEMPT")
        with contextlib.suppress(ValueError, TypeError):  # somebody else has set it
            remember(*json.loads(os.environ.get(settings.SECRETS, "[]")))
        try:
            if token and not read_only and store_url() == self.database.url:
                self.parent_attempt = referenced_attempt(self.database, token)
        except BaseException:
            self.close()
            raise

    def session(self, name: str) -> Session:
        """Return the session of that name. Nothing is read or created yet.

        Raises:
            InvalidArgument: No session can have this name.
        """
        return Session(self.database, name, self.max_value, self.parent_attempt)

    def sessions(
        self,
        status: str | None = None,
        task: str | None = None,
        since: timedelta | None = None,
        limit: int | None = None,
        project: str | None = None,
    ) -> list[SessionRecord]:
        """Return the sessions that fit every given condition, each with its status as shown.

        The one that started or ended last is the first; without a run, its creation counts.

        Args:
            status: As that of `Session`.
            task: Name of the main task.
            since: Only sessions that started or ended, or were created, within this time.
            project: Folder of the project.

        Raises:
            InvalidArgument: There is no such status, or the limit is negative.
        """
        from zrb_store.inspect.list import STATUSES, list_sessions  # only now: most programs do not list

        if status is not None and status not in STATUSES:
            raise InvalidArgument(f"{status!r} is not a status: use {', '.join(STATUSES)}")
        if limit is not None and limit < 0:
            raise InvalidArgument(f"the limit {limit} is less than 0")
        statuses = None if status is None else [status]
        projects = None if project is None else Projects((project,))
        found = list_sessions(self.database, statuses=statuses, task=task, projects=projects, since=since, limit=limit)
        return [summary.session for summary in found]

    def last(
        self, task: str, *, max_age: timedelta | None = None, any_project: bool = False, of: str | None = None
    ) -> Any:
        """Return the newest result of a task in a completed session of the current project.

        Args:
            task: Name of the task, main or not.
            any_project: Look in every project. Sessions without a project are always included.
            of: Only sessions of this main task; or of this script, module or program, by its path or its
                last part.

        Raises:
            ValueNotFound: There is none, or the newest is too old.
        """
        from zrb_store.inspect.get import last_result

        found = last_result(self.database, task, max_age=max_age, any_project=any_project, of=of)
        return codec.decode(found.record.data)

    def fork(
        self,
        session: str,
        *,
        from_task: str,
        from_step: str | None = None,
        name: str | None = None,
        repeat_once: bool = False,
    ) -> Session:
        """Copy a session as it was before a task or one of its steps first started, for a run from there.

        Everything not copied is done again.

        Args:
            from_task: Name of the task. None of its steps are copied, unless `from_step` is given.
            from_step: Name of a step of the task, or its id, TASK/NUMBER.
            name: Name of the new session; by default the first free one of `SESSION-fork`, `SESSION-fork-2`...
            repeat_once: Whether completed steps declared `once` may run again in the copy.

        Raises:
            SessionNotFound: There is no such session.
            TaskNotFound: The task, or the step, has not started in it.
            InvalidArgument: No session can have the new name; or a completed `once` step would run again.
            ZrbStoreError: There is a session of the new name.
        """
        from zrb_store.operations.sessions import fork

        forked = fork(self.database, session, from_task, name, from_step=from_step, repeat_once=repeat_once)
        return self.session(forked)

    def close(self) -> None:
        """Close the database."""
        self.database.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Store {self.url}>"


def _notify_dead_values(database: Database, died: Sequence[tuple[int, int]]) -> None:
    notify.notifier().notify_dead_values(database, died)
