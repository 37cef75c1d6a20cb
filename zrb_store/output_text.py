"""The lines of an attempt's output, and how a piece of them is written: a JSON list of [time, stream, text]."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import NamedTuple


class OutputLine(NamedTuple):
    """One line that an attempt printed or logged.

    Attributes:
        at: When, in microseconds since 1970 UTC by the clock of the process that printed it.
        stream: Where it came from, such as `stdout`, `stderr`, `print` or `warning`.
        text: The line without its newline.
    """

    at: int
    stream: str
    text: str

    @property
    def size(self) -> int:
        """Its length in bytes, with a newline."""
        text = self.text
        return (len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))) + 1


def encode(lines: Iterable[OutputLine]) -> str:
    """Write lines as a piece of output. The text is ASCII, and a person can read it in the database."""
    return json.dumps(list(lines), separators=(",", ":"))


def decode(data: str) -> list[OutputLine]:
    """Read the lines of a piece.

    Raises:
        ValueError: It is not a piece of output.
    """
    return [OutputLine(*line) for line in json.loads(data)]


def size_of(data: str) -> int:
    """Return the bytes of the lines of a piece, with a newline after each."""
    return sum(line.size for line in decode(data))
