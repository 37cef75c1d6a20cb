"""Values that are given as JSON on the command line.

The arguments of commands that take several sessions.

The option `--project`.

What is piped into a command.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO, NoReturn

import click

from zrb_store import settings
from zrb_store.cli import completion
from zrb_store.codec.json_text import HUGE_INT_DIGITS
from zrb_store.db.engine import Database
from zrb_store.errors import ValueTooLarge
from zrb_store.inspect import session_names

_SHOWN_DIGITS = 40  # of a number that is too large for a float
_BYTES_PER_DIGIT = 0.83  # ints are stored in base 16


def parse_json(text: str, name: str, otherwise: str = "text goes in double quotes: '\"text\"'") -> Any:
    """Parse a JSON text that a person typed.

    Args:
        name: How messages name the argument.
        otherwise: What the message advises if it is not JSON.

    Raises:
        UsageError: It is not JSON, or has a number that is too large for a float.
        ValueTooLarge: It has an int that is longer than the limit.
    """
    limit = settings.max_value()

    def refuse_constant(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is not JSON")

    def parse_float(digits: str) -> float:
        number = float(digits)
        if math.isinf(number):
            shown = digits if len(digits) <= _SHOWN_DIGITS else digits[:_SHOWN_DIGITS] + "..."
            raise click.UsageError(f"{name} has the number {shown}, but floats end at 1.8e308; write it as a text")
        return number

    def parse_int(digits: str) -> int:
        if len(digits) * _BYTES_PER_DIGIT > limit:  # estimated, since converting it may take hours
            raise ValueTooLarge(
                f"{name} has a number of {len(digits):,} digits; the limit is {limit:,} bytes, see ZRB_STORE_MAX_VALUE"
            )
        return _parse_long_int(digits)

    try:
        return json.loads(text, parse_constant=refuse_constant, parse_float=parse_float, parse_int=parse_int)
    except ValueTooLarge:
        raise
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deep" if isinstance(error, RecursionError) else error
        raise click.UsageError(f"{name} is not JSON ({reason}); {otherwise}") from None


def _parse_long_int(digits: str) -> int:
    """Parse an int of any length. Python's `int` refuses long ones, and needs minutes for a million digits."""
    if len(digits) < HUGE_INT_DIGITS:
        return int(digits)
    if digits[0] == "-":
        return -_parse_long_int(digits[1:])
    half = len(digits) // 2
    shift: int = 10**half
    return _parse_long_int(digits[:-half]) * shift + _parse_long_int(digits[-half:])


def chosen_sessions(database: Database, texts: Sequence[str]) -> list[str] | None:
    """Return the full names of the sessions to read, or None, which stands for all of them, if none is given."""
    return [session_names.resolve(database, text).name for text in texts] or None


def sessions_to_change(database: Database, texts: Sequence[str]) -> list[str]:
    """Return the names of the sessions to change, which must be given in full, each once."""
    return list(dict.fromkeys(session_names.resolve(database, text, exact=True).name for text in texts))


def project_option(help_text: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorate a command to give it `--project`, for `zrb_store.process.projects_named`.

    Args:
        help_text: What the option does, up to the words that say how a project is named.
    """
    return click.option(
        "--project",
        is_flag=False,
        flag_value="",
        metavar="[NAME|FOLDER]",
        shell_complete=completion.files,
        help=f"{help_text}: its folder or only the folder's name, or nothing for the current project.",
    )


def binary_stdin() -> BinaryIO:
    """Return stdin, to be read as bytes.

    Raises:
        UsageError: It is closed.
    """
    if sys.stdin is None:
        raise click.UsageError("stdin is closed")
    return sys.stdin.buffer
