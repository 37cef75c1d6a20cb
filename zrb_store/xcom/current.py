"""The attempt that the current code runs in."""

from __future__ import annotations

from contextvars import ContextVar

from zrb_store.queries.owner import Owner

current_attempt: ContextVar[Owner | None] = ContextVar("zrb_store_current_attempt", default=None)
