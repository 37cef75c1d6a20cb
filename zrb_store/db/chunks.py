"""Which texts of values are long, and lie in chunks instead of the value's row (docs/adr/0020-large-values.md).

The `data` of such a row is empty, which the text of no value is. How a text is read by SQL is in `db/dialect`.
"""

from __future__ import annotations

LONGEST = 256 * 1024
"""The most characters of a chunk. That much is sent and copied at once, however long a value is."""

_LONG_FROM = {"sqlite": 4_000, "postgresql": LONGEST + 1}  # PostgreSQL itself keeps long texts apart from their rows


def is_long(dialect_name: str, size: int) -> bool:
    """Whether a text of that many bytes is stored in chunks."""
    return size >= _LONG_FROM[dialect_name]


def in_row(dialect_name: str, text: str, size: int) -> str:
    """Return what the row of a value with this text and its size in bytes has as `data`."""
    return "" if is_long(dialect_name, size) else text
