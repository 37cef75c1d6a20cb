"""`import`: sessions from the lines of an export.

All lines are first written into an empty scratch database, where the invariants are checked as `doctor` checks them.
Then the sessions are copied from there. So nothing is written into the store unless the whole file is sound, each
session is one short transaction, and memory stays flat.
"""

from __future__ import annotations

import contextlib
import functools
import sqlite3
import tempfile
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import IO

from zrb_store.db.engine import Database
from zrb_store.db.schema import scratch_database
from zrb_store.db.transaction import Transaction
from zrb_store.errors import SessionNotFound, ZrbStoreError
from zrb_store.names import check_session_name
from zrb_store.operations.copy import (
    BATCH,
    InvalidRecord,
    SessionWriter,
    batches_of_owners,
    refuse_existing,
    renaming,
    set_owners,
    write_sessions,
)
from zrb_store.queries import copy as queries
from zrb_store.queries.invariants import INVARIANTS, violations
from zrb_store.transfer.lines import bounded_lines, damaged_line_error, read_lines


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
                refuse_existing(database, name, f"--rename {name}=NEW gives it another name")
            return write_sessions(
                rows, database, names, "import", renaming(rename), lambda done: progress(done, len(names))
            )


def _fill(file: IO[bytes], where: str, scratch: Transaction) -> None:
    """Write the lines of an export into an empty database."""
    number = 0
    written = array("q")
    writer: SessionWriter | None = None
    with tempfile.TemporaryFile("w+") as owners:
        for number, record in read_lines(bounded_lines(file, where), where):
            with _naming_line(number, where):
                if record["record"] == "session":
                    if writer is not None:
                        writer.flush()
                    writer = SessionWriter(scratch, record, owners)
                    written.append(writer.session_id)
                elif writer is not None:
                    writer.write(record)
        with _naming_line(number, where):
            if writer is not None:
                writer.flush()
        for batch in batches_of_owners(owners):
            set_owners(batch, written, scratch)


@contextlib.contextmanager
def _naming_line(number: int, where: str) -> Iterator[None]:
    try:
        yield
    except InvalidRecord as error:
        raise damaged_line_error(number, where, error) from None
    except sqlite3.IntegrityError:
        reason = f"one of the last {BATCH} lines is repeated, or belongs to a missing line"
        raise damaged_line_error(number, where, reason) from None
