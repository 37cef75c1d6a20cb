"""Messages to people: one line each on stderr. Warnings of the package also become such lines.

A command that they advise is `zrb-store X`, or `zrb xcom X` inside zrb. Code below the edges does not know which
program is running: it names a command as `zrb-store X`, between backticks, and whoever prints the message calls
`as_typed`. zrb imports this module whenever it starts, so it imports little.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator

from zrb_store.masking import mask_text, one_line

PROGRAM = "zrb-store"


def as_typed(message: str, program: str) -> str:
    """Return a message in which every command begins with what this user types."""
    return message.replace(f"`{PROGRAM} ", f"`{program} ")


def command_as_typed(command: str, program: str) -> str:
    """Return a command line that begins with what this user types, if it is one of ours."""
    return command.replace(f"{PROGRAM} ", f"{program} ", 1) if command.startswith(f"{PROGRAM} ") else command


def print_line(message: str, program: str, name: str | None = None) -> None:
    """Print a message as one line that begins with a name, by default the program's, with secrets masked.

    It is written in one piece: another thread may print at the same time.
    """
    begin = program if name is None else name
    line = f"{begin}: " * bool(begin) + one_line(as_typed(mask_text(message), program))
    if sys.stderr is not None:  # closed by the parent process, as with `2>&-`
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


_log = logging.getLogger("zrb_store")


class _Lines(logging.Handler):
    """Prints warnings as the command prints its other messages."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(Exception):  # stderr may be closed, which must not fail the operation that logs
            self._tell(record.getMessage())


def print_warnings(tell: Callable[[str], None]) -> logging.Handler | None:
    """Have the package's warnings printed from now on, and not by the program's other handlers, of which zrb has one.

    Return what prints them, or None if they are printed already.
    """
    if _Lines in map(type, _log.handlers):
        return None
    handler = _Lines(tell)
    _log.addHandler(handler)
    _log.propagate = False
    return handler


@contextlib.contextmanager
def printing_warnings(tell: Callable[[str], None]) -> Iterator[None]:
    """Have the package's warnings printed within a block, unless they are already."""
    handler = print_warnings(tell)
    try:
        yield
    finally:
        if handler is not None:
            _log.removeHandler(handler)
            _log.propagate = True
