"""The lines of an export: each is a record as JSON, with a hash of itself and all lines before it."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator
from typing import IO, Any

from zrb_store import settings
from zrb_store.errors import ZrbStoreError
from zrb_store.operations.copy import FIELDS, InvalidRecord, check_fields, require
from zrb_store.queries.copy import Record

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
