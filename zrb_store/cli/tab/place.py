"""Where the cursor is in a command line: what the word that is being typed may become."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from zrb_store.cli.tab.grammar import Command, Option, Takes


@dataclass
class Place:
    """The word at the cursor.

    Attributes:
        command: The command, or the group whose command is being typed.
        path: The words that name the command.
        takes: What the word may be, if it is no option and no command.
        typed: What is typed of it.
        before: The beginning of the word that stays as it is: `--from=`.
        is_option: Whether it may be an option.
        is_command: Whether it is the name of a command.
        given: The arguments and the options' values before the word, by what they are.
        used: The options before the word.
    """

    command: Command
    path: tuple[str, ...] = ()
    takes: Takes = None
    typed: str = ""
    before: str = ""
    is_option: bool = False
    is_command: bool = False
    given: dict[str, list[str]] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)

    def last_given(self, kind: str) -> str | None:
        """Return the last word of a kind before this one."""
        return self.given[kind][-1] if kind in self.given else None

    def first_given(self, kind: str) -> str | None:
        """Return the first word of a kind before this one."""
        return self.given[kind][0] if kind in self.given else None


def kinds(takes: Takes) -> list[str]:
    """Return the alternatives of what a word may be; none for a list of choices."""
    if not isinstance(takes, str):
        return []
    return [re.sub("^SESSION_[AB]$", "SESSION", one) for one in takes.split("|")]


def place_of(program: Command, words: list[str], typed: str) -> Place | None:
    """Find what the word at the cursor may be.

    Args:
        program: The grammar of the program.
        words: The words between the program and the cursor.
        typed: What is typed of the last word.

    Returns:
        The place, or None if there is no such command.
    """
    place = Place(program, typed=typed)
    waiting: Option | None = None
    count = 0
    no_options = False
    for word in words:
        if waiting is not None:
            _remember(place, waiting.takes, word)
            waiting = None
        elif word == "--" and not no_options:
            no_options = True
        elif word.startswith("-") and word != "-" and not no_options:
            name, equals, value = word.partition("=")
            place.used.add(name)
            option = place.command.options.get(name)
            if option is not None and option.takes is not None:
                if equals:
                    _remember(place, option.takes, value)
                else:
                    waiting = option
        elif place.command.commands:
            if word not in place.command.commands:
                return None
            place.command = place.command.commands[word]
            place.path = (*place.path, word)
            place.used.clear()
        else:
            _remember(place, _argument(place.command, count), word)
            count += 1
    _look_at_last(place, waiting, count, no_options=no_options)
    return place


def _look_at_last(place: Place, waiting: Option | None, count: int, *, no_options: bool) -> None:
    if waiting is not None:
        place.takes = waiting.takes
    elif place.typed.startswith("-") and not no_options:
        name, equals, value = place.typed.partition("=")
        option = place.command.options.get(name)
        if not equals:
            place.is_option = True
        elif option is not None and name.startswith("--"):
            place.takes, place.before, place.typed = option.takes, f"{name}=", value
    elif place.command.commands:
        place.is_command = True
    else:
        place.takes = _argument(place.command, count)
        # Where nothing else can follow, TAB shows the options.
        place.is_option = place.takes is None and not place.typed and not no_options


def _argument(command: Command, number: int) -> Takes:
    if number < len(command.arguments):
        return command.arguments[number]
    return command.arguments[-1] if command.repeats and command.arguments else None


def _remember(place: Place, takes: Takes, word: str) -> None:
    for kind in kinds(takes):
        place.given.setdefault(kind, []).append(word)
