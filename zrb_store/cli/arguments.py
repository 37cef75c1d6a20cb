"""Arguments and options of several commands, and parsers of typed text."""

from __future__ import annotations

import contextlib
import json
import math
import re
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, BinaryIO, TypeVar

import click

from zrb_store import local_time, settings
from zrb_store.cli import completion
from zrb_store.codec.json_text import HUGE_INT_DIGITS, refuse_constant
from zrb_store.errors import InvalidArgument, ValueTooLarge
from zrb_store.inspect import session_names
from zrb_store.records import JsonValue

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from zrb_store.db.engine import Database

_Function = TypeVar("_Function", bound=Callable[..., int | None])
_Parsed = TypeVar("_Parsed")

_FORMAT_HELP = {
    "table": "table (plain text in a pipe)",
    "json": "json",
    "jsonl": "jsonl (one line each)",
    "value": "value (bare)",
}
_SHOWN_DIGITS = 40  # of a number that is too large for a float
_BYTES_PER_DIGIT = 0.83  # ints are stored in base 16

session_argument = click.argument("session", shell_complete=completion.sessions)
changed_session_argument = click.argument("session", shell_complete=completion.sessions_to_change)
sessions_argument = click.argument(
    "sessions", metavar="SESSION...", nargs=-1, required=True, shell_complete=completion.sessions_to_change
)
queue_argument = click.argument("queue", shell_complete=completion.queues)
command_argument = click.argument(
    "argv", metavar="-- COMMAND...", nargs=-1, required=True, type=click.UNPROCESSED, shell_complete=completion.commands
)
dry_run_option = click.option("--dry-run", is_flag=True, help="Print what would be deleted, and delete nothing.")
part_option = click.option("--path", metavar="PATH", help="Print only this part, e.g. $.rows[0].name.")


def words_argument(
    named: str, complete: Callable[[click.Context, click.Parameter, str], list[CompletionItem[str]]]
) -> Callable[[_Function], _Function]:
    """Declare what `parse_words` parses: names, and inputs as options, which are not known here."""
    metavar = f"{named} [--INPUT VALUE]..."
    return click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar=metavar, shell_complete=complete)


def format_option(
    default: str | None = "table", choices: Sequence[str] = tuple(_FORMAT_HELP), help_text: str = ""
) -> Callable[[_Function], _Function]:
    """Decorate a command to give it `--format` and `--json`, which its function receives as `output_format`."""
    if not help_text:
        *others, last = (_FORMAT_HELP[choice] for choice in choices)
        help_text = f"{', '.join(others)}{',' if others[1:] else ''} or {last}."
    kind = click.Choice(choices)
    chosen = click.option("--format", "output_format", type=kind, default=default, show_default=True, help=help_text)
    if "json" not in choices:
        return chosen
    # The option that comes last decides what its function gets if neither is given.
    as_json = click.option("--json", "output_format", flag_value="json", help="Short for --format json.")
    return lambda function: as_json(chosen(function))


def output_option(function: _Function) -> _Function:
    """Decorate a command to give it `-o FILE`, which its function receives as `file`."""
    option = click.option(
        "-o", "--output", "file", metavar="FILE", type=click.Path(), help="Write to FILE, not stdout."
    )
    return option(function)


def since_option(help_text: str) -> Callable[[_Function], _Function]:
    """Decorate a command to give it `--since`, a length of time or a moment."""
    return click.option("--since", type=parse_since, metavar="LENGTH|TIME", help=help_text)


def refuse_usage(*rules: tuple[object, str]) -> None:
    """Raise a usage error with the message of the first condition that holds."""
    for is_wrong, message in rules:
        if is_wrong:
            raise click.UsageError(message)


def limit_option(what: str) -> Callable[[_Function], _Function]:
    """Decorate a command to give it `--limit`: the most lines, or whatever it prints; 0 for all."""
    help_text = f"Maximum number of {what}; 0 for all."
    return click.option("--limit", type=whole_number(0, 10**18 - 1), default="50", show_default=True, help=help_text)


def project_option(help_text: str) -> Callable[[_Function], _Function]:
    """Decorate a command to give it `--project`; the help text ends with how a project is named."""
    return click.option(
        "--project",
        is_flag=False,
        flag_value="",
        metavar="[NAME|FOLDER]",
        shell_complete=completion.files,
        help=f"{help_text}: give its folder, the folder's name, or nothing for the current project.",
    )


# In help texts, click shows the name of the function that parses an option as its value: LENGTH, SECONDS, N.


def length(text: str) -> timedelta:
    """Parse a length of time such as 90s, 15m, 1.5h, 30d or 2w."""
    return _parsed(local_time.parse_duration, text)


def parse_since(text: str) -> local_time.Since:
    """Parse a length of time, or the time from which on something is asked for."""
    with contextlib.suppress(InvalidArgument):
        return local_time.parse_duration(text)
    return _parsed(local_time.parse_since, text)


def _parsed(parse: Callable[[str], _Parsed], text: str) -> _Parsed:
    try:
        return parse(text)
    except InvalidArgument as error:
        raise click.BadParameter(str(error)) from None


def parse_queue(text: str) -> str:
    """Parse the name of a queue that may be created: an empty one is an unset variable of a shell."""
    if not text:
        raise click.BadParameter("the name of the queue is empty")
    return text


def parse_whole_number(text: str) -> int:
    """Parse a number that the database can hold."""
    if not re.fullmatch(r"-?\d{1,18}", text := str(text)):  # click passes defaults, too, which are numbers
        raise click.BadParameter(f"{text[:40]!r} is not a whole number of at most 18 digits")
    return int(text)


def whole_number(least: int, most: int) -> Callable[[str], int]:
    """Return a function that parses a number between two others."""

    def parse(text: str) -> int:
        number = parse_whole_number(text)
        if not least <= number <= most:
            raise click.BadParameter(f"{number} is not a number from {least:,} to {most:,}")
        return number

    parse.__name__ = "n"
    return parse


def seconds(text: str) -> float:
    """Parse a number of seconds."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise click.BadParameter(f"{text!r} is not a number of seconds")
    return number


def parse_json(text: str, name: str, otherwise: str = "text goes in double quotes: '\"text\"'") -> JsonValue:
    """Parse a JSON text that a person typed, with ints of any length. Messages name the argument, and give advice."""
    limit = settings.size("ZRB_STORE_MAX_VALUE")

    def parse_float(digits: str) -> float:
        number = float(digits)
        if math.isinf(number):
            shown = digits if len(digits) <= _SHOWN_DIGITS else digits[:_SHOWN_DIGITS] + "..."
            raise click.UsageError(f"{name} has the number {shown}, but floats end at 1.8e308; write it as text")
        return number

    def parse_int(digits: str) -> int:
        if len(digits) * _BYTES_PER_DIGIT > limit:  # estimated, since converting it may take hours
            raise ValueTooLarge(
                f"{name} has a number of {len(digits):,} digits; the limit is {limit:,} bytes, see ZRB_STORE_MAX_VALUE"
            )
        return _parse_long_int(digits)

    try:
        parsed: JsonValue = json.loads(
            text, parse_constant=refuse_constant, parse_float=parse_float, parse_int=parse_int
        )
    except ValueTooLarge:
        raise
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deep" if isinstance(error, RecursionError) else error
        raise click.UsageError(f"{name} is not JSON ({reason}); {otherwise}") from None
    return parsed


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
    return list(dict.fromkeys(session_names.known_name(database, text) for text in texts))


def binary_stdin() -> BinaryIO:
    if sys.stdin is None:
        raise click.UsageError("stdin is closed")
    return sys.stdin.buffer


def typed_value(value: str, *, text: bool, name: str = "VALUE") -> JsonValue:
    """Return the value that a person gave as JSON or as text; `-` reads it from stdin."""
    content = _read_stdin(without_newline=text) if value == "-" else value
    return content if text else parse_json(content, name, "--text stores it as it is")


def _read_stdin(*, without_newline: bool) -> str:
    content = binary_stdin().read()
    end = len(content) - (without_newline and content.endswith(b"\n"))
    try:
        return str(memoryview(content)[:end], "utf-8")  # without another copy
    except UnicodeDecodeError as error:
        raise click.UsageError(f"stdin is not UTF-8 ({error.reason} at byte {error.start})") from None
