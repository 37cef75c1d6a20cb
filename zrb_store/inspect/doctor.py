"""`doctor`: check a store's rows, its file and this machine. Nothing here writes."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from zrb_store import system
from zrb_store.codec.text import NOT_JSON, problem_of
from zrb_store.db import REVISION, schema
from zrb_store.db.columns import OUTPUT, TABLES
from zrb_store.db.dialect.sqlite import other_names
from zrb_store.db.engine import Database
from zrb_store.errors import StoreUnavailable
from zrb_store.inspect.advice import advice_on_dead_values, look_at_dead_values
from zrb_store.queries.damage import damaged_rows, label, say, texts
from zrb_store.queries.dead_queues import dead_queues
from zrb_store.queries.invariants import of_database, violations
from zrb_store.queries.output import size_of_lines

# WAL needs shared memory, which files on these systems cannot give to processes on several machines.
NETWORK_FILE_SYSTEMS = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "coda", "drvfs", "fuse.ceph", "fuse.glusterfs", "fuse.sshfs", "gfs2"}
    | {"glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "ocfs2", "smb2", "smb3", "smbfs", "virtiofs"}
)
LARGE_WAL = 64 * 1024 * 1024
_WAL_RESET_BUG = ((3, 7, 0), (3, 51, 2))

Level = Literal["error", "warning"]


@dataclass(frozen=True)
class Finding:
    level: Level  # `warning` for what may be intended
    check: str  # name of the check, for programs
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.level}: {self.what}; {self.remedy}"


Check = Callable[[Database], Iterator[Finding]]


def examine(database: Database) -> Iterator[Finding]:
    """Check everything that can be checked of a store, whatever its revision, and yield what is wrong."""
    checks: list[Check] = [_revision]
    if schema.is_file(database):
        yield from _examine_place(database)
        path = schema.file_of(database)
        if path.is_file() and (found := other_names(path)):
            yield Finding("error", "other-names", *found)
            return  # nobody can open it
        checks += [_journal, _integrity]
    findings = dict.fromkeys(finding for check in checks for finding in _guarded(check, database))
    yield from findings
    if all(finding.level == "warning" for finding in findings):
        yield from _guarded(examine_rows, database)
        yield from _guarded(_dead_values, database)


def _guarded(check: Check, database: Database) -> Iterator[Finding]:
    """Yield what a check finds. A file that cannot be read is a finding, too."""
    try:
        yield from check(database)
    except StoreUnavailable as error:
        if not schema.is_file(database):
            raise
        yield Finding("error", "unreadable", "parts of the store cannot be read", str(error))


def _dead_values(database: Database) -> Iterator[Finding]:
    """Report the queues that have dead values. This is no fault of the store, but somebody has to look at them."""
    for each in sorted(dead_queues(database)):
        what = f"dead values in queue {each.queue!r} of session {each.session}: {each.dead}"
        look, again = look_at_dead_values(each.session, each.queue), advice_on_dead_values(each.session, each.queue)
        remedy = (
            f"`{look}` shows why, `{again.command}` makes them live again, `replace` mends one and `drop` takes one out"
        )
        yield Finding("warning", "dead-values", what, remedy)


def _revision(database: Database) -> Iterator[Finding]:
    found = schema.revision(database)
    if found is None:
        schema.refuse_missing(database)
    if found != REVISION:
        what = f"the schema has revision {found}, this version works with {REVISION}"
        yield Finding("error", "revision", what, "`zrb-store db upgrade`, or a newer zrb-store for a newer revision")


# -- rows


def examine_rows(database: Database) -> Iterator[Finding]:
    """Check every invariant of the rows, and each text that must be JSON."""
    for invariant, what in violations(database, of_database(database.dialect_name)):
        yield Finding("error", invariant.name, what, invariant.remedy)
    yield from _damaged_rows(database)
    yield from _encoded(database, "result")
    yield from _output(database)
    yield from _encoded(database, "value")
    yield from _encoded(database, "replaced")


def _of_rows(level: Level, check: str, noun: str, wrong: str, remedy: str, rows: Sequence[str]) -> Iterator[Finding]:
    """Yield the finding about rows, if there are any."""
    if rows:
        yield Finding(level, check, say(noun, wrong, len(rows), list(rows)), remedy)


def _damaged_rows(database: Database) -> Iterator[Finding]:
    """Check that every row fits its table: a failing disk, or a person who turns its rules off, may have changed it."""
    for table in TABLES:
        with database.snapshot() as transaction:
            damaged = list(damaged_rows(transaction, table))
        remedy = "restore a backup, or mend them with SQL; `zrb-store rm` deletes a session that cannot be read"
        yield from _of_rows("error", "damaged-row", "row", "do not fit their table", remedy, damaged)


def _output(database: Database) -> Iterator[Finding]:
    """Check the lines of the output of attempts."""
    with database.snapshot() as transaction:
        damaged = [
            label(row)
            for *row, size, data in texts(transaction, "output")
            if OUTPUT["data"].problem(data) or size_of_lines(data) != size
        ]
    remedy = "restore a backup, or delete these rows of zrb_output with SQL"
    yield from _of_rows("error", "output-data", "attempt", "have a damaged piece of output", remedy, damaged)


def _encoded(database: Database, kind: Literal["result", "value", "replaced"]) -> Iterator[Finding]:
    """Check that results of steps, or present or earlier values of queues, are JSON, and of types known here."""
    damaged, unknown = list[str](), list[str]()
    noun = "earlier value" if kind == "replaced" else kind
    with database.snapshot() as transaction:
        for *row, text in texts(transaction, kind):
            problem = problem_of(text) if type(text) is str else NOT_JSON
            if problem:
                (damaged if problem == NOT_JSON else unknown).append(label(row))
    yield from _of_rows("error", f"{kind}-data", noun, "are not JSON", "restore a backup", damaged)
    wrong = "have a type unknown to this version"
    remedy = "upgrade zrb-store, if a newer one wrote them"
    yield from _of_rows("warning", f"{kind}-type", noun, wrong, remedy, unknown)


# -- the file and its folder


def _examine_place(database: Database) -> Iterator[Finding]:
    """Check what can be seen without opening the file."""
    path = schema.file_of(database)
    if path.is_file():
        yield from _rights(path)
        kind = system.here().file_system(path)
        if kind in NETWORK_FILE_SYSTEMS:
            what = f"{path} is on a network file system ({kind}), where SQLite cannot share a store between machines"
            yield Finding("warning", "file-system", what, "keep it on a local disk, or use PostgreSQL")
    version = sqlite3.sqlite_version_info
    if _WAL_RESET_BUG[0] <= version <= _WAL_RESET_BUG[1]:
        what = f"SQLite {'.'.join(map(str, version))} has the WAL-reset bug, which can very rarely damage a busy store"
        yield Finding("warning", "sqlite-release", what, "use a Python with SQLite 3.51.3 or newer, and keep backups")


def _rights(path: Path) -> Iterator[Finding]:
    is_shared = _is_shared(path)
    for file in (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm"))):
        mode = stat.S_IMODE(file.stat().st_mode) if file.exists() else 0
        if mode & 0o007:
            what = f"{file} has mode {mode:04o}: every user of this machine can read its values"
            yield Finding("error", "file-rights", what, f"chmod 600 {file}")
        elif mode & 0o070 and not is_shared:
            what = f"{file} has mode {mode:04o}: its group can read its values"
            yield Finding("warning", "file-rights", what, f"chmod 600 {file}, unless it is shared on purpose")
    yield from _folder_rights(path)
    for place in (path, path.parent):
        if not _may(os.W_OK, place) and _may(os.R_OK, path):  # else it cannot be opened at all, and that is told
            what = f"{place} cannot be written by this user, so the store can only be read"
            is_own = place.stat().st_uid == os.geteuid()
            give = "give it to this user or to a group (mode 660, folder 2770)"
            yield Finding("warning", "not-writable", what, f"chmod u+w {place}" if is_own else give)


def _is_shared(path: Path) -> bool:
    """Whether a group shares the store as docs/explanation/security.md says: mode 660 in a folder of mode 2770."""
    folder = stat.S_IMODE(path.parent.stat().st_mode)
    return bool(path.stat().st_mode & stat.S_IWGRP and folder & stat.S_IWGRP and folder & stat.S_ISGID)


def _folder_rights(path: Path) -> Iterator[Finding]:
    """Check what others can do in the folder. The group of a shared store is meant to write there."""
    folder = path.parent
    mode = stat.S_IMODE(folder.stat().st_mode)
    is_shared = bool(path.stat().st_mode & stat.S_IWGRP)
    level: Level = "warning"
    close = f"chmod {'2770' if is_shared else '700'} {folder}"
    if mode & stat.S_IWOTH and mode & stat.S_ISVTX:
        # Whoever creates a -wal or -journal file before SQLite does decides what SQLite reads.
        can = "every user can put files beside the store that SQLite would use as its own"
        close = "move the store to a folder of its own"
    elif mode & stat.S_IWOTH:
        level, can = "error", "every user can replace the store"
    elif mode & stat.S_IWGRP and not is_shared:
        can = "its group can replace the store"
    elif mode & stat.S_IROTH and all(parent.stat().st_mode & stat.S_IXOTH for parent in folder.parents):
        can = "every user can see which files the store has, and when they change"
    else:
        return
    yield Finding(level, "folder-rights", f"the folder {folder} has mode {mode:04o}: {can}", close)


def _may(what: int, path: Path) -> bool:
    return os.access(path, what, effective_ids=os.access in os.supports_effective_ids)


def _journal(database: Database) -> Iterator[Finding]:
    mode = schema.journal_mode(database)
    # If SQLite may not write to the folder, it reports `delete`, whatever the mode is.
    if mode != "wal" and _may(os.W_OK, schema.file_of(database).parent):
        what = f"the journal mode is {mode}: readers and writers block each other"
        yield Finding("error", "journal-mode", what, f"sqlite3 {schema.file_of(database)} 'PRAGMA journal_mode=WAL'")
    size = schema.wal_size(database) or 0
    if size > LARGE_WAL:
        what = f"the -wal file has {size:,} bytes: a process reads an old state, or no process could write it back"
        yield Finding("warning", "wal-size", what, "end hanging processes; it shrinks when all have closed the store")


def _integrity(database: Database) -> Iterator[Finding]:
    damage = schema.damage(database)
    if damage:
        what = f"the file is damaged ({damage[0]}" + (f" and {len(damage) - 1} more)" if damage[1:] else ")")
        remedy = "restore a backup, or save what is readable with `sqlite3 FILE .recover`"
        yield Finding("error", "integrity", what, remedy)
    dangling = schema.dangling(database)
    if dangling:
        what = f"{sum(dangling.values())} rows refer to missing rows (in {', '.join(dangling)})"
        yield Finding("error", "references", what, "restore a backup; another program changed the store")
