"""The end of what an attempt prints, kept raw until it is stored: printing must cost next to nothing."""

from __future__ import annotations

import codecs
import re
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from zrb_store.output_text import OutputLine
from zrb_store.safe_text import mask_text, storable

CUT = "[...] "
"""What a line begins with if its beginning is not kept."""
OLD = 1_000_000
"""Microseconds after which the beginning of a line is stored although its end has not been printed."""

# What is dropped of the rest of a line whose beginning was dropped: it may be the end of a secret.
_SLACK = 8 * 1024
# Raw text may be several times as long as the lines that are made of it.
_RAW = 4

# Escape sequences of terminals: colours and movements (CSI), titles and links (OSC), and short ones.
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]*[0-Z\\^-~])")

Parse = Callable[[str], tuple[str, str]]
"""Returns the stream and the text of what was printed as something else."""


class Printed(NamedTuple):
    """What was printed since the last time.

    Attributes:
        lines: The last lines of it, with secrets masked.
        skipped: How many bytes came before them.
    """

    lines: list[OutputLine]
    skipped: int


@dataclass
class _Unfinished:
    """The beginning of a line."""

    at: int
    text: str
    is_cut: bool


class OutputBuffer:
    """The end of what an attempt printed, until it is stored. Any thread may add to it, and one at a time takes it."""

    def __init__(self, limit: int) -> None:
        """Begin with nothing.

        Args:
            limit: How many bytes are kept.
        """
        self._limit = limit
        self._most = _RAW * limit + 2 * _SLACK
        self._raw: deque[tuple[int, str | Parse, str | bytes]] = deque()
        self._raw_size = 0
        self._skipped = 0
        self._is_cut: dict[str, bool] = {}  # streams of which something was dropped: whether that was amid a line
        self._unfinished: dict[str, _Unfinished] = {}
        self._decoders: dict[str, codecs.IncrementalDecoder] = {}
        self._last: dict[str, str] = {}
        self._lock = threading.RLock()  # a signal handler may print while its thread is here

    def add(self, source: str | Parse, data: str | bytes) -> None:
        """Add text with its newlines, or bytes of it.

        Args:
            source: The stream; or what finds it in the text.
            data: The text.
        """
        self._raw.append((time.time_ns() // 1000, source, data))
        self._raw_size += len(data)
        if self._raw_size > self._most:
            self._shrink()

    def _shrink(self) -> None:
        """Drop the first part, but leave more than what is kept. Nothing is dropped of a single text."""
        with self._lock:
            room = self._most - self._limit - _SLACK
            while self._raw_size > room and len(self._raw) > 1:
                at, source, data = self._raw.popleft()
                self._raw_size -= len(data)
                stream, text = (source, data) if isinstance(source, str) else source(_decoded(data))
                rest = text[-(room - self._raw_size) :] if self._raw_size < room else text[:0]
                if rest:
                    self._raw.appendleft((at, stream, rest))
                    self._raw_size += len(rest)
                dropped = text[: len(text) - len(rest)]
                if dropped:
                    self._is_cut[stream] = _decoded(dropped[-1:]) != "\n"
                    self._skipped += _size(dropped)
                if rest:
                    break

    def last_line(self, stream: str) -> str | None:
        """Return the last line of a stream that is not blank, as far as it was taken."""
        return self._last.get(stream)

    def take(self, *, all_of_it: bool) -> Printed:
        """Take what was printed, as lines with their times and streams.

        Args:
            all_of_it: Also take a line whose beginning was printed just now and whose end was not.
        """
        lines: list[OutputLine] = []
        cut = 0
        with self._lock:
            skipped, self._skipped = self._skipped, 0
            is_cut, self._is_cut = self._is_cut, {}
            for stream, amid_line in is_cut.items():
                begun = self._unfinished.pop(stream, None)  # the end of this line was dropped
                skipped += 0 if begun is None else _size(begun.text)
                if amid_line:
                    self._unfinished[stream] = _Unfinished(0, "", True)
            while self._raw:
                at, source, data = self._raw.popleft()
                stream, text = (source, data) if isinstance(source, str) else source(_decoded(data))
                cut += self._split(at, stream, self._text(stream, text), lines)
            self._raw_size = 0
            old = time.time_ns() // 1000 - OLD
            for stream, begun in list(self._unfinished.items()):
                if begun.text and (all_of_it or begun.at <= old):
                    del self._unfinished[stream]
                    cut += self._finish(begun, stream, lines)
        skipped = max(skipped + cut, 1) if skipped else 0
        size = sum(line.size for line in lines)
        first = 0
        while size > self._limit and first < len(lines) - 1:
            size -= lines[first].size
            skipped += lines[first].size
            first += 1
        return Printed(lines[first:], skipped)

    @property
    def has_beginning(self) -> bool:
        """Whether the beginning of a line waits for its end."""
        return any(begun.text for begun in self._unfinished.values())

    def _text(self, stream: str, data: str | bytes) -> str:
        if isinstance(data, str):
            return data
        if stream not in self._decoders:
            self._decoders[stream] = codecs.getincrementaldecoder("utf-8")(errors="replace")
        return self._decoders[stream].decode(data)

    def _split(self, at: int, stream: str, text: str, lines: list[OutputLine]) -> int:
        """Make lines of text, and keep the beginning of one that does not end. Return how many bytes were cut."""
        cut = 0
        parts = text.split("\n")
        begun = self._unfinished.pop(stream, None)
        if begun is not None:
            begun.text += parts[0]
            begun.at = begun.at or at
        else:
            begun = _Unfinished(at, parts[0], False)
        for part in parts[1:]:
            cut += self._finish(begun, stream, lines)
            begun = _Unfinished(at, part, False)
        if begun.text or begun.is_cut:
            if len(begun.text) > self._limit + 2 * _SLACK:
                begun.text = begun.text[-self._limit - _SLACK :]
                begun.is_cut = True
            self._unfinished[stream] = begun
        return cut

    def _finish(self, begun: _Unfinished, stream: str, lines: list[OutputLine]) -> int:
        """Add a line as a terminal shows it, with secrets masked before it is cut. Return how many bytes were cut."""
        text = begun.text.rstrip("\r")
        if "\r" in text:  # what came before was overwritten
            text = text[text.rindex("\r") + 1 :]
        if "\x1b" in text:
            text = _ESCAPES.sub("", text)
        # Of a line that is far too long, the beginning is of no use; but the end of a secret must not remain alone.
        is_cut = begun.is_cut
        if len(text) > self._limit + 2 * _SLACK:
            text, is_cut = text[-self._limit - _SLACK :], True
        text = storable(mask_text(text))
        if is_cut:
            text = text[_SLACK:]
        encoded, room = text.encode(), self._limit - 1  # for the newline
        if is_cut or len(encoded) > room:
            kept = max(room - len(CUT), 0)
            text = (CUT.encode() + encoded[max(len(encoded) - kept, 0) :])[: max(room, 0)].decode(errors="ignore")
        if text and not text.isspace():
            self._last[stream] = text
        line = OutputLine(begun.at, stream, text)
        lines.append(line)
        return _size(begun.text) + 1 - line.size if is_cut else 0


def _decoded(data: str | bytes) -> str:
    return data if isinstance(data, str) else data.decode("utf-8", "replace")


def _size(data: str | bytes) -> int:
    return len(data) if isinstance(data, bytes) else len(data.encode("utf-8", "replace"))
