"""Do commands read what they print, or the store?

One store has 1,000 sessions and 10,000 values, the other 100 times as many; what a command has to print is the same in
both. Commands run in this process, in turns on both stores. Only the SQL is timed, all statements of a command
together, and the rows that it returns are counted. Not measured are `stats`, `doctor`, `db status` and `prune`, which
read all, `resume --failed` and `list --holds`, which read each session that has not completed, and patterns without a
beginning.
"""

from __future__ import annotations

import contextlib
import io
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from typing import Any
from unittest import mock

from benchmarks.contest import new_folder
from benchmarks.harness import Contestant, Effort, Race, time_text
from benchmarks.report import Answer, at_most, table
from benchmarks.stuffing import INBOX, add_sessions
from tests.support import postgres
from zrb_store import open_store
from zrb_store.cli import run as run_command
from zrb_store.db.core import ready
from zrb_store.db.transaction import Transaction
from zrb_store.inspect import list as lists

FEW, MANY, AT_MOST = "1,000 sessions", "100,000 sessions", 2.0
PROJECT = "/srv/etl"


class Spent:
    """What statements cost: how many there were, how many rows they returned, and how many seconds they took."""

    def __init__(self) -> None:
        self.statements, self.rows, self.seconds = 0, 0, 0.0

    def execute(self, transaction: Transaction, statement: Any, *args: Any) -> list[Any]:
        """Take the place of `Transaction.execute`."""
        ready(statement, transaction.dialect_name)  # compiling is not timed: most statements are compiled in advance
        began = time.perf_counter()
        found = _EXECUTE(transaction, statement, *args)
        self.seconds += time.perf_counter() - began
        self.statements, self.rows = self.statements + 1, self.rows + len(found)
        return found

    def stream(self, transaction: Transaction, statement: Any, *args: Any) -> Iterator[Any]:
        """Take the place of `Transaction.stream`. What is done with a row before the next is read is not timed."""
        ready(statement, transaction.dialect_name)
        self.statements += 1
        rows, began = _STREAM(transaction, statement, *args), time.perf_counter()
        for row in rows:
            self.seconds, self.rows = self.seconds + time.perf_counter() - began, self.rows + 1
            yield row
            began = time.perf_counter()
        self.seconds += time.perf_counter() - began


_EXECUTE, _STREAM = Transaction.execute, Transaction.stream


def spent_by(command: Callable[[str], str], location: str) -> Spent:
    """Run a command on a store, and return what its SQL costs."""
    spent = Spent()
    with (
        mock.patch.object(Transaction, "execute", lambda *args: spent.execute(*args)),
        mock.patch.object(Transaction, "stream", lambda *args: spent.stream(*args)),
    ):
        command(location)
    return spent


def typed(*words: str) -> Callable[[str], str]:
    """Return a function that runs a command on a store, and returns what it prints."""

    def command(location: str) -> str:
        with mock.patch.dict(os.environ, ZRB_STORE_URL=location), contextlib.redirect_stdout(io.StringIO()) as printed:
            code = run_command(words)
        assert code in (0, 1), f"{words} exits {code}"  # 1: `check` has something to report
        return printed.getvalue()

    return command


def tab(line: str) -> Callable[[str], str]:
    """Return a function that completes a line as TAB does."""

    def command(location: str) -> str:
        from zrb_store.cli.completion import candidates

        *words, last = line.split(" ")
        with mock.patch.dict(os.environ, ZRB_STORE_URL=location):
            return "\n".join(item.value for item in candidates(words, last))

    return command


def by_python(read: Callable[..., Iterable[Any]], *args: Any) -> Callable[[str], str]:
    """Return a function that reads a store as a command does that zrb alone can run."""

    def command(location: str) -> str:
        with open_store(location, read_only=True) as store:
            return "\n".join(each.name for each in read(store.database, *args))

    return command


def commands(middle: str) -> dict[str, Callable[[str], str]]:
    """Return the commands whose cost must not depend on the store."""
    return {
        "list": typed("list"),
        "list --failed --limit 3": typed("list", "--failed", "--limit", "3"),
        "list --running": typed("list", "--status", "running"),
        "list --task load-3 --limit 10": typed("list", "--task", "load-3", "--limit", "10"),
        "list --project /srv/etl --limit 10": typed("list", "--project", PROJECT, "--limit", "10"),
        "list --match SESSION*": typed("list", "--match", f"{middle}*"),
        "show SESSION": typed("show", middle),
        "show SESSION load": typed("show", middle, "load"),
        "show @last": typed("show", "@last"),
        "show @last-failed": typed("show", "@last-failed"),
        "check": typed("check", "--project", PROJECT),
        "check, every project": typed("check"),
        "check --task load --max-age 26h": typed("check", "--task", "load", "--max-age", "26h"),
        "log SESSION": typed("log", middle),
        "trace SESSION/extract#1": typed("trace", f"{middle}/extract#1"),
        "get SESSION load": typed("get", middle, "load"),
        "get inbox files": typed("get", INBOX, "files"),
        "last load": typed("last", "load", "--any-project"),
        "last load --of load-3": typed("last", "load", "--any-project", "--of", "load-3"),
        "resume --ready": by_python(lists.ready, PROJECT),
        "TAB: show": tab("show "),
        "TAB: show etl-5": tab("show etl-5"),
        "TAB: get SESSION": tab(f"get {middle} "),
        "TAB: trace SESSION/": tab(f"trace {middle}/"),
        "TAB: log SESSION": tab(f"log {middle} "),
        "TAB: list --task": tab("list --task "),
        "TAB: requeue": tab(f"requeue {INBOX}/"),
    }


def turn(command: Callable[[str], str], location: str) -> Contestant:
    return lambda: {"sql": spent_by(command, location).seconds}


def new_schema(server: postgres.Server, name: str) -> str:
    """Create a schema, and return the URL of a store in it."""
    with server.connect() as connection:
        connection.execute(f"CREATE SCHEMA {name}")
    return f"{server.url}&options=-csearch_path%3D{name}"


def compare(answer: Answer, database: str, locations: list[str], effort: Effort) -> None:
    """Fill two stores, and let each command take its turns on both."""
    few, many = (effort(1_000, 500), effort(100_000, 5_000))
    for location, sessions in zip(locations, (few, many), strict=True):
        add_sessions(location, sessions)
    rows = []
    small, large = commands(f"etl-{few // 2}"), commands(f"etl-{many // 2}")
    for name, command in small.items():
        found = spent_by(command, locations[0]), spent_by(large[name], locations[1])
        race = Race({FEW: turn(command, locations[0]), MANY: turn(large[name], locations[1])}, effort(15, 3))
        ratio = race.ratio("sql", MANY, FEW)
        times = [time_text(race.seconds("sql", each) or 0) for each in (FEW, MANY)]
        rows.append([name, *times, str(ratio), *(f"{each.rows:,}" for each in found)])
        answer.goals.append(at_most(f"{database}: SQL of `{name}`", AT_MOST, ratio))
    answer.add(f"{database}:", "", *table([database, FEW, MANY, "ratio", "rows", "rows of many"], rows))


def run(effort: Effort) -> Answer:
    """Compare the stores on each database."""
    answer = Answer()
    with ExitStack() as stack:
        folder = new_folder(stack)
        compare(answer, "SQLite", [str(folder / "few.db"), str(folder / "many.db")], effort)
        if postgres.available():
            stack.enter_context(mock.patch.dict(postgres.SETTINGS, autovacuum="on", shared_buffers="128MB"))
            server = stack.enter_context(postgres.private_server())
            compare(answer, "PostgreSQL", [new_schema(server, name) for name in ("few", "many")], effort)
    return answer
