"""Engines of `create_async_engine`: the same code runs in a greenlet, and awaits in it what is to be awaited."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.util import await_only, greenlet_spawn

from zrb_store.db.core import sa
from zrb_store.errors import InvalidArgument
from zrb_store.own_tables.database import UserDatabase


def is_engine(engine: object) -> bool:
    """Whether an engine is one of `create_async_engine`."""
    return isinstance(engine, AsyncEngine)


def database(engine: object, what: str) -> UserDatabase:
    """Return the database of an asynchronous engine, for code that `run` runs."""
    if not isinstance(engine, AsyncEngine):
        raise InvalidArgument(f"{what} needs an engine of `create_async_engine`, not a {type(engine).__name__}")
    return UserDatabase(engine.sync_engine, what, pause=lambda seconds: await_only(asyncio.sleep(seconds)))


def caller(
    engine: object, function: Callable[..., Awaitable[Any]], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Callable[[sa.Connection], Any]:
    """Return what awaits a coroutine function with an asynchronous connection."""
    assert isinstance(engine, AsyncEngine)

    def call(connection: sa.Connection) -> Any:
        return await_only(function(AsyncConnection(engine, connection), *args, **kwargs))

    return call


def connection(engine: object, connection: sa.Connection) -> AsyncConnection:
    """Return a connection as coroutines use it."""
    assert isinstance(engine, AsyncEngine)
    return AsyncConnection(engine, connection)


def sync_connection(connection: object) -> sa.Connection | None:
    """Return the connection below one that coroutines use; None if it is none, or not open."""
    return connection.sync_connection if isinstance(connection, AsyncConnection) else None


async def run(work: Callable[[], Any]) -> Any:
    """Run code that may await by `await_only`."""
    return await greenlet_spawn(work)
