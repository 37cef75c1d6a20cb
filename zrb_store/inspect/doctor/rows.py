"""Checks of the rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from zrb_store import output_text
from zrb_store.codec.check import NOT_JSON, problem_of
from zrb_store.db.columns import OUTPUT, RUN, SESSION
from zrb_store.db.engine import Database
from zrb_store.inspect.doctor.finding import Finding
from zrb_store.names import full_name, is_session_name
from zrb_store.queries.doctor import texts
from zrb_store.queries.doctor.column_invariants import ATTEMPT_COLUMNS, SESSION_COLUMNS, VALUE_COLUMNS
from zrb_store.queries.doctor.invariants import INVARIANTS, SHOWN, violations
from zrb_store.queries.doctor.step_invariants import STEPS, STEPS_AND_VALUES

ALL = {
    noun: [*INVARIANTS[noun], *more]
    for noun, more in (
        ("value", [*STEPS_AND_VALUES, *VALUE_COLUMNS]),
        ("attempt", [*STEPS, *ATTEMPT_COLUMNS]),
        ("session", SESSION_COLUMNS),
    )
}
"""Every invariant, by the noun that it is about."""

_RULES = {**SESSION, **RUN}


def examine(database: Database) -> Iterator[Finding]:
    """Check every invariant of the rows."""
    for noun, invariants in ALL.items():
        for invariant in invariants:
            if invariant.dialect in (None, database.dialect_name):
                count, first = violations(database, invariant)
                if count:
                    what = _say(noun, invariant.wrong, count, [_label(row) for row in first])
                    yield Finding(invariant.level, invariant.name, what, invariant.remedy)
    yield from _sessions(database)
    yield from _results(database)
    yield from _output(database)
    yield from _values(database)


def _sessions(database: Database) -> Iterator[Finding]:
    """Check the names and the JSON texts of sessions and runs."""
    names: dict[str, None] = {}
    damaged: dict[str, None] = {}
    with database.snapshot() as transaction:
        for name, columns in texts.of_sessions(transaction):
            if not is_session_name(name):
                names[name] = None
            if any(_RULES[column].problem(text) for column, text in columns.items()):
                damaged[name] = None
    if names:
        what = _say("session", "have a name that no session can have", len(names), list(names))
        yield Finding("error", "session-name", what, "delete them with SQL, since no command takes such a name")
    if damaged:
        wrong = "have a path, inputs, tasks or a command line that is damaged"
        what = _say("session", wrong, len(damaged), list(damaged))
        yield Finding("error", "session-text", what, "restore a backup, or delete them with `zrb-store rm`")


def _results(database: Database) -> Iterator[Finding]:
    """Check the results of steps, which are stored with their attempts, as those of tasks are checked as values."""
    with database.snapshot() as transaction:
        yield from _texts("result", texts.of_results(transaction), _label)


def _output(database: Database) -> Iterator[Finding]:
    """Check the lines of the output of attempts."""
    damaged = _Sample()
    with database.snapshot() as transaction:
        for row, size, data in texts.of_output(transaction):
            if OUTPUT["data"].problem(data) or output_text.size_of(data) != size:
                damaged.add(row)
    if damaged.count:
        wrong = "have a piece of output that is damaged"
        what = _say("attempt", wrong, damaged.count, list(map(_label, damaged.first)))
        yield Finding("error", "output-data", what, "restore a backup, or delete these rows of zrb_output with SQL")


def _values(database: Database) -> Iterator[Finding]:
    """Check the data of values."""
    with database.snapshot() as transaction:
        found = (((queue_id, seq), data) for queue_id, seq, data in texts.of_values(transaction))
        yield from _texts("value", found, lambda place: full_name(*texts.queue_of(transaction, place[0]), place[1]))


def _texts(noun: str, found: Iterator[tuple[Any, Any]], label: Callable[[Any], str]) -> Iterator[Finding]:
    """Check that texts are JSON, and of types that this version knows.

    Args:
        noun: What they are.
        found: Each text, after what identifies its row.
        label: Returns the name of a row for people.
    """
    damaged, unknown = _Sample(), _Sample()
    for row, text in found:
        problem = problem_of(text) if type(text) is str else NOT_JSON
        if problem:
            (damaged if problem == NOT_JSON else unknown).add(row)
    if damaged.count:
        what = _say(noun, "are not JSON", damaged.count, list(map(label, damaged.first)))
        yield Finding("error", f"{noun}-data", what, "restore a backup")
    if unknown.count:
        what = _say(
            noun, "are of a type that this version does not know", unknown.count, list(map(label, unknown.first))
        )
        yield Finding("warning", f"{noun}-type", what, "upgrade zrb-store, if a newer one wrote them")


class _Sample:
    """A count of rows, with the first few of them."""

    def __init__(self) -> None:
        self.count = 0
        self.first: list[Any] = []

    def add(self, row: Any) -> None:
        self.count += 1
        if len(self.first) < SHOWN:
            self.first.append(row)


def _label(row: tuple[Any, ...]) -> str:
    return row[0] if len(row) == 1 else f"{row[0]}/{row[1]}#{row[2]}"


def _say(noun: str, wrong: str, count: int, labels: list[str]) -> str:
    more = ", ..." if count > SHOWN else ""
    return f"{noun}s that {wrong}: {count} ({', '.join(labels[:SHOWN])}{more})"
