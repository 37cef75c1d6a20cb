"""`completion`: the script that makes a shell complete with TAB."""

from __future__ import annotations

import click

from zrb_store.cli.command import command
from zrb_store.cli.program_name import program_name
from zrb_store.cli.render.output import echo_raw
from zrb_store.cli.tab.scripts import SHELLS, script


@command(
    "completion",
    'eval "$({} bash)"     # in ~/.bashrc',
    "source <({} zsh)      # in ~/.zshrc, after compinit",
    "{} fish | source      # in ~/.config/fish/config.fish",
    details="With it, TAB completes commands, options, sessions, queues, tasks, steps, the ids of values, statuses, "
    "formats and files. It only reads the store, and says nothing if there is none.",
)
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    echo_raw(script(shell, program_name()).rstrip("\n"))
