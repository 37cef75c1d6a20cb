"""A store: one opened database."""

from __future__ import annotations

import os
from datetime import timedelta
from types import TracebackType
from typing import Any

from zrb_store import codec, points, settings
from zrb_store.attempt import AmbientAttempt, ambient_attempt
from zrb_store.db.engine import Database
from zrb_store.db.urls import shown_url
from zrb_store.errors import InvalidName
from zrb_store.records import SessionRecord
from zrb_store.session import Session


def open_store(location: str | os.PathLike[str] | None = None, *, read_only: bool = False) -> Store:
    """Open a store, making it if it is not there.

    Args:
        location: Path of a SQLite file, or a SQLAlchemy URL (`sqlite:///...`, `postgresql+psycopg://...`);
            by default `ZRB_STORE_URL`, else `~/.zrb/xcom.db`.
        read_only: Only look: nothing is made, migrated or written.

    Raises:
        StoreMissing: `read_only`, and there is no store.
        StoreUnavailable: The database cannot be reached or used.
        SchemaBehind: It must be upgraded by `zrb-store db upgrade` first.
        SchemaAhead: It was made by a newer zrb-store.
        InvalidName: The location or a setting is malformed.
    """
    return Store(location, read_only=read_only)


class Store:
    """One opened database; a context manager that closes it.

    Attributes:
        url: Where it is, passwords masked.
        max_value: Bytes that one encoded value may have.
    """

    def __init__(self, location: str | os.PathLike[str] | None = None, *, read_only: bool = False) -> None:
        if points.VARIABLE in os.environ:
            from zrb_store import testing

            testing.obey_environment()
        url = settings.store_url(location)
        self.url = shown_url(url)
        self.max_value = settings.max_value()
        settings.retention()  # a mistake in it must show now, not at the end of a run
        self.database = Database(url, read_only=read_only, durability=settings.durability())
        try:
            self.ambient = self._ambient()
        except BaseException:
            self.close()
            raise

    def _ambient(self) -> AmbientAttempt | None:
        token = os.environ.get("ZRB_STORE_ATTEMPT")
        if self.database.read_only or not token or settings.store_url() != self.database.url:
            return None
        return ambient_attempt(self.database, token)

    def session(self, name: str) -> Session:
        """The session of that name; nothing is read or made yet.

        Raises:
            InvalidName: No session can have this name.
        """
        return Session(self, name)

    def sessions(
        self,
        status: str | None = None,
        task: str | None = None,
        since: timedelta | None = None,
        limit: int | None = None,
        project: str | None = None,
    ) -> list[SessionRecord]:
        """Sessions that fit every given condition, newest first, each with the status that readers see.

        Args:
            status: `open`, `running`, `stale`, `completed`, `failed` or `interrupted`.
            task: Name of the main task.
            since: Created at most so long ago.
            limit: How many at the most.
            project: Folder of the project.

        Returns:
            Their records.

        Raises:
            InvalidName: There is no such status, or the limit is negative.
        """
        from zrb_store.reading.listing import STATUSES, listed  # only readers need it

        if status is not None and status not in STATUSES:
            raise InvalidName(f"{status!r} is no status: use {', '.join(STATUSES)}")
        if limit is not None and limit < 0:
            raise InvalidName(f"the limit {limit} is less than 0")
        statuses = None if status is None else [status]
        found = listed(self, statuses=statuses, task=task, project=project, since=since, limit=limit)
        return [one.session for one in found]

    def last(self, task: str, *, max_age: timedelta | None = None, any_project: bool = False) -> Any:
        """The newest result of a task in a completed session of the current project.

        Args:
            task: Name of the task, main or not.
            max_age: How long ago it may have completed.
            any_project: Look in every project. Sessions that belong to none are looked at in any case.

        Returns:
            The value.

        Raises:
            ValueNotFound: There is none, or the newest is too old.
        """
        from zrb_store.reading.results import newest_result

        return codec.decode(newest_result(self, task, max_age=max_age, any_project=any_project).data)

    def fork(self, session: str, *, from_task: str, name: str | None = None) -> Session:
        """Copy a session as it was before a task first started; running the copy goes on from there.

        Args:
            session: Name of the session.
            from_task: Name of the task.
            name: Of the new session; by default the first free one of `SESSION-fork`, `SESSION-fork-2`...

        Returns:
            The new session.

        Raises:
            SessionNotFound: There is no such session.
            TaskNotFound: The task has not started in it.
            InvalidName: No session can have the new name.
            ZrbStoreError: There is a session of the new name.
        """
        from zrb_store.operations.fork import fork

        return Session(self, fork(self.database, session, from_task, name))

    def close(self) -> None:
        """Close the database."""
        self.database.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Store {self.url}>"
