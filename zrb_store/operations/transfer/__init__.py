"""Moving sessions: to JSON Lines and back, and from one store to another."""

from __future__ import annotations

import contextlib
import functools
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import IO

from zrb_store.db.engine import Database
from zrb_store.errors import InvalidName, SessionNotFound, ZrbStoreError
from zrb_store.names import check_session_name
from zrb_store.operations.transfer import lines
from zrb_store.operations.transfer.checks import Checks, Unsound
from zrb_store.operations.transfer.writing import write
from zrb_store.queries import sessions, values
from zrb_store.queries import transfer as queries
from zrb_store.queries.transfer import Record
from zrb_store.reading.damage import Damage


def export_lines(database: Database, names: Sequence[str] | None = None, damage: Damage | None = None) -> Iterator[str]:
    """Sessions as JSON Lines, all as of one moment. Damaged ones, which could not be imported, are left out.

    Args:
        database: Where they are.
        names: Which; by default all. The oldest come first, whatever the order here.
        damage: Collects what is left out.

    Yields:
        The lines, each with the hash of itself and everything before it.
    """
    with contextlib.closing(_read(database, names, damage)) as records:
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
        read = functools.partial(lines.read, where=where, now=values.moment(database))
        names = [record["name"] for record in read(file) if record["kind"] == "session"]
        if missing := rename.keys() - set(names):
            raise SessionNotFound(f"{where} has no session {', '.join(sorted(missing))} to rename")
        for name, count in Counter(rename.get(name, name) for name in names).items():
            if count > 1:
                raise ZrbStoreError(f"{count} sessions would be named {name}: choose another name")
            _refuse_existing(database, name, f"--rename {name}=NEW gives it another name")
        file.seek(0)
        return write(database, map(lines.renaming(rename), read(file)), "import")


def copy(
    source: Database,
    target: Database,
    names: Sequence[str] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    damage: Damage | None = None,
) -> int:
    """Copy sessions from one store to another, as of one moment, each in one transaction; damaged ones are left out.

    Args:
        source: Where they are.
        target: Where to write them.
        names: Which; by default all.
        progress: Called after each session with the number of those done and of all.
        damage: Collects what is left out.

    Returns:
        How many.

    Raises:
        ZrbStoreError: There is a session of such a name already. Nothing was written.
    """
    if source.url == target.url:
        raise InvalidName("both are the same store: name another one to copy to")
    wanted = None if names is None else dict.fromkeys(names)
    total = queries.count(source) if wanted is None else len(wanted)
    with source.snapshot() as transaction:
        for name in queries.names(transaction) if wanted is None else wanted:
            _refuse_existing(target, name, "copy to a new store, delete it there, or name the sessions to copy")
    with contextlib.closing(_read(source, names, damage)) as records:
        return write(target, records, "copy", lambda done: progress(done, total))


def _read(database: Database, names: Sequence[str] | None, damage: Damage | None) -> Generator[Record, None, None]:
    wanted = None if names is None else set(names)
    # One snapshot, so that what two sessions have to do with each other agrees.
    with database.snapshot() as transaction:
        now = values.moment(transaction)
        for name in queries.names(transaction):
            if wanted is not None and name not in wanted:
                continue
            # Read twice: what was given out cannot be taken back.
            problem = _problem(queries.read(transaction, name), now)
            if problem is None:
                yield from queries.read(transaction, name)
            elif damage is not None:
                damage.note(f"session {name}", [problem])


def _problem(records: Iterator[Record], now: int) -> str | None:
    """What `import` would have against a session, or None."""
    checks = Checks(now)
    try:
        for record in records:
            kind = record.pop("kind")
            checks.record(kind, record)
        checks.end()
    except Unsound as error:
        return f"{kind}: {error}"
    return None


def _refuse_existing(database: Database, name: str, remedy: str) -> None:
    if sessions.by_name(database, name) is not None:
        raise ZrbStoreError(f"there is a session {name} in {database.shown_url} already: {remedy}")
