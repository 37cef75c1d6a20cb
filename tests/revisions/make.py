"""Write the stored database of the newest revision: `python -m tests.revisions.make`.

Run it once when a migration is added, and commit the file. Files of older revisions are never written again.
tests/test_revisions.py upgrades each file and then uses the store.
"""

from __future__ import annotations

import contextlib
import sqlite3
from datetime import date
from pathlib import Path

import sqlalchemy as sa

from tests.attempts import acting_as
from zrb_store import Store
from zrb_store.db import REVISION
from zrb_store.db.tables import run as run_table
from zrb_store.process import identity
from zrb_store.queries import output
from zrb_store.queries.output import NO_OUTPUT, OutputLine
from zrb_store.testing import expire_lease, temporary_store

HERE = Path(__file__).parent


def fill(store: Store) -> None:
    """Fill a store with a session that completed, one whose process died, and one that is used only for its queues."""
    files = store.session("inbox").xcom["files"]
    files.extend(["a.csv", "b.csv", "c.csv"])
    with store.session("done").run(task="load", inputs={"day": date(2026, 11, 24)}) as run:
        run.task("count", len, "abc")
        with run.attempt("load") as attempt:
            said = [
                OutputLine(1_795_000_000_000_000, "stdout", "loading"),
                OutputLine(1_795_000_000_000_001, "print", ""),
            ]
            store.database.transact(lambda transaction: output.add(transaction, attempt.id, NO_OUTPUT, said, 100))
            attempt.complete({"loaded": files.pop()})
    dead = store.session("dead")
    run = dead.run(task="load").start()
    run.task("count", len, "abcd")
    with contextlib.suppress(ValueError), run.attempt("load"):
        files.pop()
        raise ValueError("the first attempt failed")
    with acting_as(run.begin("load")) as attempt:
        attempt.step("page", attempt.xcom["pages"].push, "one")
        attempt.xcom["half"].push(files.pop())
        attempt.step("rest", len, "abc")
    expire_lease(dead)
    poison = store.session("inbox").xcom["poison"]
    poison.max_deliveries = 1
    poison.push("deadly")
    with contextlib.suppress(ValueError), store.session("victim").run(task="load") as run, run.attempt("load"):
        raise ValueError(poison.pop())
    store.session("inbox").xcom["long"].push("x" * 9_000)
    store.database.transact(lambda transaction: transaction.execute(_TELL))


_TELL = sa.update(run_table).where(run_table.c.status == "failed").values(told_at=run_table.c.ended_at)


def main() -> None:
    """Write the file."""
    with temporary_store() as store:
        fill(store)
        with contextlib.closing(sqlite3.connect(store.database.url.database or "")) as database:
            text = "\n".join(database.iterdump()) + "\n"
    text = text.replace(str(HERE.parent.parent), "/srv/zrb-store")  # where this checkout lies is nobody's business
    # Its processes are not looked for on a machine that was started again.
    text = text.replace(identity().boot_id or "-", "another-start-of-the-machine")
    (HERE / f"{REVISION}.sql").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
