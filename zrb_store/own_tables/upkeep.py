"""Make the table of a user's database in advance, and delete the rows that nobody can come back to."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

from zrb_store.db.core import sa, statement, t
from zrb_store.db.dialect import among
from zrb_store.db.engine import Database
from zrb_store.db.location import shown_url, store_url
from zrb_store.db.patience import Patience
from zrb_store.db.transaction import first_column
from zrb_store.errors import InvalidArgument, StoreMissing, StoreUnavailable
from zrb_store.own_tables import done
from zrb_store.own_tables.database import UserDatabase

BATCH = 500
"""How many sessions are looked for at once."""


def _url(location: str) -> sa.URL:
    url = sa.engine.make_url(store_url(location).render_as_string(hide_password=False))
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        raise InvalidArgument(f"{url.get_backend_name()} is not supported: name a PostgreSQL or SQLite database")
    return url


@contextlib.contextmanager
def opened(location: str) -> Iterator[UserDatabase]:
    """Yield the database at a path or URL."""
    url = _url(location)
    if url.drivername == "sqlite" and not Path(url.database or "").is_file():
        raise StoreMissing(f"there is no database at {url.database}: name a file that exists")
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    database = UserDatabase(engine, f"the database {shown_url(url)}")
    try:
        yield database
    except sa.exc.DBAPIError as error:
        raise StoreUnavailable(f"the database {database.url} cannot be used: {database.reason(error)}") from error


def make_table(location: str) -> bool:
    """Make the table `zrb_store_done`; return False if it is there already."""
    with opened(location) as database:
        with database.engine.connect() as connection:
            if not done.is_missing(connection):
                return False
        database.make_table(Patience(database.name, read_only=False))
        return True


def table_statement(location: str) -> str:
    """Return the statement that makes the table."""
    return done.statement(_url(location).get_dialect()())


@statement
def _existing(dialect_name: str) -> sa.Select[str]:
    return sa.select(t.session.c.identity).where(among(dialect_name, t.session.c.identity, "identities"))


def prune(database: Database, location: str) -> int:
    """Delete the rows of sessions that the store does not have, and return how many."""
    count, last = 0, ""
    with opened(location) as other:
        while True:
            with other.engine.connect() as connection:
                if done.is_missing(connection):
                    return 0
                found = done.identities(connection, last, BATCH)
            if not found:
                return count
            # A session is there before its rows are: what is missing now was removed.
            params = {"identities": json.dumps(found)}
            kept = set(map(first_column, database.execute(_existing(database.dialect_name), params)))
            with other.transaction() as connection:
                count += done.delete(connection, [each for each in found if each not in kept])
                connection.commit()
            last = found[-1]
