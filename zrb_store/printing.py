"""Stored text as a terminal may be shown it: no control character reaches one."""

from __future__ import annotations


def printable(text: str, keep: str = "") -> str:
    """Replace what cannot be printed (control and invisible characters, lone surrogates) by its escape.

    Args:
        text: The text.
        keep: Characters that stay as they are, such as the end of a line.
    """
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or char in keep else char.encode("unicode_escape").decode() for char in text
    )


def one_line(text: str) -> str:
    """The text on one line, printable, and with single spaces."""
    return printable(" ".join(text.split()))
