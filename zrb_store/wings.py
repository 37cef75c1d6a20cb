"""Wings: folders that use the core, and that can be deleted.

No other folder imports a wing. Its `wing.py` says what it adds, as a `Wing`; `installed` finds it by name.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from importlib import import_module
from typing import NamedTuple

NAMES = ("transfer",)
"""The folders of this package that are wings."""


class Command(NamedTuple):
    """A command as lists show it. Its module is imported when it is used, so zrb starts fast."""

    module: str
    purpose: str
    reads: bool = False
    """Whether it changes and takes nothing. Only such a command is suggested to a user who mistypes one."""


class Wing(NamedTuple):
    """What a wing adds to the core."""

    commands: Mapping[str, Command]
    follows: str
    """The command after which its commands are listed."""


@functools.cache
def installed() -> tuple[Wing, ...]:
    """Return the wings whose folders exist."""
    found = []
    for name in NAMES:
        module = f"{__package__}.{name}"
        try:
            found.append(import_module(f"{module}.wing").WING)
        except ModuleNotFoundError as error:
            if error.name != module:
                raise
    return tuple(found)
