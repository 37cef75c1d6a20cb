"""`step.transaction`: a step that is a transaction of the user's database."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from zrb_store import codec
from zrb_store.attempt import Attempt, Step
from zrb_store.attempt.options import is_async
from zrb_store.attempt.steps import StoredResult, refuse_uncertain, refuse_unfinished
from zrb_store.codec import Encoded
from zrb_store.db.core import sa
from zrb_store.errors import InvalidArgument, LeaseLost, ZrbStoreError
from zrb_store.names import check_step_name
from zrb_store.own_tables import done, queries, store
from zrb_store.own_tables.database import UserDatabase
from zrb_store.own_tables.once import Once
from zrb_store.own_tables.proofs import InRow, InStore
from zrb_store.own_tables.queries import KIND, Attributes, Execution
from zrb_store.queries.steps import StepRecord

Function = Callable[..., Any]


def transaction(
    attempt: Attempt, engine: object, name: str, function: Function, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Any:
    """Return the stored result of a step, or run its function in a transaction, as `step.transaction` says."""
    what = f"step {check_step_name(name)}"
    if isinstance(engine, sa.Engine):
        if is_async(function):
            raise InvalidArgument(f"{what} is a coroutine function: give an engine of `create_async_engine`")
        database = UserDatabase(engine, what)
        return _run(attempt, database, name, args, kwargs, lambda connection: function(connection, *args, **kwargs))
    from zrb_store.own_tables import asynchronous

    if not asynchronous.is_engine(engine):
        UserDatabase(engine, what)  # raises an error
    if not is_async(function):
        raise InvalidArgument(f"{what} has an engine of `create_async_engine`: give a coroutine function")
    database = asynchronous.database(engine, what)
    call = asynchronous.caller(engine, function, args, kwargs)
    return asynchronous.run(functools.partial(_run, attempt, database, name, args, kwargs, call))


def _run(
    attempt: Attempt,
    database: UserDatabase,
    name: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    call: Callable[[sa.Connection], Any],
) -> Any:
    with attempt.steps.claim(name, args, kwargs, kind=KIND) as claim:
        execution = queries.execution(attempt.database, attempt.id, claim.name)
        if execution is None:
            attempt.refuse_if_closed()
            raise LeaseLost(f"{attempt.full_name} was removed")

        def refuse(known: StepRecord | None) -> None:
            _refuse(attempt, execution, claim.name, known)
            database.find(attempt.database)  # before the step begins

        attributes = Attributes(database.name, execution.identity).encoded()
        step = attempt.steps.begun_or_stored(claim, once=True, attributes=attributes, refuse=refuse)
        if isinstance(step, StoredResult):
            return codec.decode(step.result)
        with step:
            return _commit(attempt, step, database, execution, call)


def _commit(
    attempt: Attempt,
    step: Step,
    database: UserDatabase,
    execution: Execution,
    call: Callable[[sa.Connection], Any],
) -> Any:
    what = f"step {step.step} ({step.full_name})"
    key = done.Key(execution.identity, "step", attempt.task, step.step, execution.cycle)
    is_store = store.is_store(database.engine, attempt.database)
    proof = InStore(step, step.complete) if is_store else InRow(step, key, attempt.session)
    if not is_store or database.is_async:
        step.is_elsewhere = f"{what} is a transaction of {database.name}"

    def function(connection: sa.Connection) -> Any:
        result = call(connection)
        refuse_unfinished(result, step.step)
        return result

    def encode(result: Any) -> Encoded:
        return codec.encode(result, limit=attempt.xcom.max_value)

    once = Once(database, key, proof, what, attempt.database)
    try:
        committed = once.commit(function, encode, lambda line: attempt.log(line, "warning"))
    except BaseException as error:
        step.reopen()
        if once.is_unknown:  # not `failed`: it may have happened
            step.fail(error, "interrupted")
        raise
    if step.is_open:
        step.complete(Encoded(committed.data, "", 0))
    return committed.value


def _refuse(attempt: Attempt, execution: Execution, name: str, known: StepRecord | None) -> None:
    """Raise an error if a step may not run, whose `known` attempt is not done."""
    if known is not None and known.status != "failed":
        # What was cut off is not uncertain, since the row tells; but an import cannot find the row.
        here = Attributes.of(known.attributes).identity == execution.identity
        if known.status == "completed" or not here:
            refuse_uncertain(attempt, known, name)
    if execution.kind == "delivery":
        raise InvalidArgument(
            f"step {name} cannot begin in the delivery {attempt.full_name}: a delivery is given back whole; use "
            "`with delivery.transaction(engine) as (connection, value)`"
        )
    if execution.elsewhere is not None:
        raise ZrbStoreError(
            f"step {name} of {attempt.full_name} cannot begin: the attempt took a value of session "
            f"{execution.elsewhere}, and the step would be undone with it, but not in the other database: take the "
            "value in a step, or by `run.consume` and `delivery.transaction(engine)`"
        )
