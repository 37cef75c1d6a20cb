"""Messages to the user on stderr."""

from __future__ import annotations

import sys

from zrb_store.cli.as_typed import as_typed
from zrb_store.safe_text import mask_text, one_line


def print_line(message: str, program: str, name: str | None = None) -> None:
    """Print a message as one line, with secrets masked.

    It is written in one piece: another thread may print at the same time.

    Args:
        message: The message.
        program: What this user types before a command: `zrb-store` or `zrb xcom`.
        name: What the line begins with, if not the program; an empty text for nothing.
    """
    begin = program if name is None else name
    line = f"{begin}: " * bool(begin) + one_line(as_typed(mask_text(message), program))
    print(f"{line}\n", end="", file=sys.stderr, flush=True)
