"""`doctor`: check a store's rows, its file and this machine. Nothing here writes."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator

from zrb_store.db import about, schema
from zrb_store.db.engine import Database
from zrb_store.db.revision import REVISION
from zrb_store.errors import StoreUnavailable
from zrb_store.inspect.doctor import files, rows
from zrb_store.inspect.doctor.finding import Finding
from zrb_store.queries.requeue import dead_by_queue

__all__ = ["Finding", "examine"]

Check = Callable[[Database], Iterator[Finding]]


def examine(database: Database) -> Iterator[Finding]:
    """Check everything that can be checked.

    Args:
        database: The store. It may be opened for reading only, and without a check of its revision.

    Yields:
        A finding for each thing that is wrong.

    Raises:
        StoreMissing: There is no store.
        StoreUnavailable: The server cannot be reached.
    """
    checks: list[Check] = [_revision]
    if about.is_file(database):
        yield from files.examine_place(database)
        checks += files.CHECKS
    sound = True
    unreadable = set()  # the same damage may stop several checks
    for check in checks:
        for finding in _guarded(check, database):
            sound = sound and finding.level == "warning"
            if finding.check == "unreadable":
                if finding in unreadable:
                    continue
                unreadable.add(finding)
            yield finding
    if sound:
        yield from _guarded(rows.examine, database)
        yield from _guarded(_dead_values, database)


def _guarded(check: Check, database: Database) -> Iterator[Finding]:
    """Yield what a check finds. A file that cannot be read is a finding, too."""
    try:
        yield from check(database)
    except StoreUnavailable as error:
        if not about.is_file(database):
            raise
        yield Finding("error", "unreadable", "some of the store cannot be read", str(error))


def _dead_values(database: Database) -> Iterator[Finding]:
    """Report the queues that have dead values. This is no fault of the store, but somebody has to look at them."""
    for each in dead_by_queue(database):
        place = f"{each.session} {shlex.quote(each.queue)}"
        what = f"dead values in queue {each.queue!r} of session {each.session}: {each.dead}"
        remedy = (
            f"`zrb-store show {place} --dead` shows why, `zrb-store requeue {place} --all-dead` makes them live again"
        )
        yield Finding("warning", "dead-values", what, remedy)


def _revision(database: Database) -> Iterator[Finding]:
    found = schema.revision(database)
    if found is None:
        schema.refuse_missing(database)
    if found != REVISION:
        what = f"the schema has revision {found}, this version works with {REVISION}"
        yield Finding(
            "error", "revision", what, "`zrb-store db upgrade`, or a newer zrb-store if that does not know it"
        )
