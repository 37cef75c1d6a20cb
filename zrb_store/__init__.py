"""Durable sessions and XCom queues for zrb and for any script, in SQLite or PostgreSQL.

A session is one execution of a workflow. It has queues of values, and attempts: one execution of a task's action each.
A run is one process at work on the session, under a lease. A step is an attempt inside an attempt; a delivery is an
attempt that takes its value as it begins. An attempt is a unit: if it completes, its outputs are kept. If it is given
back, the queues are as if it had never run, and its record stays visible.

The tables (db/tables.py): `zrb_session`, `zrb_run`, `zrb_attempt` (of tasks, steps and deliveries), `zrb_queue`,
`zrb_value` (by queue and seq; with who pushed and who took it), `zrb_return` (each undone take), `zrb_chunk`
(long values), `zrb_output` (what attempts print), `zrb_change` (what people did by hand), `zrb_clock`, `zrb_version`.

Each write is one statement or one transaction, which checks in the database at that moment: the schema is of this
release, the attempt runs, and its fence number is still that of the session. A run that takes a session over raises
that number: every later write of the run before changes nothing and raises an error.

Giving back (queries/give_back.py) closes the attempt, makes the values that it took live again at their old places,
retracts what it pushed, and first gives back the completed steps that depend on either (queries/dependent_steps.py).

Where to look:
    store.py, run/, attempt/, xcom/    the objects of a Python user; below: `step` and `wait` for task files
    runtime/     automatic work: leases, waiting, reclaiming from the dead, output, notifications
    operations/  changes by hand                inspect/   typed data for readers, with one `to_json` each
    queries/     all SQL, by noun               db/        connections, tables, statements, migrations
    codec/       values as JSON text            render/    text for terminals and pages
    cli/, plugin/    the edges: commands, and zrb
    shell/, watch/, page/, transfer/, replay/, agents/, own_tables/, traces/    wings (wings.py), which can be deleted
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar, overload

from zrb_store import errors

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime, timedelta

    from zrb_store.agents.once import once_tool as once_tool
    from zrb_store.attempt import Attempt as Attempt
    from zrb_store.attempt.options import RetryAfter, WithOptions
    from zrb_store.attempt.output_handler import OutputHandler as OutputHandler
    from zrb_store.codec.classes import register_codec as register_codec
    from zrb_store.run import Run as Run
    from zrb_store.run.deliveries import Delivery as Delivery
    from zrb_store.store import Session as Session
    from zrb_store.store import Store as Store
    from zrb_store.store import open_store as open_store
    from zrb_store.xcom import Xcom as Xcom

_HOMES = {
    "Attempt": "attempt",
    "Delivery": "run.deliveries",
    "OutputHandler": "attempt.output_handler",
    "Run": "run",
    "Session": "store",
    "Store": "store",
    "Xcom": "xcom",
    "once_tool": "agents.once",
    "open_store": "store",
    "register_codec": "codec.classes",
}
_ERRORS = [name for name, thing in vars(errors).items() if isinstance(thing, type) and issubclass(thing, BaseException)]

__all__ = [*_HOMES, *_ERRORS, "step", "wait"]
P = ParamSpec("P")
T = TypeVar("T")


def __getattr__(name: str) -> Any:
    # Importing the plugin must not import SQLAlchemy: what needs it is imported at its first use.
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"zrb_store.{_HOMES[name]}"), name)
    if name in _ERRORS:
        return getattr(errors, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class _Steps:
    """Runs steps of the attempt that the code runs in."""

    @overload
    def __call__(self, name: str, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
    @overload
    def __call__(self, name: str, function: Callable[..., T], /, *args: Any, once: bool, **kwargs: Any) -> T: ...
    def __call__(self, name: str, function: Callable[..., T], /, *args: Any, once: bool = False, **kwargs: Any) -> T:
        """Run a function once per task, as `Attempt.step` does, in the attempt that the code runs in.

        Args:
            *args: Stored, and compared with those of later calls.
            once: As of `options`, which also lets type checkers compare the arguments.

        Returns:
            What the function returned, now or then.

        Raises:
            ZrbStoreError: The code does not run in an attempt. Otherwise as for `Attempt.step`.
        """
        from zrb_store.attempt import surrounding_attempt

        return surrounding_attempt(name).step(name, function, *args, once=once, **kwargs)

    def options(
        self,
        *,
        retries: int = 0,
        retry_after: RetryAfter | None = None,
        timeout: timedelta | float | None = None,
        once: bool = False,
    ) -> WithOptions:
        """Return `step` with options: `step.options(retries=3)("page 3", fetch, 3)`.

        Each try is an attempt of the step. A try that fails is given back, and logged as a warning. The last error
        propagates; errors of this package and cancellations are not tried again. If the process dies, the tries that
        failed count on, except one in whose pause it died. If the task itself fails, its next attempt begins to count
        again.

        Args:
            retries: How often a step that fails is tried again.
            retry_after: Seconds or a timedelta before each retry; the last one repeats. By default 1, 2,
                4... seconds, at most a minute.
            timeout: Seconds or a timedelta for each try of a coroutine function, which then ends with TimeoutError.
            once: Do not run the step again by itself if it began before and its end is unknown.

        Raises:
            InvalidArgument: An option is not of this form. On the call: the function has a timeout, and is no coroutine
                function.
        """
        from zrb_store.attempt import surrounding_attempt
        from zrb_store.attempt.options import CallOptions, WithOptions

        def run(name: str, *call: Any) -> Any:
            return surrounding_attempt(name).steps.run(name, *call)

        return WithOptions(run, CallOptions.of(retries, retry_after, timeout, once))

    def transaction(self, engine: Any, name: str, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
        """Run a step as a transaction of a PostgreSQL or SQLite database: what it changes there is there once.

        The changes are committed with a row of the table `zrb_store_done`, which names the step. If the process dies
        after the commit, the task's next attempt finds the row and does not run the function. The step counts as
        declared `once`. `attempt.step.transaction` is the same, and `run.task.transaction` makes it a task.

        Args:
            engine: An engine of SQLAlchemy. One of `create_async_engine` needs a coroutine function, and the call
                returns an awaitable.
            name: Name of the step.
            function: Called with an open connection and the arguments. It must not commit, push or take; it may run
                again if the database rolls it back because of another transaction.
            *args: As of a step.
            **kwargs: Likewise.

        Returns:
            What the function returned, now or then.

        Raises:
            InvalidArgument: The engine cannot be used, or the function has ended the transaction.
            UnencodableValue: The result cannot be stored: nothing is committed.
            ValueTooLarge: It is larger than the limit: nothing is committed.
            StoreUnavailable: An earlier try is still open in the database; the message says who has to be ended.
            ZrbStoreError: The attempt took a value of another session outside of steps. Otherwise as for
                `Attempt.step`.
        """
        from zrb_store.attempt import surrounding_attempt

        return surrounding_attempt(name).step.transaction(engine, name, function, *args, **kwargs)


step: Final = _Steps()


def wait(
    queue: str | None = None,
    timeout: timedelta | float | str | None = None,
    say: str | None = None,
    *,
    until: datetime | timedelta | None = None,
    name: str | None = None,
) -> Any:
    """Wait for a value of the session's own queue, or for a time, without a process.

    A wait is a step: its answer is kept. If the value is not there, the attempt and its run end here, and the session
    is `waiting`. When it continues, the task's next attempt takes the value here. In a coroutine, write `await
    wait(...)`; a lambda or a comprehension in it gets the value itself.

    Args:
        queue: Name of the queue.
        timeout: A timedelta, seconds, or a text such as `2d`, from the first time that the task waits here.
        say: The question to a person.
        until: Wait for this time instead, or for this length of time.
        name: Name of the step, by default `wait QUEUE`.

    Returns:
        The value; None after waiting for a time.

    Raises:
        Waiting: The attempt has ended: let it pass.
        TimeoutError: No value came in time.
        InvalidArgument: An argument is not of this form.
        ZrbStoreError: The code does not run in an attempt, or in one that cannot wait: the message says why.
    """
    from zrb_store.attempt import surrounding_attempt
    from zrb_store.attempt.waits import result_for, wait_in

    attempt = surrounding_attempt(name or ("wait" if queue is None else f"wait {queue}"))
    return result_for(sys._getframe(1), wait_in(attempt, queue, timeout, say, until, name))
