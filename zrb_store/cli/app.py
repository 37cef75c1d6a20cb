"""The click group. It imports the module of a command only when that command is asked for."""

from __future__ import annotations

from importlib import import_module

import click

from zrb_store.cli.table import COMMANDS


class LazyGroup(click.Group):
    """Commands from the static table, each imported at its first use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"zrb_store.cli.{COMMANDS[cmd_name][0]}")
        command: click.Command = module.COMMANDS[cmd_name]
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, purpose) for name, (_, purpose) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="zrb-store", message="%(prog)s %(version)s")
def app() -> None:
    """Look into, move and mend the sessions and queues that zrb and your scripts keep in a database."""
