"""The option `--project`, and the projects that it names."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from zrb_store.cli import completion
from zrb_store.project import Projects, current_project, project_of


def project_option(help_text: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorate a command to give it `--project`, for `projects_named`.

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


def projects_named(text: str | None) -> Projects | None:
    """Return the projects that an option names.

    Args:
        text: The name of its folder; or a path to it or into it, which has a slash or is `.`, `..` or `~`; or an empty
            text for the current project; or None for every project.
    """
    if text is None:
        return None
    if not text:
        return Projects((current_project(),))
    if "/" not in text and text not in (".", "..", "~"):
        return Projects(name=text)
    path = Path(os.path.normpath(Path.cwd() / os.path.expanduser(text)))  # noqa: PTH111 - it never fails
    # A project may have been stored by a path that leads over a link.
    return Projects(tuple(dict.fromkeys((project_of(path), project_of(path.resolve())))))
