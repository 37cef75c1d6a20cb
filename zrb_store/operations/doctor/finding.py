"""What a check has found."""

from __future__ import annotations

from dataclasses import dataclass

from zrb_store.queries.invariants import Level


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        level: `error`, or `warning` for what may be meant so.
        check: For programs.
        what: What is wrong.
        remedy: What to do.
    """

    level: Level
    check: str
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.level}: {self.what}; {self.remedy}"
