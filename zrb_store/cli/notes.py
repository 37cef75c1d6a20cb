"""What is said on stderr about rows that could not be read."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from zrb_store.cli.command import program
from zrb_store.printing import one_line
from zrb_store.reading.damage import Damage


@contextmanager
def noting(what: str = "damaged") -> Iterator[Damage]:
    """Collect what cannot be read, and say it in one line once everything else is shown; `what` begins the line."""
    damage = Damage(what)
    yield damage
    tell(damage)


def tell(damage: Damage) -> None:
    """Say what could not be read, if there was anything."""
    if damage:
        print(f"{program()}: {one_line(str(damage))}", file=sys.stderr)
