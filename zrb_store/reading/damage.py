"""What readers could not read, for one note at the end."""

from __future__ import annotations

from collections.abc import Sequence

_NAMED = 3


class Damage:
    """Collects the rows that hold what cannot be."""

    def __init__(self, what: str = "damaged") -> None:
        """Begin with none; `what` is said of them all."""
        self._what = what
        self._rows: dict[str, tuple[str, ...]] = {}
        self._count = 0

    def note(self, row: str, columns: Sequence[str]) -> None:
        """Remember a row if columns of it are damaged.

        Args:
            row: What to call it.
            columns: Names of those columns.
        """
        if columns and row not in self._rows:
            self._count += 1
            if len(self._rows) < _NAMED:
                self._rows[row] = tuple(columns)

    def __bool__(self) -> bool:
        return bool(self._count)

    def __str__(self) -> str:
        named = "; ".join(f"{row} ({', '.join(columns)})" for row, columns in self._rows.items())
        more = f" and {self._count - len(self._rows)} more" if self._count > len(self._rows) else ""
        return f"{self._what}: {named}{more}; `zrb-store doctor` says what to do"
