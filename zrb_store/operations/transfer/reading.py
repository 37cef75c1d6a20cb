"""Reading sessions as a stream of records."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence

from zrb_store.db.engine import Database
from zrb_store.inspect.damage import Damage
from zrb_store.operations.transfer.checks import Checker, InvalidRecord
from zrb_store.queries import export as queries
from zrb_store.queries.clock import now_micros
from zrb_store.queries.transfer import Record


def read_sessions(
    database: Database, names: Sequence[str] | None, damage: Damage | None
) -> Generator[Record, None, None]:
    """Read sessions as of one moment, the oldest first. Damaged sessions, which could not be imported, are left out.

    Args:
        database: Where the sessions are.
        names: Full names of the sessions, in any order; None for all sessions.
        damage: Collects the sessions that are left out.

    Yields:
        Each session, followed by the records of everything in it.
    """
    chosen = None if names is None else set(names)
    # One snapshot, so that what one session says of another agrees with the other.
    with database.snapshot() as transaction:
        now = now_micros(transaction)
        for name in queries.names(transaction):
            if chosen is not None and name not in chosen:
                continue
            # A session is read twice, since a record that was yielded cannot be taken back.
            problem = _problem(queries.read(transaction, name), now)
            if problem is None:
                yield from queries.read(transaction, name)
            elif damage is not None:
                damage.note(f"session {name}", [problem])


def _problem(records: Iterator[Record], now: int) -> str | None:
    """Return the reason why `import` would refuse a session, or None."""
    checker = Checker(now)
    try:
        for record in records:
            kind = record.pop("kind")
            checker.check(kind, record)
        checker.finish()
    except InvalidRecord as error:
        return f"{kind}: {error}"
    return None
