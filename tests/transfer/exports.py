"""Exports of stores: their content, what may be compared of it, and lines that somebody has forged."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from zrb_store import Store, ZrbStoreError
from zrb_store.queries.invariants import INVARIANTS
from zrb_store.transfer.export import export
from zrb_store.transfer.importing import import_sessions
from zrb_store.transfer.lines import write_lines


def exported(store: Store, *names: str) -> bytes:
    return b"".join(line.encode() + b"\n" for line in export(store.database, names or None))


def comparable(content: bytes) -> list[dict[str, Any]]:
    """Return the records without hashes, and each tick as its rank among them, since an import numbers anew."""
    records = [json.loads(line) for line in content.splitlines()]
    places = [
        (record, name)
        for record in records
        for name, tick in record.items()
        if name.endswith("_tick") and tick is not None
    ]
    ranks = {tick: rank for rank, tick in enumerate(sorted({record[name] for record, name in places}))}
    for record, name in places:
        record[name] = ranks[record[name]]
    return [{name: field for name, field in record.items() if name != "sha256"} for record in records]


def imported(store: Store, content: bytes, rename: dict[str, str] | None = None) -> int:
    return import_sessions(store.database, io.BytesIO(content), "the file", rename)


def refusal(store: Store, content: bytes) -> str:
    """Import what must be refused without writing anything, and return the error message."""
    with pytest.raises(ZrbStoreError) as error:
        imported(store, content)
    assert store.sessions() == []
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


def forged(*changes: tuple[int, dict[str, Any]], content: bytes) -> bytes:
    """Return an export with changed records and correct hashes, as somebody could forge it."""
    records = [json.loads(line) for line in content.splitlines()[1:-1]]
    for record in records:
        del record["sha256"]
    for place, change in changes:
        records[place] |= change
    return "\n".join(write_lines(records)).encode()


WRONG = {invariant.name: invariant.wrong for invariant in INVARIANTS}
