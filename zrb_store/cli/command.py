"""The click group. It imports the module of a command only when that command is used.

What every command is made of: its purpose from the table, its examples, and the options that several share.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from importlib import import_module
from typing import Any

import click
from click.shell_completion import CompletionItem

from zrb_store import local_time
from zrb_store.cli.command_table import COMMANDS, READING
from zrb_store.errors import InvalidArgument
from zrb_store.names import nearest
from zrb_store.render.format import PROGRAM

FORMATS = ("table", "json", "jsonl", "value")
_FORMAT_HELP = {
    "table": "table (plain text in a pipe)",
    "json": "json",
    "jsonl": "jsonl (one line each)",
    "value": "value (bare)",
}


class Command(click.Command):
    """A command whose help ends with examples, which begin as the user types them: `zrb-store X` or `zrb xcom X`."""

    def __init__(self, *args: Any, examples: Sequence[str] = (), **settings: Any) -> None:
        """Create a command.

        Args:
            *args: The same as for `click.Command`.
            examples: Command lines, the first `{}` of which stands for the program and the command's name. Another
                command is written as `zrb-store X`.
        """
        super().__init__(*args, **settings)
        self._examples = examples

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        # TAB may ask for the value of the last option: click would forget the words before it, too.
        if ctx.resilient_parsing and any(
            isinstance(each, click.Option) and not each.is_flag and args[-1:] == [name]
            for each in self.params
            for name in each.opts
        ):
            args = args[:-1]
        return super().parse_args(ctx, args)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        program = ctx.find_root().command_path
        with formatter.section("Example" if len(self._examples) == 1 else "Examples"):
            for example in self._examples:
                line = example.replace(f"{PROGRAM} ", f"{program} ").replace("{}", ctx.command_path, 1)
                formatter.write(f"  {line}\n")


class Group(click.Group):
    """A group that suggests no command which changes or takes something: `drop` must not lead to `pop`."""

    reading: Sequence[str] = ()
    """The names of its commands that only read."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            ctx.fail(f"there is no command {args[0]!r}{nearest(args[0], self.reading)}")
        return super().resolve_command(ctx, args)


def command(name: str, *examples: str, details: str = "", **settings: Any) -> Callable[[Callable[..., Any]], Command]:
    """Decorate a function to make it a command.

    Args:
        name: Its name in `command_table.py`, where its purpose is.
        *examples: Command lines, the first `{}` of which stands for the program and the command's name.
        details: More paragraphs of help, after the purpose.
    """
    purpose = COMMANDS[name][1]
    text = f"{purpose}\n\n{details}" if details else purpose
    return click.command(name, cls=Command, help=text, short_help=purpose, examples=examples, **settings)


def format_option(
    default: str = "table", choices: Sequence[str] = FORMATS
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorate a command to give it `--format`, which its function receives as `output_format`."""
    *others, last = (_FORMAT_HELP[choice] for choice in choices)
    return click.option(
        "--format",
        "output_format",
        type=click.Choice(choices),
        default=default,
        show_default=True,
        help=f"{', '.join(others)}{',' if others[1:] else ''} or {last}.",
    )


def parse_duration(text: str) -> timedelta:
    """Parse an option that takes a length of time such as 90s, 15m, 1.5h, 30d or 2w."""
    try:
        return local_time.parse_duration(text)
    except InvalidArgument as error:
        raise click.BadParameter(str(error)) from None


def parse_since(text: str) -> timedelta | datetime:
    """Parse an option that takes a length of time, or the time from which on something is asked for."""
    try:
        return local_time.parse_duration(text)
    except InvalidArgument:
        try:
            return local_time.parse_since(text)
        except InvalidArgument as error:
            raise click.BadParameter(str(error)) from None


def parse_queue(text: str) -> str:
    """Parse the name of a queue that may be created: an empty one is an unset variable of a shell."""
    if not text:
        raise click.BadParameter("the name of the queue is empty")
    return text


def parse_whole_number(text: str) -> int:
    """Parse an option that takes a number which the database can hold."""
    if not re.fullmatch(r"-?\d{1,18}", text := str(text)):  # click passes defaults, too, which are numbers
        raise click.BadParameter(f"{text[:40]!r} is not a whole number of at most 18 digits")
    return int(text)


def whole_number(least: int, most: int) -> Callable[[str], int]:
    """Return a function that parses an option which takes a number between two others."""

    def parse(text: str) -> int:
        number = parse_whole_number(text)
        if not least <= number <= most:
            raise click.BadParameter(f"{number} is not a number from {least:,} to {most:,}")
        return number

    return parse


parse_limit = whole_number(0, 10**18 - 1)
"""Parse an option that takes the most lines to print; 0 is for all."""


def parse_seconds(text: str) -> float:
    """Parse an option that takes a number of seconds."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise click.BadParameter(f"{text!r} is not a number of seconds")
    return seconds


class LazyGroup(Group):
    """The commands of the table, each imported when it is first used."""

    reading = READING

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"zrb_store.cli.{COMMANDS[cmd_name][0]}")
        commands = (one for one in vars(module).values() if isinstance(one, click.Command))
        return next(one for one in commands if one.name == cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, purpose) for name, (_, purpose) in COMMANDS.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        if incomplete.startswith("-"):
            return click.Command.shell_complete(self, ctx, incomplete)
        # click would import every command.
        return [CompletionItem(name, help=COMMANDS[name][1]) for name in COMMANDS if name.startswith(incomplete)]


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="zrb-store", message="%(prog)s %(version)s")
def app() -> None:
    """Inspect, move and repair the sessions and queues that zrb and your scripts keep in a database."""
