"""Sessions are copied from one store to another, with everything stored about them, each in one transaction.

Records refer to each other by name instead of id. What an import reads takes the same road.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import tempfile
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import IO, NamedTuple, get_args

from zrb_store.db import columns
from zrb_store.db.columns import MOST_TICK, ColumnRule, Columns
from zrb_store.db.engine import Database
from zrb_store.db.rows import note
from zrb_store.db.transaction import Transaction
from zrb_store.errors import InvalidArgument, ZrbStoreError
from zrb_store.names import is_session_name, split_id
from zrb_store.queries import attempts, clock, sessions
from zrb_store.queries import copy as queries
from zrb_store.queries.by_hand import record_change
from zrb_store.queries.copy import Record
from zrb_store.queries.invariants import damaged_sessions
from zrb_store.queries.output import size_of_lines

BATCH = 500
"""The most rows that are written at once."""
BATCH_SIZE = 4 * 1024 * 1024
"""The most bytes of values that are written at once, unless a single value is larger."""

Rewrite = Callable[[Record], Record]


def copy(
    source: Database,
    target: Database,
    names: Sequence[str] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    rename: Mapping[str, str] | None = None,
) -> int:
    """Copy sessions, or all, as of one moment, each in one transaction, unless the target has one of the names."""
    if source.url == target.url:
        raise InvalidArgument("both are the same store: name another one to copy to")
    chosen = None if names is None else list(dict.fromkeys(names))
    with source.snapshot() as rows:
        total = 0
        for name in queries.names(rows) if chosen is None else chosen:
            total += 1
            refuse_existing(target, name, "copy to a new store, delete it there, or name the sessions to copy")
        sound = sound_sessions(rows, chosen)
        return write_sessions(rows, target, sound, "copy", renaming(rename or {}), lambda done: progress(done, total))


def sound_sessions(transaction: Transaction, names: Sequence[str] | None) -> Iterator[str]:
    """Yield which of these sessions, or of all, can be imported, the oldest first. The others are noted."""
    chosen = None if names is None else set(names)
    damaged = damaged_sessions(transaction, names)
    for name in queries.names(transaction):
        if chosen is not None and name not in chosen:
            continue
        # A session is read twice, since a line that was printed cannot be taken back.
        problem = damaged.get(name) or _problem(queries.read(transaction, name))
        if problem is None:
            yield name
        else:
            note(f"session {name} ({problem})")


def _problem(records: Iterator[Record]) -> str | None:
    """Return the reason why `import` would refuse one of the records, or None."""
    for record in records:
        kind = record.pop("record")
        try:
            check_fields(kind, record)
        except InvalidRecord as error:
            return f"{kind}: {error}"
    return None


def refuse_existing(database: Database, name: str, remedy: str) -> None:
    """Raise an error if there is a session of this name. The message ends with what to do about it."""
    if sessions.find(database, name) is not None:
        raise ZrbStoreError(f"there is a session {name} in {database.shown_url} already: {remedy}")


def renaming(names: Mapping[str, str]) -> Rewrite:
    """Return a function that renames sessions wherever a record names them. The new names are by the old ones."""

    def rename(record: Record) -> Record:
        for field in ("parent", "forked_from", "attempt", "pushed_by", "taken_by"):
            if record.get(field) is not None:
                session, slash, rest = record[field].partition("/")
                record[field] = names.get(session, session) + slash + rest
        if record["record"] == "session":
            record["name"] = names.get(record["name"], record["name"])
        return record

    return rename


def write_sessions(
    rows: Transaction,
    target: Database,
    names: Iterable[str],
    action: str,
    change: Rewrite,
    progress: Callable[[int], None],
) -> int:
    """Copy sessions. A value keeps an owner in another session only if that session is copied as well."""
    written = array("q")  # ids, not names: there may be a million sessions
    base: int | None = None
    with tempfile.TemporaryFile("w+") as owners:

        def write_session(transaction: Transaction, name: str, base: int, owners_end: int) -> int:
            owners.seek(owners_end)  # it may be tried again
            owners.truncate()
            records = map(change, queries.read(rows, name))
            session = next(records)
            highest = _renumber(session, base)
            writer = SessionWriter(transaction, session, owners)
            for record in records:
                highest = max(highest, _renumber(record, base))
                writer.write(record)
            writer.flush()
            clock.advance(transaction, highest)
            record_change(transaction, action, session["name"])
            return writer.session_id

        for name in names:
            if base is None:  # all that is written comes after all that is there
                base = target.transact(clock.latest) - next(queries.read(rows, name))["created_tick"]
            work = functools.partial(write_session, name=name, base=base, owners_end=owners.tell())
            written.append(target.transact(work, action))
            progress(len(written))
        for batch in batches_of_owners(owners):
            target.transact(functools.partial(set_owners, batch, written))
    return len(written)


def _renumber(record: Record, base: int) -> int:
    """Move the ticks of a record, so that they follow those of this store. Return the highest of them."""
    # What a fork has copied may be older than the first session.
    ticks = {name: max(0, tick + base) for name, tick in record.items() if name.endswith("_tick") and tick is not None}
    highest = max(ticks.values(), default=0)
    if highest > MOST_TICK:
        raise ZrbStoreError("a tick is too high for this store: nothing more is written")
    record.update(ticks)
    return highest


class SessionWriter:
    """A writer of the records of one session, with ids in place of names."""

    def __init__(self, transaction: Transaction, session: Record, owners: IO[str]) -> None:
        """Write the session."""
        self._transaction = transaction
        self._name = session["name"]
        self._owners = owners
        self._ids: dict[str, dict[str | int, int]] = {"run": {}, "queue": {}, "attempt": {}}
        self._waiting: dict[queries.Batched, list[Record]] = {kind: [] for kind in get_args(queries.Batched)}
        self._size = 0
        session_id = queries.add_session(transaction, session)
        if session_id is None:
            raise ZrbStoreError(f"there is a session {self._name} already: it is left as it is")
        self.session_id = session_id

    def write(self, record: Record) -> None:
        """Write a record, or keep it until there are more."""
        kind = record["record"]
        if kind in self._waiting:
            if kind == "change":
                record["session"] = self._name
            elif kind == "output":
                record["attempt_id"] = self._own("attempt", record["attempt"])
            else:
                self._resolve_links(record)
            self._waiting[kind].append(record)
            self._size += record.get("size", 0)
            if self._size >= BATCH_SIZE or sum(map(len, self._waiting.values())) >= BATCH:
                self.flush()
            return
        record["session_id"] = self.session_id
        if kind == "attempt":
            record["run_id"] = self._id("run", record["run"])
            record["result_queue_id"] = self._id("queue", record["result_queue"])
            record["parent_id"] = self._own("parent", record["parent"])
            name: str | int = f"{record['task']}#{record['number']}"
        else:
            name = record["number" if kind == "run" else "name"]
        require(name not in self._ids[kind], f"there is another {kind} {name}")
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
        moments: dict[queries.Link, str] = {
            "pushed_by": "pushed_at",
            "taken_by": "ended_at" if record["record"] == "value" else "returned_at",
        }
        for link, moment in moments.items():
            owner = record.get(link)
            record[link] = None
            if owner is None:
                continue
            session, task, number = split_id(owner)
            if session == self._name:
                record[link] = self._id("attempt", f"{task}#{number}")
                continue
            kind: queries.Link = "returned" if record["record"] == "return" else link
            foreign = ForeignOwner(kind, record["queue_id"], record["seq"], record[moment], session, task, number)
            self._owners.write(json.dumps(foreign) + "\n")

    def _own(self, what: str, owner: str | None) -> int | None:
        """Return the id of an attempt of this session."""
        if owner is None:
            return None
        session, task, number = split_id(owner)
        require(session == self._name, f"its {what} is not of session {self._name}")
        return self._id("attempt", f"{task}#{number}")

    def _id(self, kind: str, name: str | int | None) -> int | None:
        if name is None:
            return None
        found = self._ids[kind].get(name)
        require(found is not None, f"session {self._name} names {kind} {name}, which does not exist")
        return found


class ForeignOwner(NamedTuple):
    """A value, or a return of one, that an attempt of another session has or had, to be linked after all sessions."""

    link: queries.Link
    queue_id: int
    seq: int
    at: int
    session: str
    task: str
    number: int


def set_owners(batch: Sequence[ForeignOwner], written: Sequence[int], transaction: Transaction) -> None:
    """Set the owners of values that belong to attempts of other sessions, if those sessions were written too."""

    @functools.cache
    def id_of(session: str, task: str, number: int) -> int | None:
        found = attempts.by_name(transaction, session, task, number)
        if found is None:
            return None
        place = bisect_left(written, found.session_id)  # they ascend
        return found.id if place < len(written) and written[place] == found.session_id else None

    for each in batch:
        attempt_id = id_of(each.session, each.task, each.number)
        if attempt_id is not None:
            queries.set_owner(transaction, each.link, each.queue_id, each.seq, each.at, attempt_id)


def batches_of_owners(owners: IO[str]) -> Iterator[list[ForeignOwner]]:
    owners.seek(0)
    while batch := [ForeignOwner(*json.loads(line)) for line in islice(owners, BATCH)]:
        yield batch


# -- the fields of each kind of record: the columns of its table without ids, and names in place of foreign keys


def _owner(text: str) -> str | None:
    try:
        session, _, number = split_id(text)
    except InvalidArgument as error:
        return f"is not an attempt: {error}"
    return None if is_session_name(session) and number > 0 else f"is not an attempt: {text[:60]!r}"


_OWNER = ColumnRule(
    str,
    nullable=True,
    pattern=r"^[A-Za-z0-9._:+][A-Za-z0-9._:+-]{0,199}/[\s\S]*#[0-9]{1,18}$",
    note="SESSION/TASK#NUMBER",
    content=_owner,
)
_QUEUE = ColumnRule(str, note="name of the session's queue", content=columns.QUEUE["name"].content)
_RUN = ColumnRule(int, nullable=True, least=1, most=columns.RUN["number"].most, note="number of the session's run")


_LINKS: Mapping[str, Columns] = {
    "attempt": {"run": _RUN, "result_queue": dataclasses.replace(_QUEUE, nullable=True), "parent": _OWNER},
    "output": {"attempt": dataclasses.replace(_OWNER, nullable=False)},
    "value": {"queue": _QUEUE, "pushed_by": _OWNER, "taken_by": _OWNER},
    "return": {"queue": _QUEUE, "taken_by": _OWNER},
    "replaced": {"queue": _QUEUE},
}
FIELDS: Mapping[str, Columns] = {kind: {**_LINKS.get(kind, {}), **copied} for kind, copied in queries.COPIED.items()}
"""What each field may hold, by kind of record and name of the field."""


class InvalidRecord(ValueError):
    """A record that no store can have."""


def require(condition: bool, reason: str) -> None:
    """Raise `InvalidRecord` unless the condition holds."""
    if not condition:
        raise InvalidRecord(reason)


def check_fields(kind: str, record: Record) -> None:
    """Check each field of a record by itself; raise `InvalidRecord` if no store can have it."""
    fields = FIELDS[kind]
    require(record.keys() == fields.keys(), "its fields are not those of this format")
    for name, column in fields.items():
        problem = column.problem(record[name])
        require(problem is None, f"{name} {problem}")
    if kind == "output":
        require(record["size"] == size_of_lines(record["data"]), "size is not that of its lines")
