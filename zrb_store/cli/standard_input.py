"""What is piped into a command."""

from __future__ import annotations

import sys
from typing import BinaryIO

import click


def binary_stdin() -> BinaryIO:
    """Return stdin, to be read as bytes.

    Raises:
        UsageError: It is closed.
    """
    if sys.stdin is None:
        raise click.UsageError("stdin is closed")
    return sys.stdin.buffer
