"""The command line of a consumer: a check of it, and its arguments for one value."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence

from zrb_store.errors import InvalidArgument

PLACE = "{}"
"""What stands for the value."""


def check_command(command: Sequence[str]) -> None:
    """Raise an error if a command cannot run, whatever the value is.

    Raises:
        InvalidArgument: It does not exist, may not be executed, or would be a value itself.
    """
    if not command or not command[0]:
        raise InvalidArgument("there is no command: write it after --")
    if PLACE in command[0]:
        raise InvalidArgument(f"a value cannot be the command itself, or a part of it: {command[0]!r}")
    if shutil.which(command[0]) is None:
        raise InvalidArgument(f"{command[0]!r} does not exist or may not be executed")


def arguments(command: Sequence[str], text: str) -> list[bytes]:
    """Return a command line with a value in place of each `{}`, whether that is an argument or a part of one.

    Raises:
        InvalidArgument: The value contains NUL, which no argument can.
    """
    takes_value = any(PLACE in word for word in command)
    if takes_value and "\0" in text:
        raise InvalidArgument(f"the value contains NUL, and no argument can: read it from stdin instead of {PLACE}")
    return [os.fsencode(word).replace(PLACE.encode(), as_bytes(text)) for word in command]


def as_bytes(text: str) -> bytes:
    """Encode the text of a value. What came from undecodable bytes, as in a file's name, becomes these bytes again."""
    try:
        return os.fsencode(text)
    except UnicodeEncodeError:  # it contains other lone surrogates
        return text.encode(sys.getfilesystemencoding(), "backslashreplace")
