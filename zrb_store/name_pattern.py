"""Patterns of names as in a shell: `*` is any text, `?` one character, `[abc]` one of these, `[!abc]` none of them."""

from __future__ import annotations

import fnmatch
import re

_TOKEN = re.compile(r"(?P<wild>[*?])|(?P<one_of>\[!?\]?[^\]]*\])|(?P<plain>.)", re.DOTALL)


class NamePattern:
    """A pattern, with what a database can tell of it.

    Attributes:
        text: The pattern.
        prefix: What each name that it matches begins with; may be empty.
        glob: The pattern for SQLite's GLOB, which knows case.
        like: The pattern for LIKE with a backslash as escape.
        is_exact: Whether `glob` and `like` match the same names. Otherwise they match more, and `matches` decides.
    """

    def __init__(self, text: str) -> None:
        """Parse a pattern. Every text is one."""
        self.text = text
        tokens = list(_TOKEN.finditer(text))
        self.is_exact = not any(token["one_of"] for token in tokens)
        self.glob = "".join(_glob(token) for token in tokens)
        self.like = "".join(_like(token) for token in tokens)
        wild = next((token.start() for token in tokens if not token["plain"]), len(text))
        self.prefix = text[:wild]

    def matches(self, name: str) -> bool:
        """Whether a name matches, in the same case."""
        return fnmatch.fnmatchcase(name, self.text)


def _glob(token: re.Match[str]) -> str:
    if token["one_of"]:
        return "?"
    return "[[]" if token[0] == "[" else token[0]


def _like(token: re.Match[str]) -> str:
    if token["wild"] or token["one_of"]:
        return "%" if token["wild"] == "*" else "_"
    return f"\\{token[0]}" if token[0] in "\\%_" else token[0]
