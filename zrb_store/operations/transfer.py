"""`copy` and `import`: sessions from another store, or from the lines of an export.

An import first writes all lines into an empty scratch database, where the invariants are checked as `doctor` checks
them. Then it copies the sessions from there. So nothing is written into the store unless the whole file is sound, each
session is one short transaction, and memory stays flat.
"""

from __future__ import annotations

import contextlib
import functools
import json
import sqlite3
import tempfile
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import IO, NamedTuple, get_args

from zrb_store.db.columns import MOST_TICK
from zrb_store.db.engine import Database
from zrb_store.db.schema import scratch_database
from zrb_store.db.transaction import Transaction
from zrb_store.errors import InvalidArgument, SessionNotFound, ZrbStoreError
from zrb_store.names import check_session_name, split_id
from zrb_store.operations.export import (
    InvalidRecord,
    bounded_lines,
    damaged_line_error,
    read_lines,
    require,
    sound_sessions,
)
from zrb_store.queries import attempts, clock, sessions
from zrb_store.queries import transfer as queries
from zrb_store.queries.by_hand import record_change
from zrb_store.queries.invariants import INVARIANTS, violations
from zrb_store.queries.transfer import Record
from zrb_store.records import Damage

BATCH = 500
"""The most rows that are written at once."""
BATCH_SIZE = 4 * 1024 * 1024
"""The most bytes of values that are written at once, unless a single value is larger."""

Change = Callable[[Record], Record]


def copy(
    source: Database,
    target: Database,
    names: Sequence[str] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    damage: Damage | None = None,
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
            _refuse_existing(target, name, "copy to a new store, delete it there, or name the sessions to copy")
        sound = sound_sessions(rows, chosen, damage)
        return _write(rows, target, sound, "copy", _renaming(rename or {}), lambda done: progress(done, total))


def import_sessions(
    database: Database,
    file: IO[bytes],
    where: str,
    rename: Mapping[str, str] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Write the sessions of an export, each in one transaction, after the whole file and all names were checked."""
    rename = dict(rename or {})
    for name in rename.values():
        check_session_name(name)
    with scratch_database() as scratch:
        scratch.transact(functools.partial(_fill, file, where))
        with scratch.snapshot() as rows:
            # Those of the other kind of database too, since the rows may go there.
            for _, what in violations(rows, INVARIANTS):
                raise ZrbStoreError(f"{where} is damaged: it has {what}; nothing was imported")
            names = list(queries.names(rows))
            if missing := rename.keys() - set(names):
                raise SessionNotFound(f"{where} has no session {', '.join(sorted(missing))} to rename")
            for name, count in Counter(rename.get(name, name) for name in names).items():
                if count > 1:
                    raise ZrbStoreError(f"{count} sessions would be named {name}: choose another name")
                _refuse_existing(database, name, f"--rename {name}=NEW gives it another name")
            return _write(rows, database, names, "import", _renaming(rename), lambda done: progress(done, len(names)))


def _refuse_existing(database: Database, name: str, remedy: str) -> None:
    """Raise an error if there is a session of this name. The message ends with what to do about it."""
    if sessions.find(database, name) is not None:
        raise ZrbStoreError(f"there is a session {name} in {database.shown_url} already: {remedy}")


def _renaming(names: Mapping[str, str]) -> Change:
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


def _fill(file: IO[bytes], where: str, scratch: Transaction) -> None:
    """Write the lines of an export into an empty database."""
    number = 0
    written = array("q")
    writer: _SessionWriter | None = None
    with tempfile.TemporaryFile("w+") as owners:
        for number, record in read_lines(bounded_lines(file, where), where):
            with _naming_line(number, where):
                if record["record"] == "session":
                    if writer is not None:
                        writer.flush()
                    writer = _SessionWriter(scratch, record, owners)
                    written.append(writer.session_id)
                elif writer is not None:
                    writer.write(record)
        with _naming_line(number, where):
            if writer is not None:
                writer.flush()
        for batch in _batches(owners):
            _set_owners(batch, written, scratch)


@contextlib.contextmanager
def _naming_line(number: int, where: str) -> Iterator[None]:
    try:
        yield
    except InvalidRecord as error:
        raise damaged_line_error(number, where, error) from None
    except sqlite3.IntegrityError:
        reason = f"one of the last {BATCH} lines is repeated, or belongs to a missing line"
        raise damaged_line_error(number, where, reason) from None


def _write(
    rows: Transaction,
    target: Database,
    names: Iterable[str],
    action: str,
    change: Change,
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
            writer = _SessionWriter(transaction, session, owners)
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
        for batch in _batches(owners):
            target.transact(functools.partial(_set_owners, batch, written))
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


class _SessionWriter:
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
            foreign = _ForeignOwner(kind, record["queue_id"], record["seq"], record[moment], session, task, number)
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


class _ForeignOwner(NamedTuple):
    """A value, or a return of one, that an attempt of another session has or had, to be linked after all sessions."""

    link: queries.Link
    queue_id: int
    seq: int
    at: int
    session: str
    task: str
    number: int


def _set_owners(batch: Sequence[_ForeignOwner], written: Sequence[int], transaction: Transaction) -> None:
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


def _batches(owners: IO[str]) -> Iterator[list[_ForeignOwner]]:
    owners.seek(0)
    while batch := [_ForeignOwner(*json.loads(line)) for line in islice(owners, BATCH)]:
        yield batch
