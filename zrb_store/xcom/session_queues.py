"""Shared by all queues of one session: their ids, the owner of changes, and the search for dead holders.

`current_attempt` is the attempt that the code runs in, which owns what it pushes and takes.
"""

from __future__ import annotations

import contextlib
import warnings
from contextvars import ContextVar, Token

from zrb_store.db.clock import clock
from zrb_store.db.engine import Database
from zrb_store.db.transaction import Transaction
from zrb_store.queries import queues
from zrb_store.queries.attempts import Owner, may_write
from zrb_store.queries.pushers import EVERYBODY, Alive
from zrb_store.runtime import reclaim

current_attempt: ContextVar[Owner | None] = ContextVar("zrb_store_current_attempt", default=None)


def leave(token: Token[Owner | None]) -> None:
    """Let the code run in what it ran in before `current_attempt.set` returned this token."""
    # A generator or a coroutine that is closed elsewhere ends in another context, where there is nothing to reset.
    try:  # noqa: SIM105 - contextlib.suppress takes longer, and every step ends here
        current_attempt.reset(token)
    except ValueError:
        pass


_UNWATCHED = contextlib.nullcontext()


class SessionQueues:
    """The ids of one session's queues, by name."""

    database: Database
    session: str
    max_value: int
    owner: Owner | None  # the attempt that every operation belongs to; None: the attempt that the code runs in
    parent_attempt: Owner | None  # of another process that started this one. It owns what no attempt here owns
    ids: dict[str, int]  # those that are known, by name
    searches: dict[int, reclaim.Search]  # when each queue was searched for dead processes (`reclaim.searches`)

    def is_in(self, database: Database) -> bool:
        """Whether these queues are in this store."""
        return self.database is database or self.database.url == database.url

    def owner_of_change(self) -> Owner | None:
        """Return the attempt, or the step, that owns a change which is made now; None if that is final."""
        owner = self.owner or current_attempt.get()
        owner = owner and owner.owner_of_change()
        return owner if owner and self.is_in(owner.database) else self.parent_attempt

    def _traceparent(self, owner: Owner | None) -> str | None:
        """Return the span that a push belongs to; None if nobody observes it."""
        observer = self.database.observer
        return None if observer is None else observer.traceparent(getattr(owner, "span", None))

    def find_id(self, name: str, *, refresh: bool = False) -> int | None:
        """Return the id of a queue, or None if there is no such queue.

        With `refresh` the database is asked in any case: the session may have been removed and created again.
        """
        found = None if refresh else self.ids.get(name)
        if found is None:
            found = queues.find_queue(self.database, self.session, name)
            if found is not None:
                self.ids[name] = found
            else:
                self.ids.pop(name, None)
        return found

    def queue_id(self, name: str, owner: Owner | None = None, *, refresh: bool = False) -> int:
        """Return the id of a queue that `owner` needs. Create the queue, and its session, if they do not exist."""

        def create(transaction: Transaction) -> int:
            if owner and not may_write(transaction, owner.id):
                owner.refuse_if_closed(transaction)
            return queues.ensure_queue(transaction, self.session, name)

        found = self.find_id(name, refresh=refresh)
        if found is None:
            # If the transaction of a user rolls back, no other queue gets this id, and the queue is looked for again.
            found = self.ids[name] = self.database.transact(create, "create")
        return found

    def reclaim(self, queue_id: int, owner: Owner | None = None, *, missing: bool = False) -> bool:
        """Take back what dead attempts of other sessions hold of a queue, and return whether anything came back.

        They are looked for if it is time to, or in any case if what they hold would be `missing`.
        """
        # Most looks and takes end here, since a queue is searched once a second.
        if not missing and clock.monotonic() < self.searches.get(queue_id, reclaim.NEVER).until:
            return False
        if self.database.read_only:
            return False
        owner = owner or self.owner or self.parent_attempt
        return reclaim.search(self.database, queue_id, owner.full_name if owner else None, missing=missing)

    def alive(self, queue_id: int) -> Alive:
        """Return the runs that have to do with a queue and are known to work."""
        return EVERYBODY if self.database.read_only else self.searches.get(queue_id, reclaim.NEVER).alive_now()

    # -- what a subclass may change: what happens besides the work on attempts and steps

    def watched(self) -> contextlib.AbstractContextManager[None]:
        """Run a block that begins, ends or looks for a step. A subclass may act on the errors of the store."""
        return _UNWATCHED

    def step_ended(self, step: Owner, parent: Owner, *, completed: bool) -> None:
        """Do something after a step has completed or failed."""

    def warn(self, message: str) -> None:
        """Tell the user something that does not stop the work."""
        warnings.warn(message, RuntimeWarning, stacklevel=1)
