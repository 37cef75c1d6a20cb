"""The buffer of what an attempt prints: only the end is kept, and it costs next to nothing before it is taken.

When the buffer is taken, it is parsed and split into lines, and their secrets are masked.
"""

from __future__ import annotations

import codecs
import io
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from operator import itemgetter
from typing import NamedTuple

from zrb_store.masking import COVER, MASK, cover_lines, ends_amid_secret, mask_printed, storable
from zrb_store.queries.output import OutputLine

CUT = "[...] "
"""What a line begins with if its beginning is not kept."""
OLD = 5_000_000
"""Microseconds after which the beginning of a line is stored although its end has not been printed: it may be a prompt.

A busy program may need longer than a second to print the end.
"""
SLACK = 4 * 1024
"""What is dropped of the rest of a line whose beginning was dropped: it may be the end of a secret."""

Parse = Callable[[list[str]], tuple[list[str], list[str]]]
"""Splits printed texts into their streams and the texts themselves."""
_Piece = tuple[float, str, str | bytes]  # the time in seconds since 1970, the stream, and what was printed

_BATCH = 64  # texts that are parsed at once
_TIME = itemgetter(0)
_LAST = itemgetter(slice(-1, None))  # the last character of a text
# Escape sequences of terminals: colours and movements (CSI), titles and links (OSC), and short ones.
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]*[0-Z\\^-~])")
_COVERS = re.compile(f"{COVER}+")


class Printed(NamedTuple):
    """The last lines of what was printed since the last time, and how many bytes came before them."""

    lines: list[OutputLine]
    skipped: int


NOTHING = Printed([], 0)


@dataclass
class _Unfinished:
    """The beginning of a line."""

    at: int = 0  # when it was printed
    text: str = ""
    size: int = 0  # bytes that were printed of it
    is_cut: bool = False  # whether some of that was dropped


class OutputBuffer:
    """The end of what an attempt printed, until it is stored. Any thread may add to it, and one at a time takes it."""

    def __init__(self, limit: int) -> None:
        # Instead of `add`, which costs more, the time of a text may be appended, and then the text. Call `trim` now and
        # then. Nothing is made for a text that the garbage collector has to look at.
        self.times: list[float] = []
        self.texts: list[str] = []
        self.parse: Parse = lambda texts: (["print"] * len(texts), texts)  # finds streams and texts in `texts`
        self._limit, self._room = limit, limit + 2 * SLACK
        self._counted = self._least = 0  # how many of `texts` were counted, and the least that is kept of them
        self._prefix = 0  # of one of `texts`, the most that was no part of the text
        self._skipped = 0  # bytes that were dropped since the last time
        self._is_cut: dict[str, bool] = {}  # the streams they were of, each with whether the last one was amid a line
        self._added: list[_Piece] = []
        self._added_size = 0
        self._has_parts = False  # whether some of `texts` are no whole lines
        self._gap = False  # whether something is missing before the lines that are taken
        self._unfinished: dict[str, _Unfinished] = {}
        self._decoders: dict[str, codecs.IncrementalDecoder] = {}
        self._last: dict[str, str] = {}
        self._lock = threading.RLock()  # a signal handler may print while its thread is here

    # -- pieces

    def add(self, stream: str, data: str | bytes) -> None:
        """Add text with its newlines, or bytes of it."""
        self._added.append((time.time(), stream, data))
        self._added_size += len(data)
        if self._added_size > 3 * self._room:
            with self._lock:
                added = self._added[:]
                del self._added[: len(added)]  # another thread may append meanwhile
                self._added[:0] = kept = self._end_of(added)
                self._added_size = sum(len(data) for _, _, data in kept)

    def trim(self) -> None:
        """Drop the oldest of `texts`, if the others are enough even if each has the longest prefix."""
        with self._lock:
            new = self.texts[self._counted :]
            if not new:
                return
            self._counted += len(new)  # first: a signal handler that prints comes here again
            # This is done now, as long as the processor has the texts at hand.
            self._has_parts = self._has_parts or set(map(_LAST, new)) != {"\n"}
            self._prefix = max(self._prefix, self._prefix_of(new[-1]))
            self._least += sum(map(len, new)) - self._prefix * len(new)
            if self._least > 3 * self._room:
                kept, first = 0, self._counted
                while first and kept < self._room:
                    first -= 1
                    kept += len(self.texts[first]) - self._prefix
                self._drop_noted(self.texts[:first])
                del self.times[:first], self.texts[:first]
                self._counted, self._least = self._counted - first, kept

    def _prefix_of(self, raw: str) -> int:
        _, (text,) = self.parse([raw])
        return len(raw) - len(text)

    def _drop_noted(self, raw: list[str]) -> None:
        """Note that some of `texts` are dropped. Of whole lines, only the last one is parsed."""
        if raw and not self._has_parts:
            *raw, last = raw
            self._skipped += max(sum(map(len, raw)) - self._prefix_of(last) * len(raw), 0)
            raw = [last]
        for stream, text in zip(*self.parse(raw), strict=True):
            self._drop(stream, text)

    def _drop(self, stream: str, data: str | bytes) -> None:
        self._skipped += size_of(data)
        self._is_cut[stream] = data[-1:] not in ("\n", b"\n")

    def _newest(self) -> list[_Piece]:
        """Take what was printed, and return the end of it."""
        self.trim()
        count = self._counted
        times, raw = self.times[:count], self.texts[:count]
        del self.times[:count], self.texts[:count]  # another thread may append meanwhile
        pieces: list[_Piece] = []
        room = self._room
        while count and room > 0:
            start = max(count - _BATCH, 0)
            streams, texts = self.parse(raw[start:count])
            pieces[:0] = zip(times[start:count], streams, texts, strict=True)
            room, count = room - sum(map(len, texts)), start
        self._drop_noted(raw[:count])
        self._counted = self._least = self._prefix = 0
        self._has_parts = False
        if added := self._added[:]:
            del self._added[: len(added)]
            self._added_size = 0
            pieces = sorted([*pieces, *added], key=_TIME)
        return self._end_of(pieces)

    def _end_of(self, pieces: list[_Piece]) -> list[_Piece]:
        """Return the end of pieces, which may still be kept, and drop what comes before it."""
        excess, first = sum([len(data) for _, _, data in pieces]) - self._room, 0
        while excess > 0 and len(pieces[first][2]) <= excess:
            excess -= len(pieces[first][2])
            self._drop(*pieces[first][1:])
            first += 1
        kept = pieces[first:]
        if excess > 0:
            at, stream, data = kept[0]
            self._drop(stream, data[:excess])
            kept[0] = at, stream, data[excess:]
        return kept

    # -- lines

    def take(self, *, all_of_it: bool) -> Printed:
        """Take what was printed, as lines; with `all_of_it` also a line whose end is still to be printed."""
        with self._lock:
            if not (self.texts or self._added or self._skipped or self._unfinished or (all_of_it and self._decoders)):
                return NOTHING
            printed = sum(begun.size for begun in self._unfinished.values())
            pieces = self._newest()
            printed += self._skipped + sum(size_of(data) for _, _, data in pieces)
            self._gap = bool(self._skipped)
            self._begin_after_cuts()
            lines = self._lines([(at, stream, self._text(stream, data)) for at, stream, data in pieces])
            lines += self._ended(all_of_it=all_of_it)
            printed -= sum(begun.size for begun in self._unfinished.values())
            self._last |= {stream: text for _, stream, text in lines if text and not text.isspace()}
            lines, dropped = newest(lines, self._limit)
            if not (self._gap or dropped):
                return Printed(lines, 0)
            # Masks may be longer than what they cover.
            return Printed(lines, max(printed - sum(line.size for line in lines), 1))

    def _begin_after_cuts(self) -> None:
        """Forget what was begun on the streams of which something was dropped: the end of these lines was, too."""
        for stream, amid_line in self._is_cut.items():
            self._decoders.pop(stream, None)
            self._unfinished.pop(stream, None)
            if amid_line:
                self._unfinished[stream] = _Unfinished(is_cut=True)
        self._skipped, self._is_cut = 0, {}

    def _ended(self, *, all_of_it: bool) -> list[OutputLine]:
        """Return the lines that end without a newline: all of them, or those that have waited long for theirs."""
        if all_of_it:
            for stream in list(self._decoders):  # a character of which only the first bytes were printed
                half = self._decoders.pop(stream).decode(b"", final=True)
                self._begin(time.time(), stream, half)
        old = int(time.time() * 1_000_000) - OLD
        return [
            self._finished(stream, self._unfinished.pop(stream))
            for stream, begun in list(self._unfinished.items())
            if begun.text and (all_of_it or (begun.at <= old and not ends_amid_secret(begun.text)))
        ]

    def last_line(self, stream: str) -> str | None:
        """Return the last line of a stream that is not blank, as far as it was taken."""
        return self._last.get(stream)

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

    def _lines(self, texts: list[tuple[float, str, str]]) -> list[OutputLine]:
        """Make lines of texts, and keep beginnings of lines that do not end."""
        streams = {stream for _, stream, _ in texts}
        wholes = {stream: "".join([text for _, of, text in texts if of == stream]) for stream in streams}
        # Most lines are kept as they are, and it is quicker to look at all of them at once.
        is_clean = all(map(_is_clean, wholes.values()))
        covered = {} if is_clean else {stream: io.StringIO(cover_lines(whole)) for stream, whole in wholes.items()}
        lines = []
        for at, stream, text in texts:
            *ended, rest = (text if is_clean else covered[stream].read(len(text))).split("\n")
            for part in ended:
                if is_clean and stream not in self._unfinished and len(part) < self._limit:
                    lines.append(OutputLine(int(at * 1_000_000), stream, part))
                else:
                    self._begin(at, stream, part)
                    lines.append(self._finished(stream, self._unfinished.pop(stream)))
            if rest:
                self._begin(at, stream, rest)
        return lines

    def _begin(self, at: float, stream: str, text: str) -> None:
        """Add to the line that a stream prints at the moment."""
        begun = self._unfinished.setdefault(stream, _Unfinished())
        begun.at = begun.at or int(at * 1_000_000)
        begun.text += text
        begun.size += size_of(text)
        if len(begun.text) > self._limit + 2 * SLACK:
            begun.text, begun.is_cut = begun.text[-self._limit - SLACK :], True

    def _finished(self, stream: str, begun: _Unfinished) -> OutputLine:
        """Return a line as a terminal shows it, with secrets masked before it is cut."""
        text = begun.text.rstrip("\r")
        text = _ESCAPES.sub("", text[text.rfind("\r") + 1 :])  # what came before was overwritten
        text = storable(_COVERS.sub(MASK, mask_printed(text)))
        if begun.is_cut:  # the end of a secret must not remain alone
            text = text[SLACK:]
        encoded, room = text.encode(), max(self._limit - 1, 0)  # for the newline
        if begun.is_cut or len(encoded) > room:
            kept = max(room - len(CUT), 0)
            text = (CUT.encode() + encoded[max(len(encoded) - kept, 0) :])[:room].decode(errors="ignore")
            self._gap = True
        return OutputLine(begun.at, stream, text)


def newest(lines: list[OutputLine], limit: int) -> tuple[list[OutputLine], int]:
    """Return the last lines that fit the limit, one at least, and how many bytes came before them."""
    excess, first, dropped = sum([line.size for line in lines]) - limit, 0, 0
    while excess > 0 and first < len(lines) - 1:
        line = lines[first]
        if line.size - excess > max(limit // 4, len(CUT)):  # the end of a very long line is kept, too
            end = line.text.encode()[excess + len(CUT) :].decode(errors="ignore")
            cut = line._replace(text=CUT + end)
            return [cut, *lines[first + 1 :]], dropped + line.size - cut.size
        excess -= line.size
        dropped += line.size
        first += 1
    return lines[first:], dropped


def size_of(data: str | bytes) -> int:
    """Return how many bytes this is."""
    return len(data) if isinstance(data, bytes) or data.isascii() else len(data.encode("utf-8", "replace"))


def _is_clean(text: str) -> bool:
    return text.isascii() and not any(each in text for each in ("\0", "\r", "\x1b")) and mask_printed(text) == text
