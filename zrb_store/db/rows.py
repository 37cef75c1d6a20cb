"""How a row becomes a record, and what becomes of a damaged one.

The tables refuse a row that breaks a rule of `columns.py`. A failing disk, or a person who turns the rules off, may
still leave one. It is an error for whoever acts on rows. A reader leaves it out of a list, and names it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any, TypeVar

from zrb_store.db.columns import Cell, Columns
from zrb_store.errors import ZrbStoreError

T = TypeVar("T")
R = TypeVar("R", bound=Sequence[Any])

_SHOWN = 3  # damaged rows that the note names
_KEYS = (("name",), ("id",), ("queue_id", "seq"), ("attempt_id", "piece"), ("run_id",))  # the last is of aggregates


class DamagedRow(ZrbStoreError):
    """A row that does not fit its table."""

    def __init__(self, table: str, named: dict[str, Any], wrong: Sequence[str]) -> None:
        keys = _KEYS[table != "zrb_session" :]
        key = next((key for key in keys if named.keys() >= set(key)), ())
        row = " ".join([table, *(f"{name}={named[name]}" for name in key)])
        self.row = f"{row} ({', '.join(wrong)})"
        remedy = "restore a backup, or mend it with SQL; `zrb-store doctor` names all such rows"
        super().__init__(f"a row is damaged: {self.row}: {remedy}")


class Damage:
    """The damaged rows that a reader has left out. It is true if there are any, and its text is the note about them."""

    def __init__(self, verdict: str) -> None:
        """Begin without rows. The verdict is what the note says of all of them."""
        self._verdict = verdict
        self._rows: dict[str, None] = {}

    def add(self, row: str) -> None:
        self._rows[row] = None

    def __bool__(self) -> bool:
        return bool(self._rows)

    def __str__(self) -> str:
        more = f" and {len(self._rows) - _SHOWN} more" if len(self._rows) > _SHOWN else ""
        named = "; ".join(list(self._rows)[:_SHOWN])
        return f"{self._verdict}: {named}{more}; `zrb-store doctor` says what to do"


_left_out: ContextVar[Damage | None] = ContextVar("left_out", default=None)


@contextlib.contextmanager
def leaving_out(verdict: str = "damaged, and left out") -> Iterator[Damage]:
    """Leave damaged rows out of lists that are read in this block, and collect them."""
    damage = Damage(verdict)
    token = _left_out.set(damage)
    try:
        yield damage
    finally:
        _left_out.reset(token)


def note(row: str) -> None:
    """Add what is damaged to what the surrounding block collects, if there is one."""
    if (damage := _left_out.get()) is not None:
        damage.add(row)


def noted() -> str | None:
    """Return the note about what the surrounding block has collected, or None."""
    return str(damage) if (damage := _left_out.get()) else None


def fit(table: str, columns: Columns, row: Sequence[Cell]) -> dict[str, Any]:
    """Return a row by column names, or raise `DamagedRow`. Of long texts the content is not checked."""
    named: dict[str, Any] = dict(zip(columns, row, strict=True))
    wrong = []
    for (name, column), item in zip(columns.items(), row, strict=True):
        # For speed, the usual cases come first and call no function: this loop runs for each value that is shown.
        if item is None and column.nullable:
            continue
        if column.kind is int and type(item) is int and column.least <= item <= column.most:
            continue
        if column.kind is bool and type(item) is int and item in (0, 1):  # SQLite has no booleans
            named[name] = bool(item)
        elif column.problem(item, shallow=True):
            wrong.append(name)
    if wrong:
        raise DamagedRow(table, named, wrong)
    return named


def sound(make: Callable[[R], T], rows: Iterable[R]) -> Iterator[T]:
    """Yield the record of each row of a list. Within `leaving_out`, the damaged ones are left out."""
    for row in rows:
        try:
            made = make(row)
        except DamagedRow as error:
            if _left_out.get() is None:
                raise
            note(error.row)
        else:
            yield made
