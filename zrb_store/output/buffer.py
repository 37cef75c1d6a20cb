"""The end of what an attempt prints, kept raw until it is stored: printing must cost next to nothing."""

from __future__ import annotations

import codecs
import io
import re
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, NamedTuple

from zrb_store.output_text import OutputLine
from zrb_store.safe_text import COVER, MASK, cover_lines, mask_text, storable

CUT = "[...] "
"""What a line begins with if its beginning is not kept."""
OLD = 5_000_000
"""Microseconds after which the beginning of a line is stored although its end has not been printed: it may be a prompt.

A busy program may need longer than a second to print the end.
"""

# What is dropped of the rest of a line whose beginning was dropped: it may be the end of a secret.
_SLACK = 4 * 1024
# Escape sequences of terminals: colours and movements (CSI), titles and links (OSC), and short ones.
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]*[0-Z\\^-~])")

_COVERS = re.compile(f"{COVER}+")

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
    """The beginning of a line.

    Attributes:
        at: When it was printed.
        text: The text.
        is_cut: Whether something came before it that was dropped.
        dropped: How many bytes of that are not counted yet.
    """

    at: int
    text: str
    is_cut: bool
    dropped: int = 0


_TIME = itemgetter(0)


class OutputBuffer:
    """The end of what an attempt printed, until it is stored. Any thread may add to it, and one at a time takes it.

    Attributes:
        parse: Finds stream and text in the texts that `note_time` and `note_text` add.
        note_time: Adds the time of a text, in nanoseconds since 1970, and ...
        note_text: ... adds the text, without looking at it. Nothing is made for it that the garbage collector has
            to look at. The text stays in memory until it is taken: use this for texts that stay there anyway.
    """

    def __init__(self, limit: int) -> None:
        """Begin with nothing.

        Args:
            limit: How many bytes are kept.
        """
        self.parse: Parse = lambda text: ("print", text)
        self._times: list[int] = []
        self._texts: list[str] = []
        self.note_time, self.note_text = self._times.append, self._texts.append
        self._limit = limit
        self._room = limit + 2 * _SLACK
        self._raw: deque[tuple[int, str, str | bytes]] = deque()  # nanoseconds since 1970, stream and text
        self._raw_size = 0
        self._skipped = 0
        self._of_long_lines = 0  # bytes that were cut from lines which alone are too long
        self._is_cut: dict[str, bool] = {}  # streams of which something was dropped: whether that was amid a line
        self._unfinished: dict[str, _Unfinished] = {}
        self._decoders: dict[str, codecs.IncrementalDecoder] = {}
        self._last: dict[str, str] = {}
        self._lock = threading.RLock()  # a signal handler may print while its thread is here

    def add(self, stream: str, data: str | bytes) -> None:
        """Add text with its newlines, or bytes of it."""
        self._raw.append((time.time_ns(), stream, data))
        self._raw_size += len(data)
        if self._raw_size > 3 * self._room:
            with self._lock:
                kept = self._newest()
                self._raw.extendleft(reversed(kept))
                self._raw_size = sum(len(data) for _, _, data in kept)

    def _newest(self) -> list[tuple[int, str, Any]]:
        """Take what was added, drop what will not be kept for sure, and return the rest, each with its stream."""
        # If two threads print at once, their times may be exchanged.
        count = min(len(self._times), len(self._texts))
        times, texts = _taken(self._times, count), _taken(self._texts, count)
        streams: list[str | None] = [None] * count
        if self._raw:
            raw = [self._raw.popleft() for _ in range(len(self._raw))]
            together = sorted([*zip(times, streams, texts, strict=True), *raw], key=_TIME)
            times, streams, texts = map(list, zip(*together, strict=True))
        kept: list[tuple[int, str, Any]] = []
        room, place, prefix = self._room, len(times), 0
        while place and room > 0:
            place -= 1
            stream, text = streams[place], texts[place]
            if stream is None:
                before = len(text)
                stream, text = self.parse(text)
                prefix = before - len(text)
            if len(text) > room:
                self._drop(stream, text[:-room])
                text = text[-room:]
            room -= len(text)
            kept.append((times[place], stream, text))
        if place:
            self._drop_oldest(streams[:place], texts[:place], prefix)
        kept.reverse()
        return kept

    def _drop_oldest(self, streams: list[str | None], texts: list[Any], prefix: int) -> None:
        """Drop the first of what was added: count it, and note which lines of the rest have no beginning.

        Args:
            streams: The streams of what is dropped.
            texts: The texts of it.
            prefix: How much longer a text is before it is parsed. They are too many to parse them all.
        """
        self._skipped += sum(map(len, texts)) - prefix * streams.count(None)
        sources = set(streams)
        for stream, text in zip(reversed(streams), reversed(texts), strict=True):
            if stream in sources:
                sources.remove(stream)
                of_stream = self.parse(text)[0] if stream is None else stream
                self._is_cut.setdefault(of_stream, text[-1:] not in ("\n", b"\n"))
            if not sources:
                break

    def _drop(self, stream: str, data: str | bytes) -> None:
        self._skipped += _size(data)
        self._is_cut[stream] = data[-1:] not in ("\n", b"\n")

    def last_line(self, stream: str) -> str | None:
        """Return the last line of a stream that is not blank, as far as it was taken."""
        return self._last.get(stream)

    def take(self, *, all_of_it: bool) -> Printed:
        """Take what was printed, as lines with their times and streams.

        Args:
            all_of_it: Also take a line whose beginning was printed just now and whose end was not.
        """
        lines: list[OutputLine] = []
        cut, limit = 0, self._limit
        with self._lock:
            raw = self._newest()
            self._raw_size = 0
            skipped, self._skipped = self._skipped, 0
            is_cut, self._is_cut = self._is_cut, {}
            for stream, amid_line in is_cut.items():
                self._decoders.pop(stream, None)
                begun = self._unfinished.pop(stream, None)  # the end of this line was dropped
                skipped += 0 if begun is None else _size(begun.text)
                if amid_line:
                    self._unfinished[stream] = _Unfinished(0, "", True)
            if any(isinstance(data, bytes) for _, _, data in raw):
                raw = [(at, stream, self._text(stream, data)) for at, stream, data in raw]
            texts: list[tuple[int, str, str]] = raw
            streams = {stream for _, stream, _ in texts}
            wholes = {stream: "".join(text for _, of, text in texts if of == stream) for stream in streams}
            is_clean = all(map(_is_clean, wholes.values()))
            if not is_clean:
                texts = _covered(texts, wholes)
            for at, stream, text in texts:
                if is_clean and stream not in self._unfinished and 0 <= text.find("\n") == len(text) - 1 < limit:
                    lines.append(OutputLine(at // 1000, stream, text[:-1]))  # as most are
                else:
                    cut += self._split(at // 1000, stream, text, is_clean, lines)
            old = time.time_ns() // 1000 - OLD
            for stream, begun in list(self._unfinished.items()):
                if begun.text and (all_of_it or begun.at <= old):
                    del self._unfinished[stream]
                    cut += self._finish(begun, stream, lines)
        skipped = max(skipped + cut, 1) if skipped else 0
        # Such a line fills the limit alone. All that came before it is dropped, too.
        skipped, self._of_long_lines = skipped + self._of_long_lines, 0
        self._note_last(lines)
        sizes = [line.size for line in lines]
        size, first = sum(sizes), 0
        while size > limit and first < len(lines) - 1:
            size -= sizes[first]
            skipped += sizes[first]
            first += 1
        return Printed(lines[first:] if first else lines, skipped)

    def _note_last(self, lines: list[OutputLine]) -> None:
        streams = {line.stream for line in lines}
        for line in reversed(lines):
            if not streams:
                break
            if line.stream in streams and line.text and not line.text.isspace():
                self._last[line.stream] = line.text
                streams.remove(line.stream)

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

    def _split(self, at: int, stream: str, text: str, is_clean: bool, lines: list[OutputLine]) -> int:
        """Make lines of text, and keep the beginning of one that does not end.

        Args:
            at: When it was printed.
            stream: Its stream.
            text: The text.
            is_clean: Whether there is nothing in it that is not kept.
            lines: The lines are added to these.

        Returns:
            How many bytes were cut from lines.
        """
        parts = text.split("\n")
        begun = self._unfinished.pop(stream, None)
        cut = 0
        if begun is not None and len(parts) > 1:
            begun.text += parts.pop(0)
            begun.at = begun.at or at
            cut += self._finish(begun, stream, lines)
            begun = None
        rest = parts.pop()
        for part in parts:
            if is_clean and len(part) < self._limit:
                lines.append(OutputLine(at, stream, part))
            else:
                cut += self._finish(_Unfinished(at, part, False), stream, lines)
        if begun is not None:
            begun.text += rest
            begun.at = begun.at or at
            if len(begun.text) > self._limit + 2 * _SLACK:
                kept = begun.text[-self._limit - _SLACK :]
                begun.dropped += _size(begun.text) - _size(kept)
                begun.text, begun.is_cut = kept, True
            self._unfinished[stream] = begun
        elif rest:
            self._unfinished[stream] = _Unfinished(at, rest, False)
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
        text = mask_text(text)
        if COVER in text:
            text = _COVERS.sub(MASK, text)
        text = storable(text)
        if is_cut:
            text = text[_SLACK:]
        encoded, room = text.encode(), self._limit - 1  # for the newline
        if is_cut or len(encoded) > room:
            kept = max(room - len(CUT), 0)
            text = (CUT.encode() + encoded[max(len(encoded) - kept, 0) :])[: max(room, 0)].decode(errors="ignore")
        line = OutputLine(begun.at, stream, text)
        lines.append(line)
        cut = begun.dropped + _size(begun.text) + 1 - line.size
        if len(encoded) > room:
            self._of_long_lines += cut
            return 0
        return cut if is_cut else 0


def _taken(items: list[Any], count: int) -> list[Any]:
    """Take the first items. Another thread may append meanwhile."""
    taken = items[:count]
    del items[:count]
    return taken


def _covered(texts: list[tuple[int, str, str]], wholes: dict[str, str]) -> list[tuple[int, str, str]]:
    """Cover the secrets of several lines in what was printed.

    Args:
        texts: Time, stream and text of each piece.
        wholes: All of what was printed, by stream.
    """
    covered = {stream: io.StringIO(cover_lines(whole)) for stream, whole in wholes.items()}
    return [(at, stream, covered[stream].read(len(text))) for at, stream, text in texts]


def _is_clean(text: str) -> bool:
    """Whether lines are kept as they are. Most are, and it is quicker to look at all of them at once."""
    return text.isascii() and not any(each in text for each in ("\0", "\r", "\x1b")) and mask_text(text) == text


def _size(data: str | bytes) -> int:
    return len(data) if isinstance(data, bytes) else len(data.encode("utf-8", "replace"))
