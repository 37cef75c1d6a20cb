"""A session: the durable identity of one workflow execution, by unique name."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from zrb_store import lease
from zrb_store.masking import remember_command
from zrb_store.names import check_name, check_session_name
from zrb_store.purpose import Purpose, without_secrets
from zrb_store.queries import sessions, values
from zrb_store.records import SessionRecord
from zrb_store.run import Run
from zrb_store.xcom import Xcoms

if TYPE_CHECKING:
    from zrb_store.store import Store


class Session:
    """A session of a store. Making this object touches nothing in the database.

    Attributes:
        name: Its unique name.
        xcom: Its queues by name, open to every process at any time.
    """

    def __init__(self, store: Store, name: str) -> None:
        self.store = store
        self.name = check_session_name(name)
        self.xcom = Xcoms(store.database, name, store.max_value, ambient=store.ambient)

    def __repr__(self) -> str:
        return f"<Session {self.name}>"

    def record(self) -> SessionRecord:
        """What the store knows of the session.

        Returns:
            Its row, as it was last written.

        Raises:
            SessionNotFound: Nothing yet.
        """
        return sessions.need(self.store.database, self.name)

    @property
    def status(self) -> str:
        """`open`, `running`, `stale`, `completed`, `failed` or `interrupted`.

        Raises:
            SessionNotFound: The store does not know it.
        """
        database, record = self.store.database, self.record()
        return lease.status_of(database, record, sessions.last_run(database, record.id), values.moment(database))

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
    ) -> Run:
        """The right to run this session's tasks, to be used as a context manager (or with `start` and `end`).

        Args:
            task: Name of the main task, compared with that of earlier runs.
            path: How zrb's command line names the task.
            inputs: Compared with those of earlier runs, passwords of URLs masked; leave secret ones out.
            project: Folder of the project, compared with that of earlier runs.
            parent: SESSION or SESSION/TASK#N that this session is started by.
            origin: `cli`, `web` or `library`.
            command: The command line, stored with its secrets masked; this process's own if not given.
            zrb_version: Version of zrb that runs it.

        Returns:
            The run, not started yet.

        Raises:
            InvalidName: No task can have this name.
            SessionBusy: On start: another process runs it.
            SessionCompleted: On start: there is nothing left to run.
            InputsDiffer: On start: it belongs to another project, another task or other inputs.
            LeaseLost: On start: another process is removing it.
        """
        if task is not None:
            check_name(task, "task")
        command = list(sys.argv) if command is None else command
        remember_command(command)
        ambient = self.store.ambient
        purpose = Purpose(
            task=task,
            path=path,
            inputs=None if inputs is None else without_secrets(dict(inputs)),
            project=project,
            parent=parent or (ambient.name if ambient else None),
            origin=origin,
            command=command,
            zrb_version=zrb_version,
        )
        return Run(Xcoms(self.store.database, self.name, self.store.max_value), purpose)
