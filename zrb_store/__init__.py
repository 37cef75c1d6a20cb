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
    store.py, run/, attempt/, xcom/    the objects of a Python user; stepping.py: `step` and `once_tool`
    runtime/     automatic work: leases, waiting, reclaiming from the dead, output, notifications
    shell/       a command for each value, as a task, or as a step
    operations/  changes by hand                inspect/   typed data for readers, with one `to_json` each
    queries/     all SQL, by noun               db/        connections, tables, statements, migrations
    codec/       values as JSON text            render/    text for terminals and pages
    agents/      any pydantic-ai agent over steps
    cli/, page/, plugin/    the edges: commands, pages in a browser, zrb
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zrb_store import errors

if TYPE_CHECKING:
    from zrb_store.attempt import Attempt as Attempt
    from zrb_store.attempt.output_handler import OutputHandler as OutputHandler
    from zrb_store.codec.classes import register_codec as register_codec
    from zrb_store.run import Run as Run
    from zrb_store.run.deliveries import Delivery as Delivery
    from zrb_store.stepping import once_tool as once_tool
    from zrb_store.stepping import step as step
    from zrb_store.stepping import wait as wait
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
    "once_tool": "stepping",
    "open_store": "store",
    "register_codec": "codec.classes",
    "step": "stepping",
    "wait": "stepping",
}
_ERRORS = [name for name, thing in vars(errors).items() if isinstance(thing, type) and issubclass(thing, BaseException)]

__all__ = [*_HOMES, *_ERRORS]


def __getattr__(name: str) -> Any:
    # Importing the plugin must not import SQLAlchemy: what needs it is imported at its first use.
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"zrb_store.{_HOMES[name]}"), name)
    if name in _ERRORS:
        return getattr(errors, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
