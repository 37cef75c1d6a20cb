"""The format of `export`: a JSON object per line, in a fixed order, each with a hash of itself and all lines before."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from zrb_store.errors import ZrbStoreError
from zrb_store.operations.transfer.checks import Checker, InvalidRecord, require
from zrb_store.operations.transfer.fields import FIELDS, LATER
from zrb_store.queries.transfer import Record

FORMAT = 1
HASH = "sha256"


def write(records: Iterable[Record]) -> Iterator[str]:
    """Write records as lines, without newlines."""
    chain = _HashChain()
    yield chain.write({"kind": "zrb-store", "format": FORMAT})
    count = 0
    for record in records:
        count += 1
        yield chain.write(record)
    yield chain.write({"kind": "end", "records": count})


def read(lines: Iterable[bytes], where: str, now: int) -> Iterator[Record]:
    """Read the records of lines that `write` wrote, and check them.

    Args:
        lines: The lines.
        where: What messages call the file.
        now: The clock of the store that will have the records, in microseconds.

    Raises:
        ZrbStoreError: A line is damaged, is missing, or has another format.
    """
    chain, checker = _HashChain(), Checker(now)
    previous = "start"
    number = count = 0
    for number, line in enumerate(lines, 1):
        try:
            record = chain.read(line)
            kind = record.pop("kind", None)
            _check_place(kind, previous)
            if kind == "zrb-store":
                _check_format(record, where)
            elif kind == "end":
                checker.finish()
                require(record == {"records": count}, "records are missing")
            else:
                record = {**LATER.get(kind, {}), **_ticks(kind, record), **record}
                checker.check(kind, record, number)
        except InvalidRecord as error:
            raise _damaged(error.line or number, where, str(error)) from None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise _damaged(number, where, "it is not a line of an export") from None
        previous = kind
        if kind in FIELDS:
            count += 1
            yield {"kind": kind, **record}
    if previous != "end":
        raise ZrbStoreError(f"{where} ends after line {number}, before its end: it is cut off; nothing was imported")


def _ticks(kind: Any, record: Record) -> Record:
    """Return the ticks that a record of an older export has: the order of its times."""
    names = (name for name in FIELDS.get(kind, {}) if name.endswith("_tick"))
    return {name: record.get(f"{name.removesuffix('_tick')}_at") for name in names}


def _damaged(line: int, where: str, reason: str) -> ZrbStoreError:
    return ZrbStoreError(f"line {line} of {where} is damaged: {reason}; nothing was imported")


def renaming(names: Mapping[str, str]) -> Callable[[Record], Record]:
    """Return a function that renames sessions wherever a record names them.

    Args:
        names: New names by old names.
    """

    def rename(record: Record) -> Record:
        for field in ("parent", "forked_from", "attempt", "pushed_by", "taken_by"):
            if record.get(field) is not None:
                session, slash, rest = record[field].partition("/")
                record[field] = names.get(session, session) + slash + rest
        if record["kind"] == "session":
            record["name"] = names.get(record["name"], record["name"])
        return record

    return rename


class _HashChain:
    """A chain of hashes, each over a record and the hash before it.

    The chain breaks at a line that is changed, moved or missing.
    """

    def __init__(self) -> None:
        self._last = ""

    def write(self, record: Record) -> str:
        return json.dumps({**record, HASH: self._next(record)}, separators=(",", ":"))

    def read(self, line: bytes) -> Record:
        record = json.loads(line.decode())
        expected = record.pop(HASH)
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


def _check_format(record: Record, where: str) -> None:
    if record.get("format") != FORMAT:
        raise ZrbStoreError(f"{where} has format {record.get('format')}, unknown to this version: upgrade zrb-store")
    require(record.keys() == {"format"}, "its fields are not those of this format")
