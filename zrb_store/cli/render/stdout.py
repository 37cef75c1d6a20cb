"""Properties of stdout: terminal or pipe, and width."""

from __future__ import annotations

import shutil
import sys


def on_terminal() -> bool:
    """Whether stdout is a terminal, where a person reads what is printed."""
    return sys.stdout.isatty()


def page_width() -> int:
    """Return the width of the terminal in columns; in a pipe 80, or COLUMNS."""
    return shutil.get_terminal_size((80, 24)).columns
