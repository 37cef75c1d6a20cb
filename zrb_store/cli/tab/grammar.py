"""The commands with their arguments and options, as the generated grammar.json has them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

Takes = str | list[str] | None
"""What a word may be: the name that its help page has for it (`SESSION`), a list of choices, or None for nothing."""


class Option(NamedTuple):
    """An option of a command.

    Attributes:
        takes: What its value may be; None if it takes none.
        help: The first sentence about it.
        repeats: Whether it may be given again.
    """

    takes: Takes
    help: str
    repeats: bool


@dataclass(frozen=True)
class Command:
    """A command, or a group of commands.

    Attributes:
        help: What it is for.
        arguments: What its arguments may be.
        repeats: Whether the last argument may be given again.
        options: Its options by name.
        commands: The commands of a group by name; empty if this is none.
    """

    help: str
    arguments: list[Takes]
    repeats: bool
    options: dict[str, Option]
    commands: dict[str, Command]


def load() -> Command:
    """Return the program itself, as a group of its commands."""
    return _command(json.loads(Path(__file__).with_name("grammar.json").read_text(encoding="utf-8")))


def _command(found: dict[str, Any]) -> Command:
    return Command(
        help=found["help"],
        arguments=found.get("arguments", []),
        repeats=found.get("repeats", False),
        options={
            name: Option(one.get("takes"), one["help"], one.get("repeats", False))
            for name, one in found["options"].items()
        },
        commands={name: _command(one) for name, one in found.get("commands", {}).items()},
    )
