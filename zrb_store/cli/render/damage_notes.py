"""Notes on stderr about rows that could not be read."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from zrb_store.cli.as_typed import as_typed
from zrb_store.cli.program_name import program_name
from zrb_store.inspect.damage import Damage
from zrb_store.safe_text import one_line


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
        print(f"{program_name()}: {one_line(as_typed(str(damage), program_name()))}", file=sys.stderr)
