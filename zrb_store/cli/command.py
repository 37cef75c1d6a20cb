"""The parts of every command: its purpose from the table, its examples, and the group that finds it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module

import click
from click.shell_completion import CompletionItem

from zrb_store.cli.command_table import COMMANDS, OTHER_NAMES
from zrb_store.names import nearest
from zrb_store.render.stderr import PROGRAM


class CliCommand(click.Command):
    """A command whose help ends with examples, which begin as the user types them: `zrb-store X` or `zrb xcom X`."""

    examples: Sequence[str] = ()

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
        with formatter.section("Example" if len(self.examples) == 1 else "Examples"):
            for example in self.examples:
                line = example.replace(f"{PROGRAM} ", f"{program} ").replace("{}", ctx.command_path, 1)
                formatter.write(f"  {line}\n")


def command(
    name: str, *examples: str, details: str = "", purpose: str = "", unknown_options: bool = False
) -> Callable[[Callable[..., int | None]], CliCommand]:
    """Decorate a function to make it a command. Its help has a purpose, by default that of the table, and details.

    In examples, the first `{}` stands for the program and the command's name; another command is written as
    `zrb-store X`. With `unknown_options`, what looks like an unknown option is an argument.
    """

    def decorate(function: Callable[..., int | None]) -> CliCommand:
        first = purpose or COMMANDS[name].purpose
        made = click.command(
            name,
            cls=CliCommand,
            help=f"{first}\n\n{details}" if details else first,
            short_help=None if purpose else first,
            context_settings={"ignore_unknown_options": unknown_options},
        )(function)
        made.examples = examples
        return made

    return decorate


class CliGroup(click.Group):
    """A group that suggests no command which changes or takes something: `drop` must not lead to `pop`."""

    reading: Sequence[str] = ()
    """The names of its commands that only read."""
    other_names: Mapping[str, str] = {}
    """What other programs call its commands."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            named = self.other_names.get(args[0])
            hint = f": it is called {named}" if named else nearest(args[0], self.reading)
            ctx.fail(f"there is no command {args[0]!r}{hint}")
        return super().resolve_command(ctx, args)


class LazyGroup(CliGroup):
    """The commands of the table, each imported when it is first used."""

    reading = tuple(name for name, each in COMMANDS.items() if each.reads)
    other_names = OTHER_NAMES

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in COMMANDS:
            for one in vars(import_module(COMMANDS[cmd_name].module)).values():
                if isinstance(one, click.Command) and one.name == cmd_name:
                    return one
        return None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, each.purpose) for name, each in COMMANDS.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        if incomplete.startswith("-"):
            return click.Command.shell_complete(self, ctx, incomplete)
        # click would import every command.
        return [CompletionItem(name, help=COMMANDS[name].purpose) for name in COMMANDS if name.startswith(incomplete)]


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="zrb-store", message="%(prog)s %(version)s")
def app() -> None:
    """Inspect, move and repair the sessions and queues that zrb and your scripts keep in a database."""
