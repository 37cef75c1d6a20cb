"""Commands that messages advise, as this user types them: `zrb-store X`, or `zrb xcom X` inside zrb.

Below the edges nobody knows which program is running. There a message names a command as `zrb-store X`, between
backticks, and whoever prints the message calls `as_typed`.

This module imports nothing, since zrb imports it whenever it starts.
"""

from __future__ import annotations

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
