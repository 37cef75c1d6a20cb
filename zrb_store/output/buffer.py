"""Makes lines of what an attempt printed, when they are stored."""

from __future__ import annotations

import codecs
import functools
import io
import re
import threading
import time
from dataclasses import dataclass
from typing import Any, NamedTuple

from zrb_store.output.raw import SLACK, RawOutput, size_of
from zrb_store.output_text import OutputLine
from zrb_store.safe_text import COVER, MASK, cover_lines, ends_amid_secret, mask_printed, storable

CUT = "[...] "
"""What a line begins with if its beginning is not kept."""
OLD = 5_000_000
"""Microseconds after which the beginning of a line is stored although its end has not been printed: it may be a prompt.

A busy program may need longer than a second to print the end.
"""

# Escape sequences of terminals: colours and movements (CSI), titles and links (OSC), and short ones.
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]*[0-Z\\^-~])")

_COVERS = re.compile(f"{COVER}+")


class Printed(NamedTuple):
    """What was printed since the last time.

    Attributes:
        lines: The last lines of it, with secrets masked.
        skipped: How many bytes came before them.
    """

    lines: list[OutputLine]
    skipped: int


NOTHING = Printed([], 0)


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


_new = functools.partial(tuple.__new__, OutputLine)  # without the check of the number of fields


class OutputBuffer:
    """The end of what an attempt printed, until it is stored. Any thread may add to it, and one at a time takes it.

    Attributes:
        raw: What is printed is added here.
    """

    def __init__(self, limit: int) -> None:
        """Begin with nothing.

        Args:
            limit: How many bytes are kept.
        """
        self.raw = RawOutput(limit)
        self._limit = limit
        self._of_long_lines = 0  # bytes that were cut from lines which alone are too long
        self._unfinished: dict[str, _Unfinished] = {}
        self._decoders: dict[str, codecs.IncrementalDecoder] = {}
        self._last: dict[str, str] = {}
        self._lock = threading.RLock()  # a signal handler may print while its thread is here

    def last_line(self, stream: str) -> str | None:
        """Return the last line of a stream that is not blank, as far as it was taken."""
        return self._last.get(stream)

    def take(self, *, all_of_it: bool) -> Printed:
        """Take what was printed, as lines with their times and streams.

        Args:
            all_of_it: Also take a line whose beginning was printed just now and whose end was not.
        """
        with self._lock:
            if self.raw.is_empty and not self._unfinished and not (all_of_it and self._decoders):
                return NOTHING
            times, streams, texts, skipped, is_cut = self.raw.take()
            for stream, amid_line in is_cut.items():
                self._decoders.pop(stream, None)
                begun = self._unfinished.pop(stream, None)  # the end of this line was dropped
                skipped += 0 if begun is None else size_of(begun.text)
                if amid_line:
                    self._unfinished[stream] = _Unfinished(0, "", True)
            lines, cut = self._lines(times, streams, texts)
            if all_of_it:
                self._add_halves()
            old = int(time.time() * 1_000_000) - OLD
            for stream, begun in list(self._unfinished.items()):
                if begun.text and (all_of_it or (begun.at <= old and not ends_amid_secret(begun.text))):
                    del self._unfinished[stream]
                    cut += self._finish(begun, stream, lines)
        # Less than nothing may be cut, since a mask may be longer than what it covers; what was skipped is a gap still.
        skipped = max(skipped + cut, 1) if skipped else 0
        # Such a line fills the limit alone. All that came before it is dropped, too.
        skipped, self._of_long_lines = skipped + self._of_long_lines, 0
        self._note_last(lines)
        lines, dropped = newest(lines, self._limit)
        return Printed(lines, skipped + dropped)

    def _add_halves(self) -> None:
        """Add what stands for a character of which a stream has only printed the first bytes."""
        for stream in list(self._decoders):
            half = self._decoders.pop(stream).decode(b"", final=True)
            begun = self._unfinished.setdefault(stream, _Unfinished(0, "", False))
            begun.at = begun.at or int(time.time() * 1_000_000)
            begun.text += half

    def _lines(self, times: list[float], streams: list[str], texts: list[Any]) -> tuple[list[OutputLine], int]:
        """Make lines of texts. Return also how many bytes were cut from lines."""
        if not set(map(type, texts)) <= {str}:
            texts = list(map(self._text, streams, texts))
        wholes = {stream: _joined(stream, streams, texts) for stream in set(streams)}
        is_clean = all(map(_is_clean, wholes.values()))
        lines = _whole_lines(times, streams, texts, self._limit) if is_clean and not self._unfinished else None
        if lines is not None:
            return lines, 0
        if not is_clean:
            covered = {stream: io.StringIO(cover_lines(whole)) for stream, whole in wholes.items()}
            texts = [covered[stream].read(len(text)) for stream, text in zip(streams, texts, strict=True)]
        lines, cut = [], 0
        for at, stream, text in zip(times, streams, texts, strict=True):
            cut += self._split(int(at * 1_000_000), stream, text, is_clean, lines)
        return lines, cut

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
            if len(begun.text) > self._limit + 2 * SLACK:
                kept = begun.text[-self._limit - SLACK :]
                begun.dropped += size_of(begun.text) - size_of(kept)
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
        if len(text) > self._limit + 2 * SLACK:
            text, is_cut = text[-self._limit - SLACK :], True
        text = mask_printed(text)
        if COVER in text:
            text = _COVERS.sub(MASK, text)
        text = storable(text)
        if is_cut:
            text = text[SLACK:]
        encoded, room = text.encode(), self._limit - 1  # for the newline
        if is_cut or len(encoded) > room:
            kept = max(room - len(CUT), 0)
            text = (CUT.encode() + encoded[max(len(encoded) - kept, 0) :])[: max(room, 0)].decode(errors="ignore")
        line = OutputLine(begun.at, stream, text)
        lines.append(line)
        cut = begun.dropped + size_of(begun.text) + 1 - line.size
        if len(encoded) > room:
            self._of_long_lines += cut
            return 0
        return cut if is_cut else 0


def newest(lines: list[OutputLine], limit: int) -> tuple[list[OutputLine], int]:
    """Return the last lines that fit the limit, one at least, and how many bytes came before them.

    If the line before them is a very long one, its end is kept, too.
    """
    excess, first, dropped = sum([line.size for line in lines]) - limit, 0, 0
    while excess > 0 and first < len(lines) - 1:
        line = lines[first]
        if line.size - excess > max(limit // 4, len(CUT)):
            end = line.text.encode()[excess + len(CUT) :].decode(errors="ignore")
            cut = line._replace(text=CUT + end)
            return [cut, *lines[first + 1 :]], dropped + line.size - cut.size
        excess -= line.size
        dropped += line.size
        first += 1
    return lines[first:], dropped


def _joined(stream: str, streams: list[str], texts: list[str]) -> str:
    """Join the texts of one of the streams."""
    if streams.count(stream) == len(streams):
        return "".join(texts)
    return "".join([text for of, text in zip(streams, texts, strict=True) if of == stream])


def _whole_lines(times: list[float], streams: list[str], texts: list[str], limit: int) -> list[OutputLine] | None:
    """Return the lines if each text is a whole one and not longer than `limit`, as most are; else None."""
    *lines, rest = "".join(texts).split("\n")
    sizes = list(map(len, texts))
    if rest or [len(line) + 1 for line in lines] != sizes or max(sizes, default=0) > limit:
        return None
    return list(map(_new, zip([int(at * 1_000_000) for at in times], streams, lines, strict=True)))


def _is_clean(text: str) -> bool:
    """Whether lines are kept as they are. Most are, and it is quicker to look at all of them at once."""
    return text.isascii() and not any(each in text for each in ("\0", "\r", "\x1b")) and mask_printed(text) == text
