"""How wide texts are on a terminal, and how they are cut and wrapped to a width."""

from __future__ import annotations

import re
from collections.abc import Iterator

_LAST_MARK = re.compile(r".*[-/_.,:](?=.)")  # after which a long word is broken
_JAMO = range(0x1160, 0x1200)  # vowels and final consonants, which are drawn into the syllable before them


def display_width(text: str) -> int:
    """Return how many columns a text takes on a terminal."""
    return len(text) if text.isascii() else sum(map(_char_width, text))


def _char_width(char: str) -> int:
    if char.isascii():
        return 1
    import unicodedata  # late: large, and rarely needed

    if unicodedata.category(char) in ("Mn", "Me", "Cf") or ord(char) in _JAMO:  # Cf: a joiner
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def shorten(text: str, width: int) -> str:
    """Cut a text to `width` columns, ending in `...` if anything was cut off."""
    if display_width(text) <= width:
        return text
    return f"{_beginning(text, max(0, width - 3))}..."


def _beginning(text: str, width: int) -> str:
    """Return as much of the beginning of a text as fits in `width` columns, with all marks on its last character."""
    if text[: width + 1].isascii():
        return text[:width]
    room = width
    for place, char in enumerate(text):
        room -= _char_width(char)
        if room < 0:
            return text[:place]
    return text


def wrap(text: str, width: int) -> Iterator[str]:
    """Yield the lines of a text that is wrapped at spaces. Only a word that is wider than a line is broken itself.

    Args:
        text: The text on one line. Its first line keeps the spaces before it.
        width: How wide a line may be, in columns.
    """
    width = max(2, width)  # the widest character takes two columns
    while display_width(text) > width:
        line = _beginning(text, width)
        if text[len(line)] != " ":
            words = len(line) - len(line.lstrip(" "))
            if " " in line[words:]:
                line = line[: line.rindex(" ")]
            elif mark := _LAST_MARK.search(line, words):
                line = line[: mark.end()]
        yield line.rstrip(" ")
        text = text[len(line) :].lstrip(" ")
    yield text


def longest_word(text: str) -> int:
    """Return the width of the widest word of a text."""
    return max(map(display_width, text.split()), default=0)
