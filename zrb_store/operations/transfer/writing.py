"""Writing sessions from a stream of records, each in one transaction, with flat memory."""

from __future__ import annotations

import functools
import json
import tempfile
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import IO, Any

from zrb_store.db.columns import MOST_TICK
from zrb_store.db.engine import Database
from zrb_store.db.transaction import Transaction
from zrb_store.errors import ZrbStoreError
from zrb_store.names import split_id
from zrb_store.queries import attempts, clock, sessions
from zrb_store.queries import import_ as queries
from zrb_store.queries.changes import record_change
from zrb_store.queries.transfer import Record

BATCH = 500
"""The most rows that are written at once."""
BATCH_SIZE = 4 * 1024 * 1024
"""The most bytes of values that are written at once, unless a single value is larger."""

Spool = IO[str]
"""A temporary file with one JSON text per line."""


def refuse_existing(database: Database, name: str, remedy: str) -> None:
    """Raise an error if there is a session of this name. The message ends with what to do about it."""
    if sessions.find(database, name) is not None:
        raise ZrbStoreError(f"there is a session {name} in {database.shown_url} already: {remedy}")


def write(
    database: Database, records: Iterable[Record], action: str, progress: Callable[[int], None] = lambda done: None
) -> int:
    """Write sessions. A value keeps an owner in another session only if that session is written as well.

    Args:
        database: Where to write them.
        records: Each session, followed by the records of everything in it.
        action: The change that is recorded for each session, `import` or `copy`.
        progress: Called after each session with the number of sessions done.

    Returns:
        The number of sessions.

    Raises:
        ZrbStoreError: There is a session of such a name already, or a record names something that does not exist.
    """
    written = array("q")  # ids, not names: there may be a million sessions
    base = database.transact(clock.latest)  # all that is written comes after all that is there
    with tempfile.TemporaryFile("w+") as owners, tempfile.SpooledTemporaryFile(BATCH_SIZE, "w+") as spool:
        stream = iter(records)
        following = next(stream, None)
        if following is not None:
            base -= following["created_tick"]  # the oldest session comes first
        while following is not None:
            # A session is collected before it is written: then its transaction is short and can be tried again.
            following = _collect(following, stream, spool)
            written.append(
                database.transact(functools.partial(_write, spool, owners, owners.tell(), base, action), action)
            )
            progress(len(written))
        _set_owners(database, owners, written)
    return len(written)


def _collect(session: Record, stream: Iterator[Record], spool: Spool) -> Record | None:
    """Put the records of one session into the spool. Return the next session, or None."""
    spool.seek(0)
    spool.truncate()
    record: Record | None = session
    while record is not None:
        spool.write(json.dumps(record) + "\n")
        record = next(stream, None)
        if record is not None and record["kind"] == "session":
            return record
    return None


def _write(spool: Spool, owners: Spool, owners_end: int, base: int, action: str, transaction: Transaction) -> int:
    spool.seek(0)
    owners.seek(owners_end)
    owners.truncate()
    records: Iterator[Record] = map(json.loads, spool)
    session = next(records)
    highest = _renumber(session, base)
    session_id = queries.add_session(transaction, session)
    if session_id is None:
        raise ZrbStoreError(f"there is a session {session['name']} already: it is left as it is")
    writer = _SessionWriter(transaction, session["name"], session_id, owners)
    for record in records:
        highest = max(highest, _renumber(record, base))
        writer.write(record)
    writer.flush()
    clock.advance(transaction, highest)
    record_change(transaction, action, session["name"])
    return session_id


def _renumber(record: Record, base: int) -> int:
    """Move the ticks of a record, so that they follow those of this store. Return the highest of them.

    Raises:
        ZrbStoreError: A tick would be too high, because it is damaged.
    """
    # What a fork has copied may be older than the first session.
    ticks = {name: max(0, tick + base) for name, tick in record.items() if name.endswith("_tick") and tick is not None}
    highest = max(ticks.values(), default=0)
    if highest > MOST_TICK:
        raise ZrbStoreError("a tick is too high for this store: nothing more is written")
    record.update(ticks)
    return highest


class _SessionWriter:
    """A writer of the records of one session, with ids in place of names."""

    def __init__(self, transaction: Transaction, name: str, session_id: int, owners: Spool) -> None:
        self._transaction = transaction
        self._name = name
        self._session_id = session_id
        self._owners = owners
        self._ids: dict[str, dict[Any, int]] = {"run": {}, "queue": {}, "attempt": {}}
        self._waiting: dict[str, list[Record]] = {"output": [], "value": [], "return": [], "change": []}
        self._size = 0

    def write(self, record: Record) -> None:
        kind = record["kind"]
        if kind in self._waiting:
            if kind == "change":
                record["session"] = self._name
            elif kind == "output":
                record["attempt_id"] = self._id("attempt", record["attempt"].partition("/")[2])
            else:
                self._resolve_links(record)
            self._waiting[kind].append(record)
            self._size += record.get("size", 0)
            if self._size >= BATCH_SIZE or sum(map(len, self._waiting.values())) >= BATCH:
                self.flush()
            return
        record["session_id"] = self._session_id
        if kind == "attempt":
            record["run_id"] = self._id("run", record["run"])
            record["result_queue_id"] = self._id("queue", record["result_queue"])
            record["parent_id"] = self._id("attempt", record["parent"] and record["parent"].partition("/")[2])
            name: Any = f"{record['task']}#{record['number']}"
        else:
            name = record["number" if kind == "run" else "name"]
        self._ids[kind][name] = queries.add(self._transaction, record)

    def flush(self) -> None:
        """Write the rows that are waiting."""
        for kind, rows in self._waiting.items():
            if rows:
                queries.add_many(self._transaction, kind, rows)
                rows.clear()
        self._size = 0

    def _resolve_links(self, record: Record) -> None:
        record["queue_id"] = self._id("queue", record["queue"])
        moments = {"pushed_by": "pushed_at", "taken_by": "ended_at" if record["kind"] == "value" else "returned_at"}
        for link, moment in moments.items():
            owner = record.get(link)
            if owner is None:
                record[link] = None
                continue
            session, task, number = split_id(owner)
            if session == self._name:
                record[link] = self._id("attempt", f"{task}#{number}")
                continue
            record[link] = None
            kind = "returned" if record["kind"] == "return" else link
            place = [kind, record["queue_id"], record["seq"], record[moment], session, task, number]
            self._owners.write(json.dumps(place) + "\n")

    def _id(self, kind: str, name: Any) -> int | None:
        if name is None:
            return None
        try:
            return self._ids[kind][name]
        except KeyError:
            raise ZrbStoreError(f"session {self._name} names {kind} {name}, which does not exist") from None


def _set_owners(database: Database, owners: Spool, written: Sequence[int]) -> None:
    """Set the owners of values that belong to attempts of other sessions, if those sessions were written too.

    Args:
        database: Where the sessions were written.
        owners: A line for each such value.
        written: Ids of the sessions that were written, in ascending order.
    """

    def work(batch: list[Any], transaction: Transaction) -> None:
        @functools.cache
        def id_of(session: str, task: str, number: int) -> int | None:
            found = attempts.by_name(transaction, session, task, number)
            return found.id if found and _contains(written, found.session_id) else None

        for link, queue_id, seq, at, *owner in batch:
            attempt_id = id_of(*owner)
            if attempt_id is not None:
                queries.set_owner(transaction, link, queue_id, seq, at, attempt_id)

    owners.seek(0)
    for batch in _batches(map(json.loads, owners)):
        database.transact(functools.partial(work, batch))


def _contains(ascending: Sequence[int], number: int) -> bool:
    place = bisect_left(ascending, number)
    return place < len(ascending) and ascending[place] == number


def _batches(rows: Iterable[Any]) -> Iterator[list[Any]]:
    batch: list[Any] = []
    for row in rows:
        batch.append(row)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
