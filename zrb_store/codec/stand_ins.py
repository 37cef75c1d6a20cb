"""The objects that a reader gets in place of a value that cannot be restored."""

from __future__ import annotations

from dataclasses import dataclass

_SHOWN = 200


def _shortened(text: str) -> str:
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


@dataclass(frozen=True, slots=True, repr=False)
class Opaque:
    """A value that could not be stored; only its type and repr are known.

    Attributes:
        type: Module and name of the value's class.
        repr: The value's repr when it was stored, possibly cut.
        path: The path to the part that could not be stored, such as `$.rows[3].conn`.
        cause: The type of that part, such as `socket`.
    """

    type: str
    repr: str
    path: str = "$"
    cause: str = ""

    def __repr__(self) -> str:
        return f"<opaque {self.type}: {_shortened(self.repr)}>"


@dataclass(frozen=True, slots=True, repr=False)
class Undecodable:
    """A stored text, or a part of one, that is damaged or has a type that this process does not know.

    Attributes:
        raw: The stored text.
        type: The type that the text names, if it names one.
        reason: Why the text could not be read.
    """

    raw: str
    type: str | None = None
    reason: str = ""

    def __repr__(self) -> str:
        kind = f" {_shortened(self.type)}" if self.type else ""
        why = f" ({_shortened(self.reason)})" if self.reason else ""
        return f"<undecodable{kind}: {_shortened(self.raw)!r}{why}>"


@dataclass
class CmdResult:
    """The result of a command, in a process that has not loaded zrb. As with zrb's class, `str` returns the output."""

    output: str
    error: str
    display: str = ""

    def __str__(self) -> str:
        return self.output
