"""`Xcoms`: the queues of one session by name."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Self, TypeVar, overload

from zrb_store.db.engine import Database
from zrb_store.queries import queues
from zrb_store.queries.attempts import Owner
from zrb_store.runtime.reclaim import searches
from zrb_store.xcom.queue import Xcom
from zrb_store.xcom.session_queues import SessionQueues

D = TypeVar("D")


class Xcoms(SessionQueues, Mapping[str, Xcom]):
    """The queues of one session by name. A missing queue reads as empty; `in` and `get` create nothing."""

    def __init__(self, database: Database, session: str, max_value: int, parent_attempt: Owner | None = None) -> None:
        self.database = database
        self.session = session
        self.max_value = max_value
        self.owner = None
        self.parent_attempt = parent_attempt
        self.ids = {}
        self.searches = searches(database)
        self._xcoms: dict[str, Xcom] = {}

    def bound_to(self, owner: Owner | None) -> Self:
        """Return the same queues, with every operation belonging to `owner`, or else to the current attempt."""
        bound = copy.copy(self)
        bound.owner, bound.parent_attempt, bound._xcoms = owner, None, {}
        return bound

    def __getitem__(self, name: str) -> Xcom:
        xcom = self._xcoms.get(name)
        if xcom is None:
            xcom = self._xcoms[name] = Xcom(self, name)
        return xcom

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.find_id(self[name].name, refresh=True) is not None

    @overload
    def get(self, name: str, /) -> Xcom | None: ...
    @overload
    def get(self, name: str, default: D, /) -> Xcom | D: ...
    def get(self, name: str, default: D | None = None, /) -> Xcom | D | None:
        """Return the queue if anything was ever pushed to it, otherwise the default."""
        return self[name] if name in self else default  # noqa: SIM401 - this is get

    def __iter__(self) -> Iterator[str]:
        return iter(queues.queue_ids(self.database, self.session))

    def __len__(self) -> int:
        return len(queues.queue_ids(self.database, self.session))

    def __repr__(self) -> str:
        return f"<Xcoms of {self.session}>"
