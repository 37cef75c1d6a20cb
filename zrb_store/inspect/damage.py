"""Damaged rows that readers came across, collected for one note at the end."""

from __future__ import annotations

from collections.abc import Sequence

_NAMED = 3


class Damage:
    """A collection of rows with impossible values. It is true if it has any, and its text is the note about them."""

    def __init__(self, verdict: str = "damaged") -> None:
        """Begin without rows.

        Args:
            verdict: What the note says of all of them.
        """
        self._verdict = verdict
        self._rows: dict[str, tuple[str, ...]] = {}
        self._count = 0

    def note(self, row: str, columns: Sequence[str]) -> None:
        """Add a row, unless none of its columns is damaged.

        Args:
            row: What the note calls it.
            columns: Names of the damaged columns.
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
        return f"{self._verdict}: {named}{more}; `zrb-store doctor` says what to do"
