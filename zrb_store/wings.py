"""Wings: folders that use the core, and that can be deleted.

No other folder imports a wing. Its `wing.py` says what it adds, as a `Wing`; `installed` finds it by name.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from importlib import import_module
from typing import Any, Literal, NamedTuple

NAMES = ("shell", "watch", "page", "transfer", "replay")
"""The folders of this package that are wings."""


class Command(NamedTuple):
    """A command as lists show it. Its module is imported when it is used, so zrb starts fast."""

    module: str
    purpose: str
    after: str | None = None
    """The command that it follows in lists; None for the first one."""
    reads: bool = False
    """Whether it changes and takes nothing. Only such a command is suggested to a user who mistypes one."""
    other_names: tuple[str, ...] = ()
    """What other programs call it."""
    answer: str | None = None
    """`MODULE:FUNCTION` that gets its words and a function for messages, and returns whether it has answered already.

    It is called before click is imported.
    """
    refusal: int | None = None
    """Its exit code for every error of ours, if the usual ones could be those of a command that it runs."""
    under_zrb: str | None = None
    """`MODULE:CLASS` of the object that it gets as `ctx.obj` from `zrb xcom`."""
    dies_of_interrupt: bool = False
    """Whether its process dies of SIGINT after Ctrl-C: bash ends its script only then."""


class Setting(NamedTuple):
    """A variable that users set."""

    name: str
    meaning: str  # in Markdown
    default: str | None  # as one would write it; None if it is unset by default
    explained: str | None = None  # the default in words, if it does not explain itself

    @property
    def shown_default(self) -> str:
        """The default as people read it."""
        return self.explained or self.default or ""


class Wing(NamedTuple):
    """What a wing adds to the core."""

    commands: Mapping[str, Command]
    settings: tuple[Setting, ...] = ()
    variables: tuple[str, ...] = ()
    """Variables that it sets for the processes that it starts: users do not."""
    notifier: str | None = None
    """A module with the functions of `Notifier` (`runtime/notify.py`)."""
    figures: str | None = None
    """A module with the functions of `Figures` (`page/pages.py`)."""
    command_resumer: str | None = None
    """`MODULE:CLASS` of the `CommandResumer` of sessions that run a command."""
    web_pages: str | None = None
    """`MODULE:FUNCTION` that makes an app for zrb's web server (`plugin/web.py`)."""
    recorded_step: str | None = None
    """`MODULE:FUNCTION` that takes a step from the record, in a process whose environment has `settings.REPLAYS`."""


@functools.cache
def installed() -> tuple[Wing, ...]:
    """Return the wings whose folders exist."""
    found = []
    for name in NAMES:
        module = f"{__package__}.{name}"
        try:
            found.append(import_module(f"{module}.wing").WING)
        except ModuleNotFoundError as error:
            if error.name not in (module, f"{module}.wing"):  # Python may have left its cache in the folder
                raise
    return tuple(found)


def place_of(point: Literal["command_resumer", "figures", "notifier", "recorded_step", "web_pages"]) -> str | None:
    """Return what a wing has registered for a point; None if no wing that is here has."""
    return next(filter(None, (getattr(wing, point) for wing in installed())), None)


def load(place: str) -> Any:
    """Import what a wing names as `MODULE:NAME`, or as `MODULE`."""
    module, _, name = place.partition(":")
    found = import_module(module)
    return getattr(found, name) if name else found
