"""A session: the durable identity of one workflow execution, by unique name."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from zrb_store.attempt import AttemptReference
from zrb_store.codec.inputs import without_secrets
from zrb_store.db.engine import Database
from zrb_store.errors import ZrbStoreError
from zrb_store.names import check_name, check_session_name
from zrb_store.project import current_script
from zrb_store.queries import runs, sessions
from zrb_store.queries.clock import now_micros
from zrb_store.queries.lease import status_of
from zrb_store.records import SessionRecord
from zrb_store.run import Run, RunSpec
from zrb_store.safe_text import remember_command
from zrb_store.xcom import Xcoms


class Session:
    """A session of a store. Creating this object neither reads nor writes the database.

    Attributes:
        database: The store's database.
        name: Its unique name.
        xcom: Its queues by name, open to every process at any time.
    """

    def __init__(
        self, database: Database, name: str, max_value: int, parent_attempt: AttemptReference | None = None
    ) -> None:
        """Name a session.

        Args:
            database: The store's database.
            name: The session's name.
            max_value: The largest encoded value in bytes.
            parent_attempt: The attempt of another process that started this one.

        Raises:
            InvalidArgument: No session can have this name.
        """
        self.database = database
        self.name = check_session_name(name)
        self.xcom = Xcoms(database, name, max_value, parent_attempt=parent_attempt)
        self._max_value = max_value
        self._parent_attempt = parent_attempt

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
        """`open`, `running`, `stale`, `completed`, `failed` or `interrupted`.

        Raises:
            SessionNotFound: There is no such session yet.
        """
        database, record = self.database, self.record()
        return status_of(database, record, runs.last(database, record.id), now_micros(database))

    def run(
        self,
        *,
        task: str | None = None,
        path: Sequence[str] = (),
        inputs: Mapping[str, Any] | None = None,
        project: str | None = None,
        parent: str | None = None,
        origin: str = "library",
        command: Sequence[str] | None = None,
        zrb_version: str | None = None,
        again: bool = False,
        on_lost: Callable[[ZrbStoreError], None] | None = None,
    ) -> Run:
        """Prepare a run of this session's tasks: a context manager, or an object with `start` and `end`.

        Args:
            task: Name of the main task; later runs must have the same one. By default the absolute path of
                the script that this process runs, so that a script which may be moved between two runs needs a name.
                `python -c` and `-m`, a REPL, a notebook, and an installed program such as pytest have none.
            path: How zrb's command line names the task.
            inputs: Must be those of earlier runs; one that cannot be stored is never the same. Passwords of URLs are
                masked; leave other secrets out.
            project: Folder of the project, which must be that of earlier runs; by default none. It is not the working
                directory, which differs between cron and a terminal.
            parent: SESSION or SESSION/TASK#N that started this session.
            origin: `cli`, `web` or `library`.
            command: The command line, stored with its secrets masked; by default that of this process.
            zrb_version: Version of zrb, if zrb runs it.
            again: Start a new run although the session has completed, as a worker that runs every night does. Tasks
                that have completed stay completed: give each piece of work a name of its own.
            on_lost: Called with the error, in another thread, as soon as it is known that the run must end: another
                process has taken the session over, or the store was replaced.

        Returns:
            The run, which has not started yet.

        Raises:
            InvalidArgument: No task can have this name.
            SessionBusy: On start: another process runs it.
            SessionCompleted: On start: there is nothing left to run.
            InputsDiffer: On start: it belongs to another project, another task or script, or other inputs.
            LeaseLost: On start: another process is removing it.
        """
        if task is not None:
            check_name(task, "task")
        command = list(sys.argv) if command is None else command
        remember_command(command)
        parent_attempt = self._parent_attempt
        spec = RunSpec(
            task=current_script() if task is None else task,
            path=path,
            inputs=None if inputs is None else without_secrets(inputs),
            project=project,
            parent=parent or (parent_attempt.full_name if parent_attempt else None),
            origin=origin,
            command=command,
            zrb_version=zrb_version,
            again=again,
        )
        return Run(Xcoms(self.database, self.name, self._max_value), spec, on_lost)
