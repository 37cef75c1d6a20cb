"""Notifies open pages of commits to the store."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import threading
import time
from collections.abc import Callable

from zrb_store.runtime.waiting import CommitWatcher
from zrb_store.store import open_store

_AT_MOST_EVERY = 0.2  # seconds between two changes that are told
_LOOK_UP = 0.5  # seconds after which the thread looks whether anybody still listens
_TRY_AGAIN = 1.0  # seconds between two tries to read a store that cannot be read


class Watcher:
    """A thread that watches the store while a page is open. While none is, nothing is asked.

    `is_closed` says that the server ends, so that open connections must end too.
    """

    def __init__(
        self, location: str | os.PathLike[str] | None = None, is_ending: Callable[[], bool] = lambda: False
    ) -> None:
        """Prepare to watch a store, by default that of `ZRB_STORE_URL`. It asks twice a second if the server ends."""
        self.location = location
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
        """Wait at most this long for a change after the mark of what a page shows, and return the current mark.

        It is the same if the time was over, and None if the server ends.
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
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(seconds):
                        await event.wait()
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
            with contextlib.suppress(RuntimeError):  # the loop has been closed
                loop.call_soon_threadsafe(event.set)

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
        with open_store(self.location, read_only=True) as store:
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
