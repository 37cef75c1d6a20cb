"""What the user types before a command."""

from __future__ import annotations

import click


def program_name() -> str:
    """Return `zrb-store` or `zrb xcom`."""
    return click.get_current_context().find_root().command_path
