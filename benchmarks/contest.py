"""The contestants in a race of queues: the raw driver, zrb-store twice, and the peers."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from unittest import mock

from benchmarks import peers
from benchmarks.queues import API, BELOW, RAW, Queue, api, below, live_attempt
from benchmarks.raw import RawSQLite


def new_folder(stack: ExitStack) -> Path:
    """Return a new folder that is removed when the stack is closed."""
    return Path(stack.enter_context(tempfile.TemporaryDirectory()))


def ours(stack: ExitStack, synchronous: str = "NORMAL", name: str = "values") -> dict[str, Queue]:
    """Return the raw driver and zrb-store, each with its own file."""
    folder = new_folder(stack)
    stack.enter_context(mock.patch.dict("os.environ", ZRB_STORE_DURABILITY=synchronous.lower()))
    _, raw_attempt = stack.enter_context(live_attempt(folder / "raw.db"))
    low_store, low_attempt = stack.enter_context(live_attempt(folder / "below.db"))
    store, attempt = stack.enter_context(live_attempt(folder / "api.db"))
    stack.enter_context(attempt)
    raw = RawSQLite(folder / "raw.db", raw_attempt, name, synchronous)
    stack.callback(raw.connection.close)
    return {RAW: raw.queue(), BELOW: below(low_store, low_attempt, name), API: api(store, attempt, name)}


def theirs(stack: ExitStack, synchronous: str) -> dict[str, Queue]:
    """Return the peers, each with its own folder."""
    queues = {}
    for name, factory in peers.available().items():
        queues[name] = factory(new_folder(stack), synchronous)
        stack.callback(queues[name].close)
    return queues
