"""What does it cost to look at one store of 100,000 sessions?

Each session has a run, 2 tasks and 2 queues of 5 values; a million values in all. Only the SQL is timed, all statements
of a command together. What click and the start of the interpreter add is the next question.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Any
from unittest import mock

from benchmarks.contest import new_folder
from benchmarks.harness import Effort, time_text
from benchmarks.report import Answer, Goal, table
from benchmarks.stuffing import add_sessions
from zrb_store import Store, open_store
from zrb_store.db.core import ready
from zrb_store.db.transaction import Transaction
from zrb_store.inspect.list import list_sessions
from zrb_store.inspect.session_names import resolve
from zrb_store.inspect.show import open_session


def sql_of(command: Callable[[], Any]) -> tuple[int, float]:
    """Run a command, and return how many statements it runs and how many seconds they take together."""
    spent: list[float] = []

    def timed(run: Callable[..., Iterable[Any]]) -> Callable[..., list[Any]]:
        def run_timed(self: Transaction, statement: Any, *params: Any) -> list[Any]:
            ready(statement, self.dialect_name)  # compiling is not timed: most statements are compiled once per process
            began = time.perf_counter()
            rows = list(run(self, statement, *params))
            spent.append(time.perf_counter() - began)
            return rows

        return run_timed

    timed_stream = timed(Transaction.stream)
    with (
        mock.patch.object(Transaction, "execute", timed(Transaction.execute)),
        mock.patch.object(Transaction, "stream", lambda *args: iter(timed_stream(*args))),
    ):
        command()
    return len(spent), sum(spent)


def show(store: Store, text: str) -> None:
    """Read what `show` shows of a session, which is short enough to be read at once."""
    with open_session(store.database, resolve(store.database, text).name):
        pass


def run(effort: Effort) -> Answer:
    """Run each command many times."""
    answer = Answer()
    many = effort(100_000, 10_000)
    with ExitStack() as stack:
        path = new_folder(stack) / "store.db"
        add_sessions(path, many)
        store = stack.enter_context(open_store(path, read_only=True))
        middle = f"etl-{many // 2}"
        commands: dict[str, Callable[[], Any]] = {
            "`list`: the 50 newest, with counts": lambda: list_sessions(store.database, limit=50, with_holders=True),
            "`show` of one in the middle": lambda: show(store, middle),
        }
        rows = []
        for what, command in commands.items():
            command()
            runs = [sql_of(command) for _ in range(effort(51, 21))]
            seconds = statistics.median(spent for _, spent in runs)
            rows.append([what, str(runs[0][0]), time_text(seconds)])
            answer.goals.append(
                Goal(f"{what}, of {many:,}", "at most 1 ms of SQL", time_text(seconds), seconds <= 1e-3)
            )
    answer.add(*table(["command", "statements", "SQL"], rows))
    return answer
