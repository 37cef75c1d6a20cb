"""Statements that a test changes."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

from zrb_store.db import core


@contextmanager
def built_again() -> Iterator[None]:
    """Build and compile all statements again within a block, from what the test has replaced, and again after it."""
    with mock.patch.object(core, "_lines", return_value={}):
        _forget()
        yield
    _forget()


def _forget() -> None:
    core._once.cache_clear()
    for each in gc.get_objects():
        if type(each) is core.Statement:
            each.__dict__.pop("construct", None)
