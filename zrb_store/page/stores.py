"""How pages reach their store: `Stores` lends connections, `Watcher` tells open pages that something was committed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import secrets
import threading
import time
from collections.abc import Callable, Iterator

from zrb_store.db import REVISION
from zrb_store.db.dialect.sqlite import wal
from zrb_store.db.engine import Database, StoreReplaced
from zrb_store.db.schema import file_of, is_file, revision
from zrb_store.errors import ZrbStoreError
from zrb_store.runtime.waiting import CommitWatcher
from zrb_store.store import Store, open_store

_MOST = 4


class Stores:
    """Read-only connections to one store, each used by one thread at a time.

    A store that cannot be read is opened again for the next reader, so that pages recover by themselves: after an
    outage, an upgrade, or when the file was deleted, replaced or created.
    """

    def __init__(self, location: str | os.PathLike[str] | None = None) -> None:
        """Prepare to open a store, by default that of `ZRB_STORE_URL`."""
        self._location = location
        self._idle: queue.LifoQueue[Store | None] = queue.LifoQueue()
        self._is_closed = False
        for _ in range(_MOST):
            self._idle.put(None)

    @contextlib.contextmanager
    def database(self) -> Iterator[Database]:
        """Yield a database that no other thread uses meanwhile.

        Raises:
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
        """Open the store for somebody who closes it. Raises as `database` does."""
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


_AT_MOST_EVERY = 0.2  # seconds between two changes that are told
_LOOK_UP = 0.5  # seconds after which the thread looks whether anybody still listens
_TRY_AGAIN = 1.0  # seconds between two tries to read a store that cannot be read


class Watcher:
    """What tells open pages that something was committed to the store.

    While no page is open nothing is watched and nothing is asked.

    Attributes:
        is_closed: Whether the server ends, so that open connections must end too.
    """

    def __init__(self, stores: Stores, is_ending: Callable[[], bool] = lambda: False) -> None:
        """Prepare to watch.

        Args:
            is_ending: Whether the server ends. The thread asks this twice a second.
        """
        self._stores = stores
        self._is_ending = is_ending
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._listeners: dict[asyncio.Event, asyncio.AbstractEventLoop] = {}
        self._era = secrets.token_hex(4)  # a page that was open before the server started again notices that
        self._changes = 0
        self.is_closed = False

    @property
    def mark(self) -> str:
        """What differs after each change that was noticed."""
        return f"{self._era}-{self._changes}"

    @property
    def is_watching(self) -> bool:
        """Whether changes are noticed: somebody listens."""
        return bool(self._listeners)

    async def changed(self, mark: str, seconds: float) -> str | None:
        """Wait at most this long until the mark of what a page shows is not the current one any more.

        Returns:
            The current mark, which is the same if the time was over; None if the server ends.
        """
        event = asyncio.Event()
        with self._lock:
            self._listeners[event] = asyncio.get_running_loop()
            if self._thread is None and not self.is_closed:
                self._thread = threading.Thread(target=self._watch, name="zrb-store-watcher", daemon=True)
                self._thread.start()
            is_new = mark != self.mark or self.is_closed
        try:
            if not is_new:
                async with asyncio.timeout(seconds):
                    await event.wait()
        except TimeoutError:
            pass
        finally:
            with self._lock:
                del self._listeners[event]
        return None if self.is_closed else self.mark

    def close(self) -> None:
        """Let all who listen go. A signal handler may call this."""
        self.is_closed = True
        self._wake()

    def _wake(self) -> None:
        for event, loop in list(self._listeners.items()):
            try:
                loop.call_soon_threadsafe(event.set)
            except RuntimeError:  # the loop has been closed
                continue

    def _tell(self) -> None:
        with self._lock:
            self._changes += 1
        self._wake()

    def _watch(self) -> None:
        """Watch until nobody has listened for a while. What happened before is told as a change."""
        self._tell()
        while True:
            try:
                self._watch_store()
            except Exception:  # noqa: BLE001 - whatever it is, the watching goes on
                self._tell()  # the pages say what is the matter
                time.sleep(_TRY_AGAIN)
            with self._lock:
                if self.is_closed or not self._listeners:
                    self._thread = None
                    return

    def _watch_store(self) -> None:
        with self._stores.open() as store:
            commits = CommitWatcher(store.database)
            self._tell()  # what was committed while this was opened
            last_heard = time.monotonic()
            while not self.is_closed:
                if self._is_ending():
                    self.close()
                    return
                if commits.wait(_LOOK_UP):
                    self._tell()
                    time.sleep(_AT_MOST_EVERY)
                now = time.monotonic()
                if self._listeners:
                    last_heard = now
                elif now - last_heard > 5.0:  # a page that is loaded again listens again
                    return
