"""Which texts of values are long, and lie in chunks instead of the value's row (docs/adr/0020-large-values.md).

The `data` of such a row is empty. (The text of a value never is: even an empty string has its quotes.) How a text is
read by SQL is in `db/dialect`.
"""

from __future__ import annotations

LONGEST = 256 * 1024
"""The most characters of a chunk. That much is sent and copied at once, however long a value is."""

_LONG_FROM = {"sqlite": 4_000, "postgresql": LONGEST + 1}  # PostgreSQL itself keeps long texts apart from their rows


def long_from(dialect_name: str) -> int:
    """Return how many bytes the shortest text has that is stored in chunks."""
    return _LONG_FROM[dialect_name]
