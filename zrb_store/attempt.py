"""One execution of one task's action. What it takes and pushes stands only if it completes."""

from __future__ import annotations

import contextlib
import traceback
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, NoReturn

from zrb_store import codec
from zrb_store.codec import Encoded
from zrb_store.db.engine import Database
from zrb_store.db.transaction import Executor, Transaction
from zrb_store.errors import AttemptClosed, InvalidName, LeaseLost, ZrbStoreError
from zrb_store.masking import mask_text
from zrb_store.names import split_id, storable
from zrb_store.queries import attempts, sessions, values
from zrb_store.records import AttemptRecord
from zrb_store.xcom import Xcoms, current_attempt

if TYPE_CHECKING:
    from contextvars import Token

    from zrb_store.xcom import Owner

NO_RESULT: Final = object()
TRACEBACK_LIMIT = 16 * 1024
"""Characters of a traceback that are kept, its end being worth most."""


class Attempt:
    """An attempt under way. As a context manager it completes at the end, or fails by the exception.

    Attributes:
        task: Name of the task.
        number: 1 for the first attempt of the task in its session.
        xcom: The session's queues, every operation belonging to this attempt, in any thread.
        token: Names the attempt to a child process, in `ZRB_STORE_ATTEMPT`: SESSION/TASK#NUMBER@FENCE.
    """

    def __init__(self, xcoms: Xcoms, attempt_id: int, task: str, number: int, fence: int) -> None:
        self.id = attempt_id
        self.task = task
        self.number = number
        self.database: Database = xcoms.database
        self.session = xcoms.session
        self.xcom = xcoms.bound_to(self)
        self.token = f"{self.session}/{self.name}@{fence}"
        self._open = True
        self._token: Token[Owner | None] | None = None

    @property
    def name(self) -> str:
        """`load#2`: the attempt within its session."""
        return f"{self.task}#{self.number}"

    def complete(self, result: Any = NO_RESULT, *, queue: str | None = None, lenient: bool = False) -> Encoded | None:
        """Complete the attempt and push its result, in one transaction.

        Args:
            result: Pushed to the queue; without one nothing is pushed.
            queue: Name of the queue, the task's name if not given.
            lenient: Keep a value that cannot be encoded as its type and repr, instead of raising.

        Returns:
            The result as it was stored, None without one.

        Raises:
            UnencodableValue: No codec takes a part of the result; the attempt still runs.
            ValueTooLarge: The result is larger than the limit; the attempt still runs.
            AttemptClosed: The attempt has ended before.
            LeaseLost: Another process has taken the session over.
        """
        item = None
        if result is not NO_RESULT:
            item = codec.encode(result, lenient=lenient, limit=self.xcom.max_value)
        self.complete_encoded(item, queue or self.task)
        return item

    def complete_encoded(self, item: Encoded | None, queue: str) -> int | None:
        """Complete with a result that is encoded already. Raises as `complete`.

        Args:
            item: The result, None for none.
            queue: Name of the queue that it is pushed to.

        Returns:
            Its seq, None for none.
        """

        def work(transaction: Transaction) -> tuple[int, int] | None:
            place = None
            # Before its queue: a child's push to that queue waits for the attempt.
            if not attempts.lock(transaction, self.id):
                self._refuse(transaction)
            if item is not None:
                queue_id = self.xcom.make(transaction, queue)
                seq = values.push(transaction, queue_id, item, self.id)
                if seq is None:
                    self._refuse(transaction)
                place = (queue_id, seq)
            restorable = item is None or item.restorable
            if not attempts.complete(transaction, self.id, restorable=restorable, result=place):
                self._refuse(transaction)
            return place

        place = self.database.transact(work, "complete")
        self._open = False
        if place is None:
            return None
        self.xcom.remember(queue, place[0])
        return place[1]

    def fail(self, error: BaseException | None = None, status: str = "failed") -> None:
        """End the attempt without completing it.

        What it did stays until the task's next attempt or the session's next run begins, so that a fallback sees it.

        Args:
            error: Kept with the attempt, its traceback cut to `TRACEBACK_LIMIT` characters.
            status: `failed` or `interrupted`.

        Raises:
            AttemptClosed: The attempt has ended before.
            LeaseLost: Another process has taken the session over.
        """
        self.fail_with(describe(error), status)

    def fail_with(self, error: tuple[str | None, str | None, str | None], status: str) -> None:
        """As `fail`, with an error that was described already; raises as it.

        Args:
            error: Its type, message and traceback as text.
            status: `failed` or `interrupted`.
        """
        if not self.database.transact(lambda t: attempts.fail(t, self.id, status, error), "fail"):
            self._refuse(self.database)
        self._open = False

    def _refuse(self, executor: Executor) -> NoReturn:
        self.refuse_if_closed(executor)
        raise LeaseLost(f"session {self.session} was removed while {self.name} ran")

    def refuse_if_closed(self, executor: Executor | None = None) -> None:
        """Raise unless the attempt may still write.

        Args:
            executor: The transaction that is open, if one is.

        Raises:
            AttemptClosed: It has ended.
            LeaseLost: Another process has taken the session over.
        """
        refuse_if_closed(executor or self.database, self.id, f"{self.session}/{self.name}")

    def __enter__(self) -> Attempt:
        self._token = current_attempt.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._token is not None:
            current_attempt.reset(self._token)
        if not self._open:
            return
        if error is None:
            self.complete()
            return
        # The store's own refusal of the failed attempt must not hide why it failed.
        with contextlib.suppress(ZrbStoreError):
            self.fail(error, status_of(error))


class AmbientAttempt:
    """The attempt of the process that started this one, told by `ZRB_STORE_ATTEMPT`."""

    def __init__(self, database: Database, record: AttemptRecord, token: str) -> None:
        self.database = database
        self.id = record.id
        self.session = record.session
        self.name = f"{record.session}/{record.name}"
        self.token = token

    def refuse_if_closed(self, executor: Executor | None = None) -> None:
        """Raise unless the attempt may still write; see `Attempt.refuse_if_closed`."""
        refuse_if_closed(executor or self.database, self.id, self.token)


def ambient_attempt(database: Database, token: str) -> AmbientAttempt:
    """The attempt that a token names.

    Raises:
        AttemptClosed: The store has no such attempt.
        InvalidName: The token is damaged.
    """
    name, _, fence = token.rpartition("@")
    try:
        session, task, number = split_id(name)
    except InvalidName:
        fence = ""
    if not fence.isdecimal():
        raise InvalidName(f"ZRB_STORE_ATTEMPT is {token!r}, not SESSION/TASK#NUMBER@FENCE: unset it")
    found = attempts.by_name(database, session, task, number)
    if found is None or str(found.fence) != fence:
        raise AttemptClosed(f"{token} has ended or is not of this store: unset ZRB_STORE_ATTEMPT to work outside of it")
    return AmbientAttempt(database, found, token)


def refuse_if_closed(executor: Executor, attempt_id: int, name: str) -> None:
    """Raise `LeaseLost` or `AttemptClosed` unless the attempt may still write."""
    record = attempts.by_id(executor, attempt_id)
    if record is None:
        raise AttemptClosed(f"{name} was removed: it can do no more")
    session = sessions.by_name(executor, record.session)
    if session is not None and session.fence != record.fence:
        raise LeaseLost(f"session {record.session} was taken over by run {session.fence}: {name} changes nothing more")
    if record.status != "running":
        raise AttemptClosed(f"{name} is {record.status}: it can do no more")


def status_of(error: BaseException) -> str:
    """How an attempt or a run ends by this exception."""
    return "failed" if isinstance(error, (Exception, SystemExit)) else "interrupted"


def describe(
    error: BaseException | None, frames: TracebackType | None = None
) -> tuple[str | None, str | None, str | None]:
    """An exception as type, message and traceback, each fit to be kept: secrets are masked, before a long one is cut.

    Args:
        error: The exception.
        frames: Where its traceback is to begin, if not at its beginning.
    """
    if error is None:
        return None, None, None

    try:
        message = str(error)
    except Exception:  # noqa: BLE001 - the text of a user's class
        message = "<exception str() failed>"  # as in the traceback
    text = _kept("".join(traceback.format_exception(type(error), error, frames or error.__traceback__)))
    if len(text) > TRACEBACK_LIMIT:
        text = "[...]\n" + text[-(TRACEBACK_LIMIT - 6) :]
    return _kept(type(error).__qualname__), _kept(message)[:TRACEBACK_LIMIT], text


def _kept(text: str) -> str:
    return storable(mask_text(text))
