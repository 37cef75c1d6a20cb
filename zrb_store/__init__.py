"""Durable sessions and XCom queues for zrb and for any script, in SQLite or PostgreSQL.

    from zrb_store import open_store

    with open_store("jobs.db") as store, store.session("nightly-2026-11-24").run() as run:
        rows = run.task("fetch", fetch, day)           # has it completed before? then its stored result
        with run.attempt("load") as attempt:           # what it pushes and pops is given back if it fails
            name = store.session("inbox").xcom["files"].pop()
            attempt.complete({"loaded": name, "rows": rows})

Start it again after an error, a kill or a power cut: what has completed does not run again.

    open_store       opens a store: its sessions, and their queues (`Store`, `Session`, `Xcom`)
    Session.run      one process at work on a session (`Run`): `task`, `attempt`, `consume`
    step, wait       inside an attempt: a piece of work that is done once; a value or a time to wait for
    step.options, run.task.options     retries, pauses, timeouts
    register_codec   stores values of your own classes
    once_tool        marks a tool of an agent; `zrb_store.agents.durable` makes any agent of pydantic-ai durable

Each error is a `ZrbStoreError`, whose message says what to do. The reference is docs/reference/python.md.
"""

# How it works, for those who change it.
#
# A session is one execution of a workflow. It has queues of values, and attempts: one execution of a task's action
# each. A run is one process at work on the session, under a lease. A step is an attempt inside an attempt; a delivery
# is an attempt that takes its value as it begins. An attempt is a unit: if it completes, its outputs are kept. If it is
# given back, the queues are as if it had never run, and its record stays visible.
#
# The tables (db/tables.py): `zrb_session`, `zrb_run`, `zrb_attempt` (of tasks, steps and deliveries), `zrb_queue`,
# `zrb_value` (by queue and seq; with who pushed and who took it), `zrb_return` (each undone take), `zrb_chunk`
# (long values), `zrb_output` (what attempts print), `zrb_change` (what people did by hand), `zrb_clock`, `zrb_version`.
#
# Each write is one statement or one transaction, which checks in the database at that moment: the schema is of this
# release, the attempt runs, and its fence number is still that of the session. A run that takes a session over raises
# that number: every later write of the run before changes nothing and raises an error.
#
# Giving back (queries/give_back.py) closes the attempt, makes the values that it took live again at their old places,
# retracts what it pushed, and first gives back the completed steps that depend on either (queries/dependent_steps.py).
#
# Where to look:
#     store.py, run/, attempt/, xcom/    the objects of a Python user; below: `step` and `wait` for task files
#     runtime/     automatic work: leases, waiting, reclaiming from the dead, output, notifications
#     operations/  changes by hand                inspect/   typed data for readers, with one `to_json` each
#     queries/     all SQL, by noun               db/        connections, tables, statements, migrations
#     codec/       values as JSON text            render/    text for terminals and pages
#     cli/, plugin/    the edges: commands, and zrb
#     shell/, watch/, page/, transfer/, replay/, agents/, own_tables/, traces/    wings (wings.py), which can be deleted

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, TypeVar, overload

from zrb_store import errors

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime, timedelta

    from zrb_store.agents.once import OncePolicy as OncePolicy
    from zrb_store.agents.once import once_tool as once_tool
    from zrb_store.attempt import Attempt as Attempt
    from zrb_store.attempt.options import RetryAfter as RetryAfter
    from zrb_store.attempt.options import WithOptions as WithOptions
    from zrb_store.attempt.output_handler import OutputHandler as OutputHandler
    from zrb_store.codec import Encoded as Encoded
    from zrb_store.codec.classes import register_codec as register_codec
    from zrb_store.errors import AttemptClosed as AttemptClosed
    from zrb_store.errors import BudgetUsed as BudgetUsed
    from zrb_store.errors import InputsDiffer as InputsDiffer
    from zrb_store.errors import InvalidArgument as InvalidArgument
    from zrb_store.errors import LeaseLost as LeaseLost
    from zrb_store.errors import RequestChanged as RequestChanged
    from zrb_store.errors import SchemaAhead as SchemaAhead
    from zrb_store.errors import SchemaBehind as SchemaBehind
    from zrb_store.errors import SessionBusy as SessionBusy
    from zrb_store.errors import SessionCompleted as SessionCompleted
    from zrb_store.errors import SessionNotFound as SessionNotFound
    from zrb_store.errors import SessionWaiting as SessionWaiting
    from zrb_store.errors import StepUncertain as StepUncertain
    from zrb_store.errors import StoreMissing as StoreMissing
    from zrb_store.errors import StoreUnavailable as StoreUnavailable
    from zrb_store.errors import TaskCompleted as TaskCompleted
    from zrb_store.errors import TaskNotFound as TaskNotFound
    from zrb_store.errors import UnencodableValue as UnencodableValue
    from zrb_store.errors import ValueNotFound as ValueNotFound
    from zrb_store.errors import ValueTooLarge as ValueTooLarge
    from zrb_store.errors import Waiting as Waiting
    from zrb_store.errors import ZrbStoreError as ZrbStoreError
    from zrb_store.masking import ErrorText as ErrorText
    from zrb_store.records import SessionRecord as SessionRecord
    from zrb_store.run import Run as Run
    from zrb_store.run.deliveries import Deliveries as Deliveries
    from zrb_store.run.deliveries import Delivery as Delivery
    from zrb_store.store import Session as Session
    from zrb_store.store import Store as Store
    from zrb_store.store import open_store as open_store
    from zrb_store.xcom import Xcom as Xcom
    from zrb_store.xcom import Xcoms as Xcoms

    __version__: str

_HOMES = {
    "Attempt": "attempt",
    "Deliveries": "run.deliveries",
    "Delivery": "run.deliveries",
    "Encoded": "codec",
    "ErrorText": "masking",
    "OutputHandler": "attempt.output_handler",
    "OncePolicy": "agents.once",
    "RetryAfter": "attempt.options",
    "Run": "run",
    "Session": "store",
    "SessionRecord": "records",
    "Store": "store",
    "WithOptions": "attempt.options",
    "Xcom": "xcom",
    "Xcoms": "xcom",
    "once_tool": "agents.once",
    "open_store": "store",
    "register_codec": "codec.classes",
}
_ERRORS = [name for name, thing in vars(errors).items() if isinstance(thing, type) and issubclass(thing, BaseException)]

__all__ = [*_HOMES, *_ERRORS, "step", "wait"]
P = ParamSpec("P")
T = TypeVar("T")


if not TYPE_CHECKING:  # else every name would exist for a type checker

    def __getattr__(name: str) -> Any:
        # Importing the plugin must not import SQLAlchemy: what needs it is imported at its first use.
        if name in _HOMES:
            from importlib import import_module

            return getattr(import_module(f"zrb_store.{_HOMES[name]}"), name)
        if name in _ERRORS:
            return getattr(errors, name)
        if name == "__version__":
            from importlib.metadata import version

            return version("zrb-store")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})


class _Steps:
    """Runs steps of the attempt that the code runs in."""

    @overload
    def __call__(self, name: str, function: Callable[..., T], /, *args: Any, once: bool, **kwargs: Any) -> T: ...
    @overload
    def __call__(self, name: str, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
    def __call__(  # type: ignore[misc]  # a function's own parameter may have any name
        self, name: str, function: Callable[..., T], /, *args: Any, once: bool = False, **kwargs: Any
    ) -> T:
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

    def transaction(
        self, engine: Any, name: str, function: Callable[Concatenate[Any, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
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
