"""What a reader gets in place of a value that cannot come back."""

from __future__ import annotations

from dataclasses import dataclass

_SHOWN = 200


def _shortened(text: str) -> str:
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


@dataclass(frozen=True, slots=True, repr=False)
class Opaque:
    """A value that no codec took, known by type and repr only.

    Attributes:
        type: Module and name of the value's class.
        repr: The value's repr when it was stored, possibly cut.
        path: Which part of the value was refused, as in `$.rows[3].conn`.
        cause: What that part was, as in `socket`.
    """

    type: str
    repr: str
    path: str = "$"
    cause: str = ""

    def __repr__(self) -> str:
        return f"<opaque {self.type}: {_shortened(self.repr)}>"


@dataclass(frozen=True, slots=True, repr=False)
class Undecodable:
    """A stored text, or a part of one, that is damaged or of a type this process does not know.

    Attributes:
        raw: The text as stored.
        type: The type the text claims to be, if it claims one.
        reason: Why it could not be read.
    """

    raw: str
    type: str | None = None
    reason: str = ""

    def __repr__(self) -> str:
        of = f" {_shortened(self.type)}" if self.type else ""
        why = f" ({_shortened(self.reason)})" if self.reason else ""
        return f"<undecodable{of}: {_shortened(self.raw)!r}{why}>"


@dataclass
class CmdResult:
    """A command's result where zrb is not loaded; like zrb's own, its text is the output."""

    output: str
    error: str
    display: str = ""

    def __str__(self) -> str:
        return self.output
