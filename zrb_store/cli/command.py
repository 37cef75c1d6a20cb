"""What every command is made of: its purpose from the table, an example, and the options that several share."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, BinaryIO

import click

from zrb_store.cli.table import COMMANDS
from zrb_store.errors import InvalidName
from zrb_store.settings import duration

FORMATS = ("table", "json", "jsonl", "value")
_FORMAT_HELP = {
    "table": "table (plain text in a pipe)",
    "json": "json",
    "jsonl": "jsonl (one line each)",
    "value": "value (bare)",
}


class Command(click.Command):
    """A command whose help ends with examples, as they are typed here: `zrb-store X` or `zrb xcom X`."""

    examples: tuple[str, ...] = ()

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Example" if len(self.examples) == 1 else "Examples"):
            for example in self.examples:
                formatter.write(f"  {example.replace('{}', ctx.command_path)}\n")


def command(name: str, *examples: str, details: str = "") -> Callable[[Callable[..., Any]], Command]:
    """Make a function the command of that name.

    Args:
        name: As in `cli/table.py`, which has its purpose.
        examples: Command lines, `{}` standing for the program and the command's name.
        details: More paragraphs of help after the purpose.
    """
    purpose = COMMANDS[name][1]

    def make(function: Callable[..., Any]) -> Command:
        text = f"{purpose}\n\n{details}" if details else purpose
        made = click.command(name, cls=Command, help=text, short_help=purpose)(function)
        made.examples = examples
        return made

    return make


def format_option(
    default: str = "table", choices: Sequence[str] = FORMATS
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """`--format`, given to the function as `form`."""
    *others, last = (_FORMAT_HELP[choice] for choice in choices)
    return click.option(
        "--format",
        "form",
        type=click.Choice(choices),
        default=default,
        show_default=True,
        help=f"{', '.join(others)}{',' if others[1:] else ''} or {last}.",
    )


def duration_text(text: str) -> timedelta:
    """The type of an option that takes a length of time such as 90s, 15m, 26h, 30d or 2w."""
    try:
        return duration(text)
    except InvalidName as error:
        raise click.BadParameter(str(error)) from None


def whole_number(text: str) -> int:
    """The type of an option that takes a number which a row may have."""
    if not re.fullmatch(r"-?\d{1,18}", text):
        raise click.BadParameter(f"{text[:40]!r} is not a whole number of at most 18 digits")
    return int(text)


def stdin() -> BinaryIO:
    """What is piped in, as bytes."""
    if sys.stdin is None:
        raise click.UsageError("stdin is closed")
    return sys.stdin.buffer


def program() -> str:
    """What the user types before a command: `zrb-store` or `zrb xcom`."""
    return click.get_current_context().find_root().command_path
