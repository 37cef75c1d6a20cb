"""`export`: sessions as JSON Lines, each with a hash of itself and all lines before it. `import` reads them again."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import itertools
import json
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from typing import IO, Any

from zrb_store import settings
from zrb_store.db import columns
from zrb_store.db.columns import ColumnRule, Columns
from zrb_store.db.engine import Database
from zrb_store.db.transaction import Transaction
from zrb_store.errors import InvalidArgument, ZrbStoreError
from zrb_store.names import is_session_name, split_id
from zrb_store.queries import transfer as queries
from zrb_store.queries.invariants import damaged_sessions
from zrb_store.queries.output import size_of_lines
from zrb_store.queries.transfer import Record
from zrb_store.records import Damage


def export(database: Database, names: Sequence[str] | None = None, damage: Damage | None = None) -> Iterator[str]:
    """Write sessions, or all, as JSON Lines as of one moment, the oldest first. Damaged ones are left out."""

    def read() -> Generator[Record]:
        for name in sound_sessions(transaction, names, damage):
            yield from queries.read(transaction, name)

    # One snapshot, so that what one session says of another agrees with the other.
    with database.snapshot() as transaction, contextlib.closing(read()) as records:
        yield from write_lines(records)


def sound_sessions(transaction: Transaction, names: Sequence[str] | None, damage: Damage | None) -> Iterator[str]:
    """Yield which of these sessions, or of all, can be imported, the oldest first. `damage` collects the others."""
    chosen = None if names is None else set(names)
    damaged = damaged_sessions(transaction, names)
    for name in queries.names(transaction):
        if chosen is not None and name not in chosen:
            continue
        # A session is read twice, since a line that was printed cannot be taken back.
        problem = damaged.get(name) or _problem(queries.read(transaction, name))
        if problem is None:
            yield name
        elif damage is not None:
            damage.note(f"session {name}", [problem])


def _problem(records: Iterator[Record]) -> str | None:
    """Return the reason why `import` would refuse one of the records, or None."""
    for record in records:
        kind = record.pop("record")
        try:
            check_fields(kind, record)
        except InvalidRecord as error:
            return f"{kind}: {error}"
    return None


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


# -- lines

FORMAT = 1
_HASH = "sha256"


def write_lines(records: Iterable[Record]) -> Iterator[str]:
    """Write records as lines, without newlines."""
    chain = HashChain()
    yield chain.write({"record": "zrb-store", "format": FORMAT})
    count = 0
    for record in records:
        count += 1
        yield chain.write(record)
    yield chain.write({"record": "end", "records": count})


def read_lines(lines: Iterable[bytes], where: str) -> Iterator[tuple[int, Record]]:
    """Read the records of lines that `write_lines` wrote, each with the number of its line, and check their fields."""
    chain = HashChain()
    previous = "start"
    number = count = 0
    for number, line in enumerate(lines, 1):
        try:
            record = chain.read(line)
            kind = record.pop("record", None)
            _check_place(kind, previous)
            if kind == "zrb-store":
                found = record.get("format")
                if found != FORMAT:
                    raise ZrbStoreError(f"{where} has format {found}, unknown to this version: upgrade zrb-store")
                require(record.keys() == {"format"}, "its fields are not those of this format")
            elif kind == "end":
                require(record == {"records": count}, "records are missing")
            else:
                check_fields(kind, record)
        except InvalidRecord as error:
            raise damaged_line_error(number, where, error) from None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise damaged_line_error(number, where, "it is not a line of an export") from None
        previous = kind
        if kind in FIELDS:
            count += 1
            yield number, {"record": kind, **record}
    if previous != "end":
        raise ZrbStoreError(f"{where} ends after line {number}, before its end: it was cut off; nothing was imported")


def bounded_lines(file: IO[bytes], where: str) -> Iterator[bytes]:
    """Read the lines of a file; raise an error at one that is longer than those of the largest values."""
    # In a line, a quotation mark of a value has a backslash, and a character of two bytes has six.
    longest = 3 * settings.size("ZRB_STORE_MAX_VALUE") + 1024 * 1024
    for number in itertools.count(1):
        line = file.readline(longest + 1)
        if len(line) > longest:
            reason = f"it is longer than {longest:,} bytes, which ZRB_STORE_MAX_VALUE allows"
            raise damaged_line_error(number, where, reason)
        if not line:
            return
        yield line


def damaged_line_error(line: int, where: str, reason: object) -> ZrbStoreError:
    """Return the error that a line is damaged."""
    return ZrbStoreError(f"line {line} of {where} is damaged: {reason}; nothing was imported")


class HashChain:
    """A chain of hashes, each over a record and the one before: it breaks where a line is changed, moved or missing."""

    def __init__(self) -> None:
        self._last = ""

    def write(self, record: Record) -> str:
        """Return the line of a record."""
        return json.dumps({**record, _HASH: self._next(record)}, separators=(",", ":"))

    def read(self, line: bytes) -> Record:
        """Return the record of a line; raise `InvalidRecord` if its hash is not that of the next line."""
        record = json.loads(line.decode())
        expected = record.pop(_HASH)
        require(self._next(record) == expected, "its hash does not match")
        return record  # type: ignore[no-any-return]

    def _next(self, record: Record) -> str:
        text = json.dumps(record, separators=(",", ":"), sort_keys=True)
        self._last = hashlib.sha256((self._last + text).encode()).hexdigest()
        return self._last


def _check_place(kind: Any, previous: str) -> None:
    require((kind == "zrb-store") == (previous == "start"), "it is out of order")
    require(previous != "end", "it comes after the end")
    require(kind in FIELDS or kind in ("zrb-store", "end"), "its kind is unknown")
    require(previous != "zrb-store" or kind in ("session", "end"), "it belongs to no session")
