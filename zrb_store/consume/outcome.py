"""How a command ended, and in which words."""

from __future__ import annotations

import signal
from dataclasses import dataclass

from zrb_store.safe_text import mask_printed, one_line, storable

KEPT = 4096
"""Bytes that are kept of what a command wrote."""
_LONGEST = 200  # characters of the last line


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended.

    Attributes:
        exit_code: Its exit code; the negative number of the signal if one ended it.
        error: What went wrong, on one line, with secrets masked; None if the command succeeded.
        output: The end of what it wrote to stdout and stderr, with secrets masked.
        stopped: Whether it was ended because the consumer stops.
        timed_out: Whether it was ended because it took too long.
    """

    exit_code: int
    error: str | None
    output: str
    stopped: bool = False
    timed_out: bool = False


def make_outcome(name: str, exit_code: int, written: bytes, *, stopped: bool, timed_out: float | None) -> Outcome:
    """Describe how a command ended.

    Args:
        name: The command's name.
        exit_code: As in `Outcome`.
        written: The end of its output: more than is kept, so that a secret that is cut in two does not remain.
        stopped: As in `Outcome`.
        timed_out: The seconds that it had, if they were not enough.
    """
    text = storable(mask_printed(written.decode(errors="backslashreplace")))
    output = text.encode()[-KEPT:].decode(errors="ignore")
    if stopped:
        what = "was stopped"
    elif timed_out is not None:
        what = f"timed out after {timed_out:g} s"
    elif exit_code < 0:
        what = f"was killed by {_signal_name(-exit_code)}"
    elif exit_code:
        what = f"exited with {exit_code}"
    else:
        return Outcome(exit_code, None, output)
    lines = [line for line in map(one_line, output.splitlines()) if line]
    error = f"{one_line(name)} {what}" + (f": {_shortened(lines[-1])}" if lines else "")
    return Outcome(exit_code, error, output, stopped, timed_out is not None)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"


def _shortened(line: str) -> str:
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"
