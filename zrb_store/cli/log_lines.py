"""What the package logs while a command runs, as lines on stderr."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator

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
