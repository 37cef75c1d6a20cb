"""The connections of the pages to their store: opened when they are needed, only for reading, and only a few."""

from __future__ import annotations

import contextlib
import os
import queue
from collections.abc import Iterator

from zrb_store.db.about import file_of, is_file
from zrb_store.db.dialect import StoreReplaced
from zrb_store.db.engine import Database
from zrb_store.db.revision import REVISION
from zrb_store.db.schema import revision
from zrb_store.db.sqlite_file import wal
from zrb_store.errors import ZrbStoreError
from zrb_store.store import Store, open_store

_MOST = 4


class Stores:
    """Read-only connections to one store, each used by one thread at a time.

    A store that cannot be read is opened again for the next reader, so that pages recover by themselves: after an
    outage, an upgrade, or when the file was deleted, replaced or created.
    """

    def __init__(self, location: str | os.PathLike[str] | None = None) -> None:
        """Prepare to open a store.

        Args:
            location: Its path or URL; by default `ZRB_STORE_URL`.
        """
        self._location = location
        self._idle: queue.LifoQueue[Store | None] = queue.LifoQueue()
        self._is_closed = False
        for _ in range(_MOST):
            self._idle.put(None)

    @contextlib.contextmanager
    def database(self) -> Iterator[Database]:
        """Yield a database that no other thread uses meanwhile.

        Raises:
            StoreMissing: There is no store.
            StoreUnavailable: It cannot be read.
            SchemaBehind: It must be upgraded first.
            SchemaAhead: A newer zrb-store has upgraded it.
        """
        store = self._idle.get()
        try:
            store = self._usable(store)
            yield store.database
        except ZrbStoreError as error:
            if error.exit_code == 69 and store is not None:  # not for a session that does not exist
                store.close()
                store = None
            raise
        finally:
            if store is not None and (self._is_closed or not _sees_commits(store.database)):
                store.close()
                store = None
            self._idle.put(store)

    def open(self) -> Store:
        """Open the store for somebody who closes it.

        Raises:
            ZrbStoreError: As for `database`.
        """
        return open_store(self._location, read_only=True)

    def _usable(self, store: Store | None) -> Store:
        if store is not None:
            is_same = False
            with contextlib.suppress(StoreReplaced):
                store.database.refuse_replaced()
                is_same = revision(store.database) == REVISION
            if is_same:
                return store
            store.close()
        return self.open()

    def close(self) -> None:
        """Close the connections that are idle, and the others as soon as they are."""
        self._is_closed = True
        idle = []
        with contextlib.suppress(queue.Empty):
            while True:
                idle.append(self._idle.get_nowait())
        for store in idle:  # all are out of the queue: its last one in is its first one out
            self._idle.put(None)
            if store is not None:
                store.close()


def _sees_commits(database: Database) -> bool:
    """Whether an open connection sees what is committed later. One to a file without a log may not."""
    return not is_file(database) or wal(file_of(database)).exists()
