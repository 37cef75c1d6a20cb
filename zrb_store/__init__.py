"""Durable sessions and XCom queues for zrb and for any script, in SQLite or PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zrb_store import errors

if TYPE_CHECKING:
    from zrb_store.attempt import Attempt as Attempt
    from zrb_store.attempt.attempt import OutputHandler as OutputHandler
    from zrb_store.codec import register_codec as register_codec
    from zrb_store.run import Delivery as Delivery
    from zrb_store.run import Run as Run
    from zrb_store.stepping import once_tool as once_tool
    from zrb_store.stepping import step as step
    from zrb_store.store import Session as Session
    from zrb_store.store import Store as Store
    from zrb_store.store import open_store as open_store
    from zrb_store.xcom import Xcom as Xcom

_HOMES = {
    "Attempt": "attempt",
    "Delivery": "run",
    "OutputHandler": "attempt",
    "Run": "run",
    "Session": "store",
    "Store": "store",
    "Xcom": "xcom",
    "once_tool": "stepping",
    "open_store": "store",
    "register_codec": "codec",
    "step": "stepping",
}
_ERRORS = [name for name, thing in vars(errors).items() if isinstance(thing, type) and issubclass(thing, Exception)]

__all__ = [*_HOMES, *_ERRORS]


def __getattr__(name: str) -> Any:
    # Importing the plugin must not import SQLAlchemy: what needs it is imported at its first use.
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"zrb_store.{_HOMES[name]}"), name)
    if name in _ERRORS:
        return getattr(errors, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
