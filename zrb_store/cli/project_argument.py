"""The option `--project`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from zrb_store.cli import completion


def project_option(help_text: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorate a command to give it `--project`, for `zrb_store.project.projects_named`.

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
