"""The click group. It imports the module of a command only when that command is used."""

from __future__ import annotations

from importlib import import_module

import click
from click.shell_completion import CompletionItem

from zrb_store.cli.command import Group
from zrb_store.cli.command_table import COMMANDS, READING


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
