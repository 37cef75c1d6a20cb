"""Answers that were made a moment ago, for all pages that ask for the same while nothing has changed."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

_MOST_BYTES = 32 * 1024 * 1024
_MAX_AGE = 4.0  # seconds: that a process has died, or how long it has run, is committed nowhere


class Answer(NamedTuple):
    """An answer to a request.

    Attributes:
        status: Its status.
        body: What is sent.
        media_type: What that is.
        tag: What differs if the page has to be drawn again.
        location: The address to which it leads, if it leads elsewhere.
    """

    status: int
    body: bytes
    media_type: str
    tag: str
    location: str | None = None


def tag_of(text: str | bytes) -> str:
    """Return a tag of what an answer depends on."""
    raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    return f'"{hashlib.sha256(raw).hexdigest()[:24]}"'


class Answers:
    """The newest answers. An answer is used again only as long as the store is being watched and has not changed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: OrderedDict[str, tuple[str, float, Answer]] = OrderedDict()
        self._under_way: dict[str, threading.Lock] = {}

    def get(self, key: str, mark: Callable[[], str | None], make: Callable[[], Answer]) -> Answer:
        """Return an answer, made now or a moment ago; who asks for the same at the same time gets the same.

        Args:
            key: What is asked for.
            mark: Returns the mark of the store's last change; None if nobody watches the store.
            make: Makes the answer.
        """
        if mark() is None:
            return make()
        with self._lock:
            own = self._under_way.setdefault(key, threading.Lock())
        with own:
            now = mark()
            with self._lock:
                before = self._made.get(key)
            if before is not None and before[0] == now and time.monotonic() - before[1] < _MAX_AGE:
                return before[2]
            began = time.monotonic()
            answer = make()
            if now is not None and answer.status == 200:
                self._keep(key, now, began, answer)
            return answer

    def _keep(self, key: str, mark: str, began: float, answer: Answer) -> None:
        with self._lock:
            self._made[key] = mark, began, answer
            self._made.move_to_end(key)
            size = sum(len(kept.body) for _, _, kept in self._made.values())
            while size > _MOST_BYTES or len(self._made) > 100:
                oldest, (_, _, dropped) = self._made.popitem(last=False)
                size -= len(dropped.body)
                self._under_way.pop(oldest, None)
