"""`delivery.transaction`: a value is taken, and what comes of it is committed to the user's database, exactly once."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

from zrb_store import codec
from zrb_store.db.core import sa
from zrb_store.errors import InvalidArgument, ZrbStoreError
from zrb_store.own_tables import done, queries, store
from zrb_store.own_tables.database import UserDatabase
from zrb_store.own_tables.once import Begun, Once
from zrb_store.own_tables.proofs import InRow, InStore
from zrb_store.run.deliveries import Delivery


class _SkippedError(BaseException):
    """Leaves a block that must not run."""


class DeliveryTransaction:
    """The context of a delivery's transaction, also for `async with`. Its block gets a connection and the value.

    If the changes of the value are committed already, by a process that died before its delivery completed, the
    delivery completes and the block does not run.
    """

    def __init__(self, delivery: Delivery, engine: object) -> None:
        self._delivery = delivery
        self._engine = engine
        self._what = f"the transaction of {delivery.attempt.full_name}"
        self._begun: Begun | None = None  # None if there is nothing to do
        self._skipping: Callable[[], None] = lambda: None  # ends the skipping of the block

    def __enter__(self) -> tuple[sa.Connection, Any]:
        connection = self._begin(UserDatabase(self._engine, self._what))
        if self._begun is None:
            self._skipping = skip_block(sys._getframe(1))
        return connection, self._delivery.value

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self._skipping()
        return self._begun is None or self._end(self._begun, error)

    async def __aenter__(self) -> tuple[Any, Any]:
        from zrb_store.own_tables import asynchronous

        database = asynchronous.database(self._engine, self._what)
        connection = await asynchronous.run(functools.partial(self._begin, database))
        if self._begun is None:
            self._skipping = skip_block(sys._getframe(1))
        return asynchronous.connection(self._engine, connection), self._delivery.value

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        from zrb_store.own_tables import asynchronous

        self._skipping()
        if self._begun is None:
            return True
        return bool(await asynchronous.run(functools.partial(self._end, self._begun, error)))

    def _begin(self, database: UserDatabase) -> sa.Connection:
        delivery, attempt = self._delivery, self._delivery.attempt
        if len(delivery.seqs) != 1:
            raise InvalidArgument(f"{self._what} has {len(delivery.seqs)} values: consume without `batch`")
        found = queries.taken_value(attempt.database, *delivery.place, delivery.seqs[0])
        if found is None or not delivery.is_open:
            attempt.refuse_if_closed()
            raise ZrbStoreError(f"{self._what} cannot begin: the delivery has ended")
        database.find(attempt.database)
        key = done.Key(found.identity, "value", delivery.place[1], str(delivery.seqs[0]), found.cycle)
        is_store = store.is_store(database.engine, attempt.database)
        proof = InStore(attempt, lambda _: attempt.complete()) if is_store else InRow(attempt, key, delivery.place[0])
        self._once = Once(database, key, proof, self._what, attempt.database)
        begun = self._once.begin()
        if isinstance(begun, str):
            delivery.complete()
            with database.engine.connect() as closed:
                return closed
        if not is_store or database.is_async:
            attempt.is_elsewhere = f"{self._what} is one of {database.name}"
        self._begun = begun
        delivery.__enter__()
        self._kept_open = self._once.kept_open(begun)
        self._kept_open.__enter__()
        return begun.connection

    def _end(self, begun: Begun, error: BaseException | None) -> bool:
        """End the transaction and the delivery; return whether the exception is dealt with."""
        delivery, attempt = self._delivery, self._delivery.attempt
        delivery._leave()
        failure: BaseException | None = None
        with contextlib.closing(begun):
            try:
                self._kept_open.__exit__(type(error) if error else None, error, error.__traceback__ if error else None)
                if error is None:
                    self._once.end(begun, codec.encode(None))
            except BaseException as raised:  # noqa: BLE001 - it is raised again, unless the delivery deals with it
                failure = raised
        failure = failure or error
        if failure is None:
            if attempt.is_open:
                attempt.complete()
            delivery._note_end(True)
            return False
        attempt.reopen()
        if self._once.is_unknown:  # not `failed`: it may have happened
            delivery.fail(failure, "interrupted")
        elif delivery._end(failure):
            return True
        if failure is error:
            return False
        raise failure


def skip_block(block: FrameType) -> Callable[[], None]:
    """Let a `with` block raise an exception before its first line, and return what its `__exit__` has to call.

    Python has no other way to enter a context and not its block. A block on the line of the `with` begins, but its
    connection is closed.
    """
    before, line = (sys.gettrace(), block.f_trace), block.f_lineno

    def leave(frame: FrameType, event: str, argument: object) -> Any:
        if frame.f_lineno != line:  # an `async with` goes on before its block, on some releases of Python
            raise _SkippedError
        return leave

    def restore() -> None:
        trace, block.f_trace = before
        sys.settrace(trace)

    sys.settrace(lambda *_: None)
    block.f_trace = leave
    return restore
