"""What the core tells of runs, attempts and steps to whoever observes them (`observer` of a wing).

`Database.observer` is None where nobody does. Each point is then one comparison.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from zrb_store.wings import load, place_of

if TYPE_CHECKING:
    from zrb_store.masking import ErrorText

Details = Mapping[str, str | int | None]
"""What is known of a run, an attempt or a step, by name. None: there is none."""


class Observed(Protocol):
    """A run, an attempt or a step that is observed, from its beginning to its end."""

    @property
    def traceparent(self) -> str:
        """What names it to other processes."""

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables that name it to a command."""

    def begin(self, what: str, name: str, details: Details, links: Sequence[str | None] = ()) -> Observed:
        """Return what begins inside: an `attempt` or a `step`; or a `delivery`, which is only linked to its run."""

    def note(self, details: Details, links: Sequence[str | None] = ()) -> None:
        """Note what is known only now, and the spans that led to it."""

    def count(self, name: str, number: int = 1) -> None:
        """Add to a number that its end tells."""

    def enter(self) -> None:
        """Let what this code does from now on belong to it."""

    def leave(self) -> None:
        """Let what this code does from now on belong to what it belonged to before."""

    def end(self, status: str, error: ErrorText | None = None, result: str | None = None) -> None:
        """Note how it ended, with its encoded result. Only the first end counts, and only in its own process."""


class Observer(Protocol):
    """What observes this process."""

    def begin(self, what: str, name: str, details: Details, links: Sequence[str | None] = ()) -> Observed | None:
        """Return a `run` that begins; None if it is not observed."""

    def around(self) -> Observed | None:
        """Return the span of another process that this one was started in; None if it is not known."""

    def traceparent(self, span: Observed | None) -> str | None:
        """Return what names the span that the code runs in, or else this one; None if there is neither."""


def observer() -> Observer | None:
    """Return who observes this process; None if nobody does."""
    place = place_of("observer")
    found: Observer | None = None if place is None else load(place).observer()
    return found


def configure() -> None:
    """Prepare what the environment asks for, in a program of ours: a library leaves that to its program."""
    if (place := place_of("observer")) is not None:
        load(place).configure()


def flush() -> None:
    """Send what was observed, within seconds: this process is about to end without its exit handlers."""
    module: Any = sys.modules.get(place_of("observer") or "")
    if module is not None:
        module.flush()
