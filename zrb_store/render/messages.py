"""Messages to the user on stderr, and the commands that they advise as this user types them.

That is `zrb-store X`, or `zrb xcom X` inside zrb. Below the edges nobody knows which program is running: there a
message names a command as `zrb-store X`, between backticks, and whoever prints the message calls `as_typed`.

zrb imports this module whenever it starts, so it imports little.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator

from zrb_store.safe_text import mask_text, one_line

PROGRAM = "zrb-store"


def as_typed(message: str, program: str) -> str:
    """Return a message in which every command begins with what this user types.

    Args:
        message: The message.
        program: What this user types before a command: `zrb-store` or `zrb xcom`.
    """
    return message.replace(f"`{PROGRAM} ", f"`{program} ")


def command_as_typed(command: str, program: str) -> str:
    """Return a command line that begins with what this user types, if it is one of ours."""
    return command.replace(f"{PROGRAM} ", f"{program} ", 1) if command.startswith(f"{PROGRAM} ") else command


def zrb_program(program: str) -> str:
    """Return what is typed before a command that only zrb can carry out: `resume`."""
    return "zrb xcom" if program == PROGRAM else program


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


_log = logging.getLogger("zrb_store")


class LogLines(logging.Handler):
    """Prints warnings as the command prints its other messages."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        """Begin to pass on.

        Args:
            tell: Prints a message as one line.
        """
        super().__init__(logging.WARNING)
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        """Print one message. Whatever fails here must not fail the operation that logs."""
        with contextlib.suppress(Exception):  # stderr may be closed
            self._tell(record.getMessage())


def print_warnings(tell: Callable[[str], None]) -> LogLines | None:
    """Have the package's warnings printed from now on, and not by the program's other handlers, of which zrb has one.

    Args:
        tell: Prints a message as one line.

    Returns:
        What prints them; None if they are printed already.
    """
    if any(isinstance(handler, LogLines) for handler in _log.handlers):
        return None
    handler = LogLines(tell)
    _log.addHandler(handler)
    _log.propagate = False
    return handler


@contextlib.contextmanager
def printing_warnings(tell: Callable[[str], None]) -> Iterator[None]:
    """Have the package's warnings printed within a block, unless they are already.

    Args:
        tell: Prints a message as one line.
    """
    handler = print_warnings(tell)
    try:
        yield
    finally:
        if handler is not None:
            _log.removeHandler(handler)
            _log.propagate = True


def program_name() -> str:
    """Return what the user of this command types before it: `zrb-store` or `zrb xcom`."""
    import click  # late: zrb does not need it when it starts

    return click.get_current_context().find_root().command_path
