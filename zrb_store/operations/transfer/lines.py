"""The format of `export`: one JSON object a line, in a fixed order, each with a hash over itself and all before it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from zrb_store.errors import InvalidName, ZrbStoreError
from zrb_store.names import check_session_name, split_id
from zrb_store.queries import transfer as queries
from zrb_store.queries.transfer import Record

FORMAT = 1
HASH = "sha256"

_LINKS: dict[str, dict[str, type]] = {
    "run": {},
    "session": {},
    "queue": {},
    "attempt": {"run": int, "result_queue": str},
    "value": {"queue": str, "pushed_by": str, "taken_by": str},
    "return": {"queue": str, "taken_by": str},
    "change": {},
}
_COLUMNS = {
    "session": queries.SESSION,
    "run": queries.RUN,
    "queue": queries.QUEUE,
    "attempt": queries.ATTEMPT,
    "value": queries.VALUE,
    "return": queries.RETURN,
    "change": queries.CHANGE,
}
# What each kind of record has: the type of each field, and whether it may be null.
_FIELDS: dict[str, dict[str, tuple[type, bool]]] = {
    kind: {name: (type_, name != "queue") for name, type_ in _LINKS[kind].items()}
    | {column.name: (column.type.python_type, bool(column.nullable)) for column in columns}
    for kind, columns in _COLUMNS.items()
}


def write(records: Iterable[Record]) -> Iterator[str]:
    """The lines of the records, without newlines."""
    chain = _Chain()
    yield chain.line({"kind": "zrb-store", "format": FORMAT})
    count = 0
    for record in records:
        count += 1
        yield chain.line(record)
    yield chain.line({"kind": "end", "records": count})


def read(lines: Iterable[bytes], where: str) -> Iterator[Record]:
    """The records of the lines, checked.

    Raises:
        ZrbStoreError: A line is damaged, is missing, or is of another format.
    """
    chain = _Chain()
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
                _check(record == {"records": count}, "records are missing")
            else:
                _check_fields(kind, record)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            reason = str(error) if isinstance(error, _Damaged) else "it is not a line of an export"
            raise ZrbStoreError(f"line {number} of {where} is damaged: {reason}; nothing was imported") from None
        before = kind
        if kind in _FIELDS:
            count += 1
            yield {"kind": kind, **record}
    if before != "end":
        raise ZrbStoreError(f"{where} ends after line {number}, before its end: it is cut off; nothing was imported")


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


class _Damaged(ValueError):
    """What is wrong with a line."""


class _Chain:
    """Hashes, each over a record and the hash before it: a line that is changed, moved or missing breaks it."""

    def __init__(self) -> None:
        self._last = ""

    def line(self, record: Record) -> str:
        return json.dumps({**record, HASH: self._next(record)}, separators=(",", ":"))

    def record(self, line: bytes) -> Record:
        record = json.loads(line.decode())
        expected = record.pop(HASH)
        _check(self._next(record) == expected, "its hash does not fit")
        return record  # type: ignore[no-any-return]

    def _next(self, record: Record) -> str:
        text = json.dumps(record, separators=(",", ":"), sort_keys=True)
        self._last = hashlib.sha256((self._last + text).encode()).hexdigest()
        return self._last


def _check(condition: Any, reason: str) -> None:
    if not condition:
        raise _Damaged(reason)


def _check_place(kind: Any, before: str) -> None:
    _check((kind == "zrb-store") == (before == "start"), "it is not where it belongs")
    _check(before != "end", "it comes after the end")
    _check(kind in _FIELDS or kind in ("zrb-store", "end"), "its kind is unknown")
    _check(before != "zrb-store" or kind in ("session", "end"), "it belongs to no session")


def _check_format(record: Record, where: str) -> None:
    if record.get("format") != FORMAT:
        raise ZrbStoreError(f"{where} has format {record.get('format')}, unknown to this version: upgrade zrb-store")


def _check_fields(kind: str, record: Record) -> None:
    fields = _FIELDS[kind]
    _check(record.keys() == fields.keys(), "its fields are not those of this format")
    for name, (type_, nullable) in fields.items():
        field = record[name]
        _check(nullable if field is None else type(field) is type_, f"{name} is not of its type")
        _check(type_ is not int or field is None or -(2**63) <= field < 2**63, f"{name} is too large")
        if type(field) is str:
            _check("\0" not in field and field.encode("utf-8", "replace").decode() == field, f"{name} is no text")
    if kind == "value":
        _check(record["data"].isascii(), "data is not ASCII")
    try:
        if kind == "session":
            check_session_name(record["name"])
        for name in ("pushed_by", "taken_by"):
            if record.get(name) is not None:
                split_id(record[name])
    except InvalidName as error:
        raise _Damaged(str(error)) from None
