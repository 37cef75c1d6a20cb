"""Processes that hold a value of another session when they die, and leases that have become old."""

from __future__ import annotations

from multiprocessing.connection import Connection

import sqlalchemy as sa

from tests.support.attempts import acting_as, start
from tests.support.rows import stop_renewals
from zrb_store import LeaseLost, Store, open_store


def hold_a_value(pipe: Connection, location: str, session: str) -> None:
    """Take a value of the shared queue, push one to another, and do what the test says."""
    with open_store(location) as store:
        run = store.session(session).run().start()
        with run.attempt("convert") as attempt:
            taken = store.session("inbox").xcom["files"].pop()
            store.session("done").xcom["files"].push("half")
            attempt.xcom["own"].push("half")
            pipe.send(taken)
            pipe.recv()
            try:
                attempt.complete("converted")
                run.end("completed")
            except LeaseLost as error:
                pipe.send(str(error))


def age_lease(store: Store, session: str, *, known: bool = False) -> None:
    """Let a run look as if its process, on another machine unless `known`, had not renewed its lease."""
    stop_renewals(store)
    elsewhere = "" if known else ", boot_id = 'another machine'"
    sql = f"UPDATE zrb_run SET lease_expires_at = 1{elsewhere} WHERE session_id = :id"
    store.database.execute(sa.text(sql).bindparams(id=store.session(session).record().id))


def age_suspicion(store: Store, seconds: float) -> None:
    store.database.execute(sa.text(f"UPDATE zrb_run SET suspected_at = suspected_at - {int(seconds * 1_000_000)}"))


def hold_and_die(store: Store) -> None:
    """Leave a value of the shared queue with an attempt whose process, as its row says, is not there any more."""
    with acting_as(start(store, "worker").begin("convert")):
        assert store.session("inbox").xcom["files"].pop() == "a"
    store.database.execute(sa.text(f"UPDATE zrb_run SET pid = {2**30}"))
