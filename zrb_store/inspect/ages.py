"""How messages write an age."""

from __future__ import annotations


def rounded(micros: int) -> str:
    """Write a length of time, in microseconds, in the largest unit of which it has at least two."""
    seconds = micros / 1_000_000
    for name, unit in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} s"
