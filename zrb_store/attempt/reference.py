"""An attempt that is known by its identity only: it may be one of another process."""

from __future__ import annotations

from zrb_store.db.engine import Database
from zrb_store.db.transaction import Executor
from zrb_store.errors import AttemptClosed, InvalidArgument, LeaseLost
from zrb_store.names import split_id
from zrb_store.queries import attempts, sessions
from zrb_store.queries.owner import Owner


class AttemptReference:
    """An attempt known by its identity. It can own changes to queues, but not complete or fail.

    Attributes:
        session: Name of the session.
        task: Name of the task.
        number: 1 for the first attempt of the task in its session.
        fence: Number of the run that it belongs to.
    """

    def __init__(self, database: Database, session: str, attempt_id: int, task: str, number: int, fence: int) -> None:
        self.database = database
        self.session = session
        self.id = attempt_id
        self.task = task
        self.number = number
        self.fence = fence

    @property
    def name(self) -> str:
        """`load#2`: the attempt within its session."""
        return f"{self.task}#{self.number}"

    @property
    def full_name(self) -> str:
        """`SESSION/load#2`: the attempt within the store."""
        return f"{self.session}/{self.name}"

    @property
    def token(self) -> str:
        """Names the attempt to a child process, in `ZRB_STORE_ATTEMPT`: SESSION/TASK#NUMBER@FENCE."""
        return f"{self.full_name}@{self.fence}"

    def owner_of_change(self) -> Owner:
        """Return the owner of a change that is made now: the attempt itself."""
        return self

    def refuse_if_closed(self, executor: Executor | None = None) -> None:
        """Raise an error unless the attempt may still write.

        Args:
            executor: The open transaction, if there is one.

        Raises:
            AttemptClosed: The attempt has ended.
            LeaseLost: Another process has taken the session over.
        """
        executor = executor or self.database
        record = attempts.by_id(executor, self.id)
        if record is None:
            raise AttemptClosed(f"{self.full_name} was removed: it can no longer write")
        session = sessions.find(executor, record.session)
        if session is not None and session.fence != record.fence:
            raise LeaseLost(
                f"session {record.session} was taken over by run {session.fence}: {self.full_name} can no longer write"
            )
        if record.status != "running":
            raise AttemptClosed(f"{self.full_name} is {record.status}: it can no longer write")


def referenced_attempt(database: Database, token: str) -> AttemptReference:
    """Return the attempt that the text of `ZRB_STORE_ATTEMPT` names.

    Raises:
        AttemptClosed: The store has no such attempt.
        InvalidArgument: The text is not of the form SESSION/TASK#NUMBER@FENCE.
    """
    name, _, fence = token.rpartition("@")
    try:
        session, task, number = split_id(name)
    except InvalidArgument:
        fence = ""
    if not fence.isdecimal():
        raise InvalidArgument(f"ZRB_STORE_ATTEMPT is {token!r}, not SESSION/TASK#NUMBER@FENCE: unset it")
    found = attempts.by_name(database, session, task, number)
    if found is None or str(found.fence) != fence:
        raise AttemptClosed(f"this store has no attempt {token}: unset ZRB_STORE_ATTEMPT to work outside of an attempt")
    return AttemptReference(database, found.session, found.id, found.task, found.number, found.fence)
