"""Moving sessions: to JSON Lines and back, and from one store to another."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import IO

from zrb_store.db.engine import Database
from zrb_store.errors import InvalidName, SessionNotFound, ZrbStoreError
from zrb_store.names import check_session_name
from zrb_store.operations.transfer import lines
from zrb_store.operations.transfer.writing import write
from zrb_store.queries import sessions
from zrb_store.queries import transfer as queries
from zrb_store.queries.transfer import Record


def export_lines(database: Database, names: Sequence[str] | None = None) -> Iterator[str]:
    """Sessions as JSON Lines, all as of one moment.

    Args:
        database: Where they are.
        names: Which; by default all. The oldest come first, whatever the order here.

    Yields:
        The lines, each with the hash of itself and everything before it.
    """
    with contextlib.closing(_read(database, names)) as records:
        yield from lines.write(records)


def import_lines(database: Database, file: IO[bytes], where: str, rename: Mapping[str, str] | None = None) -> int:
    """Write the sessions of JSON Lines, after all of them were found to be whole, each in one transaction.

    Args:
        database: Where to write them.
        file: What `export_lines` gave.
        where: How messages name the file.
        rename: New names of sessions by the old ones.

    Returns:
        How many.

    Raises:
        ZrbStoreError: A line is damaged or missing, or there is a session of such a name already. Nothing was written.
        SessionNotFound: A session to rename is not there.
        InvalidName: No session can have this name.
    """
    rename = dict(rename or {})
    for name in rename.values():
        check_session_name(name)
    with contextlib.ExitStack() as stack:
        if not file.seekable():
            copied = stack.enter_context(tempfile.TemporaryFile())
            shutil.copyfileobj(file, copied)
            copied.seek(0)
            file = copied
        names = [record["name"] for record in lines.read(file, where) if record["kind"] == "session"]
        if missing := rename.keys() - set(names):
            raise SessionNotFound(f"{where} has no session {', '.join(sorted(missing))} to rename")
        for name, count in Counter(rename.get(name, name) for name in names).items():
            if count > 1:
                raise ZrbStoreError(f"{count} sessions would be named {name}: choose another name")
            _refuse_existing(database, name, f"--rename {name}=NEW gives it another name")
        file.seek(0)
        return write(database, map(lines.renaming(rename), lines.read(file, where)), "import")


def copy(
    source: Database,
    target: Database,
    names: Sequence[str] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Copy sessions from one store to another, all as of one moment, each in one transaction.

    Args:
        source: Where they are.
        target: Where to write them.
        names: Which; by default all.
        progress: Called after each session with the number of those done and of all.

    Returns:
        How many.

    Raises:
        ZrbStoreError: There is a session of such a name already. Nothing was written.
    """
    if source.url == target.url:
        raise InvalidName("both are the same store: name another one to copy to")
    wanted = None if names is None else dict.fromkeys(names)
    total = queries.count(source) if wanted is None else len(wanted)
    for name in queries.names(source) if wanted is None else wanted:
        _refuse_existing(target, name, "copy to a new store, delete it there, or name the sessions to copy")
    with contextlib.closing(_read(source, names)) as records:
        return write(target, records, "copy", lambda done: progress(done, total))


def _read(database: Database, names: Sequence[str] | None) -> Generator[Record, None, None]:
    wanted = None if names is None else set(names)
    # One snapshot, so that what two sessions have to do with each other agrees.
    with database.snapshot() as transaction:
        for name in queries.names(transaction):
            if wanted is None or name in wanted:
                yield from queries.read(transaction, name)


def _refuse_existing(database: Database, name: str, remedy: str) -> None:
    if sessions.by_name(database, name) is not None:
        raise ZrbStoreError(f"there is a session {name} in {database.shown_url} already: {remedy}")
