"""Whom a process tells that a run, a value or the store has failed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from zrb_store import settings
from zrb_store.db.engine import Database
from zrb_store.db.location import StoreUrl
from zrb_store.errors import ZrbStoreError
from zrb_store.records import RunRecord
from zrb_store.wings import load, place_of


class Notifier(Protocol):
    """What starts the command of `ZRB_STORE_NOTIFY`: a module of a wing.

    It raises no error of the store: whoever calls it has something worse to report, or works on.
    """

    def notify_end(self, database: Database, session: str, run_id: int) -> None:
        """Report that a run has ended without completing its session; its end has recorded the notification."""

    def notify_death(self, database: Database, session: str, dead: RunRecord, died: str) -> None:
        """Report once that a run is dead, which `died` explains, unless its session is a child."""

    def notify_stale(self, database: Database) -> None:
        """Report each root run whose process died, once, whichever process finds it first."""

    def notify_dead_values(self, database: Database, died: Sequence[tuple[int, int]]) -> None:
        """Report that values (queue id and seq of each) have died, once for all that died in one transaction."""

    def notify_unavailable(
        self,
        error: ZrbStoreError,
        url: StoreUrl | None = None,
        *,
        session: str | None = None,
        task: str | None = None,
        remedy: str | None = None,
    ) -> None:
        """Report that the store cannot be used, if the error says so.

        It may end the run of a session with this main task. The command that helps is by default one that looks at the
        store.
        """

    def wait_for_all(self) -> None:
        """Wait for the commands that this process has started, but not long."""


def is_wanted() -> bool:
    """Whether there is a command to start, and a wing that starts it."""
    return settings.notify_command() is not None and place_of("notifier") is not None


def notifier() -> Notifier:
    """Import what starts the command, if it `is_wanted`."""
    notifier: Notifier = load(str(place_of("notifier")))
    return notifier
