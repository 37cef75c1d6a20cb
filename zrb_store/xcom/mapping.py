"""The queues of one session by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar, overload

from zrb_store.db.engine import Database
from zrb_store.db.transaction import Transaction
from zrb_store.errors import SessionNotFound
from zrb_store.queries import sessions, values
from zrb_store.xcom.owner import Owner
from zrb_store.xcom.queue import Xcom

D = TypeVar("D")


class Xcoms(Mapping[str, Xcom]):
    """The queues of one session by name. A missing one reads as empty; `in` and `get` create nothing."""

    def __init__(
        self, database: Database, session: str, max_value: int, owner: Owner | None = None, ambient: Owner | None = None
    ) -> None:
        self.database = database
        self.session = session
        self.max_value = max_value
        self.owner = owner
        self.ambient = ambient
        self._ids: dict[str, int] = {}
        self._xcoms: dict[str, Xcom] = {}

    def bound_to(self, owner: Owner) -> Xcoms:
        """The same queues, with every operation belonging to `owner`."""
        bound = Xcoms(self.database, self.session, self.max_value, owner)
        bound._ids = self._ids
        return bound

    def __getitem__(self, name: str) -> Xcom:
        xcom = self._xcoms.get(name)
        if xcom is None:
            xcom = self._xcoms[name] = Xcom(self, name)
        return xcom

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.known_id(self[name].name, anew=True) is not None

    @overload
    def get(self, name: str, /) -> Xcom | None: ...
    @overload
    def get(self, name: str, default: D, /) -> Xcom | D: ...
    def get(self, name: str, default: Any = None, /) -> Any:
        """The queue if anything was ever pushed to it, else the default."""
        return self[name] if name in self else default  # noqa: SIM401 - this is get

    def __iter__(self) -> Iterator[str]:
        return iter(values.queues(self.database, self.session))

    def __len__(self) -> int:
        return len(values.queues(self.database, self.session))

    def __repr__(self) -> str:
        return f"<Xcoms of {self.session}>"

    def known_id(self, name: str, *, anew: bool = False) -> int | None:
        """The id of a queue, or None while it is not there."""
        found = None if anew else self._ids.get(name)
        if found is None:
            found = values.queue_id(self.database, self.session, name)
            if found is not None:
                self._ids[name] = found
            else:
                self._ids.pop(name, None)
        return found

    def queue_id(self, name: str, owner: Owner | None = None, *, anew: bool = False) -> int:
        """The id of a queue; makes the queue, and the session too, where they are not there.

        Raises:
            AttemptClosed: There is no such queue, and the owner may not make it.
            LeaseLost: Likewise.
        """
        found = self.known_id(name, anew=anew)
        if found is None:
            found = self.database.transact(lambda transaction: self.make(transaction, name, owner), "create")
            self.remember(name, found)
        return found

    def make(self, transaction: Transaction, name: str, owner: Owner | None = None) -> int:
        """The id of a queue, made in this transaction where it is not there; `remember` it after the commit.

        Raises:
            AttemptClosed: There is no such queue, and the owner may not make it.
            LeaseLost: Likewise.
        """
        found = self._ids.get(name)
        if found is None:
            if owner and not values.may_write(transaction, owner.id):
                owner.refuse_if_closed(transaction)
            found = values.make_queue(transaction, self.session, name)
        if found is None:
            sessions.create(transaction, self.session)
            found = values.make_queue(transaction, self.session, name)
        if found is None:
            raise SessionNotFound(f"session {self.session} is being removed by another process")
        return found

    def remember(self, name: str, queue_id: int) -> None:
        """Save the next operation on a queue the search for its id. One that was rolled back may name another queue."""
        self._ids[name] = queue_id
