"""The words of a line as bash reads them, and what readline puts in the place of the last one."""

from __future__ import annotations

import re
from typing import NamedTuple

_ESCAPED = re.compile(r"\\(?:([0-7]{1,3})|x([0-9a-fA-F]{1,2})|u([0-9a-fA-F]{1,4})|U([0-9a-fA-F]{1,8})|(.))", re.DOTALL)
_LETTERS = {"a": "\a", "b": "\b", "e": "\x1b", "E": "\x1b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}

# Breaks that belong to the word after them (bash's rl_special_prefixes).
_KEPT = "$@"


class Line(NamedTuple):
    """A line up to the cursor.

    Attributes:
        words: The words before the last one, without quotation marks.
        typed: The last word, likewise.
        start: Where in `typed` that part begins which readline replaces.
        quote: The quotation mark that is open in it: `'`, `"`, `$'` or none.
    """

    words: list[str]
    typed: str
    start: int
    quote: str


def split(line: str, breaks: str) -> Line:
    """Split a line.

    Args:
        line: The line up to the cursor.
        breaks: The characters after which readline lets a new word begin (`COMP_WORDBREAKS`).
    """
    words: list[str] = []
    text, start, is_word, is_target = "", 0, False, False
    place = 0
    while place < len(line):
        char = line[place]
        place += 1
        if char in " \t\n<>|&;":
            if is_word and not is_target:
                words.append(text)
            if is_word or char not in " \t\n":
                is_target = char not in " \t\n"  # the word after an operator is the file of a redirection
            text, start, is_word = "", 0, False
            continue
        is_word = True
        if char in "'\"":
            quote = char
            if char == "'" and text.endswith("$") and not line[: place - 1].endswith("\\$"):
                quote, text = "$'", text[:-1]
            content, place, is_closed = _quoted(line, place, quote)
            if not is_closed:
                return Line(words, text + content, len(text), quote)
            text += content
            start = len(text)
        elif char == "\\":
            text += line[place : place + 1]
            place += 1
        else:
            text += char
            if char in breaks:
                start = len(text) - (char in _KEPT)
    return Line(words, text, start, "")


def _quoted(line: str, place: int, quote: str) -> tuple[str, int, bool]:
    """Return what is quoted, the place after it, and whether the quotation mark is closed."""
    inner = {"'": r"[^']*", '"': r'(?:[^"\\]|\\.)*', "$'": r"(?:[^'\\]|\\.)*"}[quote]
    match = re.compile(inner, re.DOTALL).match(line, place)
    assert match is not None
    content, end = match[0], match.end()
    if quote == '"':
        content = re.sub(r'\\([$`"\\\n])', r"\1", content)
    elif quote == "$'":
        content = _ESCAPED.sub(_unescaped, content)
    return content, end + 1, end < len(line)


def _unescaped(match: re.Match[str]) -> str:
    octal, *hexadecimal, letter = match.groups()
    if letter is not None:
        return _LETTERS.get(letter, letter)
    number = int(octal, 8) if octal else int(next(filter(None, hexadecimal)), 16)
    return chr(number) if number <= 0x10FFFF else ""


def quoted(text: str, quote: str) -> str | None:
    """Return how a text is written inside a quotation mark, or with none; None if it cannot be written there."""
    if quote == "$'":
        return _escaped(text)
    if not text.isprintable():
        return None if quote else f"$'{_escaped(text)}'"
    if quote == "'":
        return text.replace("'", r"'\''")
    if quote == '"':
        # An exclamation mark would call the history, also after a backslash.
        return re.sub(r'([$`"\\])', r"\\\1", text).replace("!", "\"'!'\"")
    return re.sub(r"([^\w@%+=:,./#-]|^#)", r"\\\1", text)


def _escaped(text: str) -> str:
    return "".join(_escape(char) for char in text)


def _escape(char: str) -> str:
    if char in "\\'":
        return f"\\{char}"
    if char.isprintable():
        return char
    if ord(char) < 0x80:
        return f"\\{ord(char):03o}"
    return f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}"
