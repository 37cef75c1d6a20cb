"""The format of `export`: one JSON object a line, in a fixed order, each with a hash over itself and all before it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from zrb_store.errors import ZrbStoreError
from zrb_store.operations.transfer.checks import Checks, Unsound, demand
from zrb_store.operations.transfer.fields import FIELDS
from zrb_store.queries.transfer import Record

FORMAT = 1
HASH = "sha256"


def write(records: Iterable[Record]) -> Iterator[str]:
    """The lines of the records, without newlines."""
    chain = _Chain()
    yield chain.line({"kind": "zrb-store", "format": FORMAT})
    count = 0
    for record in records:
        count += 1
        yield chain.line(record)
    yield chain.line({"kind": "end", "records": count})


def read(lines: Iterable[bytes], where: str, now: int) -> Iterator[Record]:
    """The records of the lines, checked.

    Args:
        lines: What `write` gave.
        where: How messages name the file.
        now: The clock of the store that they are for, in microseconds.

    Raises:
        ZrbStoreError: A line is damaged, is missing, or is of another format.
    """
    chain, checks = _Chain(), Checks(now)
    before = "start"
    number = count = 0
    for number, line in enumerate(lines, 1):
        try:
            record = chain.record(line)
            kind = record.pop("kind", None)
            _check_place(kind, before)
            if kind == "zrb-store":
                _check_format(record, where)
            elif kind == "end":
                checks.end()
                demand(record == {"records": count}, "records are missing")
            else:
                checks.record(kind, record, number)
        except Unsound as error:
            raise _damaged(error.line or number, where, str(error)) from None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise _damaged(number, where, "it is not a line of an export") from None
        before = kind
        if kind in FIELDS:
            count += 1
            yield {"kind": kind, **record}
    if before != "end":
        raise ZrbStoreError(f"{where} ends after line {number}, before its end: it is cut off; nothing was imported")


def _damaged(line: int, where: str, reason: str) -> ZrbStoreError:
    return ZrbStoreError(f"line {line} of {where} is damaged: {reason}; nothing was imported")


def renaming(names: Mapping[str, str]) -> Callable[[Record], Record]:
    """What gives sessions new names wherever a record names them."""

    def rename(record: Record) -> Record:
        for field in ("parent", "forked_from", "pushed_by", "taken_by"):
            if record.get(field) is not None:
                session, slash, rest = record[field].partition("/")
                record[field] = names.get(session, session) + slash + rest
        if record["kind"] == "session":
            record["name"] = names.get(record["name"], record["name"])
        return record

    return rename


class _Chain:
    """Hashes, each over a record and the hash before it: a line that is changed, moved or missing breaks it."""

    def __init__(self) -> None:
        self._last = ""

    def line(self, record: Record) -> str:
        return json.dumps({**record, HASH: self._next(record)}, separators=(",", ":"))

    def record(self, line: bytes) -> Record:
        record = json.loads(line.decode())
        expected = record.pop(HASH)
        demand(self._next(record) == expected, "its hash does not fit")
        return record  # type: ignore[no-any-return]

    def _next(self, record: Record) -> str:
        text = json.dumps(record, separators=(",", ":"), sort_keys=True)
        self._last = hashlib.sha256((self._last + text).encode()).hexdigest()
        return self._last


def _check_place(kind: Any, before: str) -> None:
    demand((kind == "zrb-store") == (before == "start"), "it is not where it belongs")
    demand(before != "end", "it comes after the end")
    demand(kind in FIELDS or kind in ("zrb-store", "end"), "its kind is unknown")
    demand(before != "zrb-store" or kind in ("session", "end"), "it belongs to no session")


def _check_format(record: Record, where: str) -> None:
    if record.get("format") != FORMAT:
        raise ZrbStoreError(f"{where} has format {record.get('format')}, unknown to this version: upgrade zrb-store")
    demand(record.keys() == {"format"}, "its fields are not those of this format")
