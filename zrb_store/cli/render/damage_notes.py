"""Notes on stderr about rows that could not be read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from zrb_store.cli.message_line import print_line
from zrb_store.cli.program_name import program_name
from zrb_store.inspect.damage import Damage


@contextmanager
def noting_damage(what: str = "damaged") -> Iterator[Damage]:
    """Collect the rows that cannot be read, and name them in one line after everything else is printed.

    Args:
        what: How the line begins.
    """
    damage = Damage(what)
    yield damage
    print_damage(damage)


def print_damage(damage: Damage) -> None:
    """Print which rows could not be read, if there are any."""
    if damage:
        print_line(str(damage), program_name())
