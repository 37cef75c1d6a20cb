"""A finding of a check."""

from __future__ import annotations

from dataclasses import dataclass

from zrb_store.queries.doctor.invariants import Level


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        level: `error`, or `warning` for what may be intended.
        check: Name of the check, for programs.
        what: What is wrong.
        remedy: What to do.
    """

    level: Level
    check: str
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.level}: {self.what}; {self.remedy}"
