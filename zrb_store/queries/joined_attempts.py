"""Joins that read the names of the attempts that pushed and took values."""

from __future__ import annotations

from typing import Any

from zrb_store.db.core import literal_column, made_once, sa, t
from zrb_store.records import UNSUCCESSFUL

MESSAGE_LENGTH = 300
"""Characters of an error's message that are read with each return of a value: one error may be that of many."""


class JoinedAttempt:
    """The attempt to which a column of another table refers.

    Attributes:
        name: The columns that name it: its session's name, its task and its number.
        step: The column of its name as a step.
        given_back: The columns that say when it was given back: the time and the tick.
        failed: When it ended, if it did not complete; NULL if it did, and for deliveries and steps: these are given
            back whole.
        error: The columns of its error: the type, and the beginning of the message.
    """

    def __init__(self, alias: str) -> None:
        self._attempt = t.attempt.alias(alias)
        self._session = t.session.alias(f"session_of_{alias}")
        self.name = (self._session.c.name, self._attempt.c.task, self._attempt.c.number)
        self.step = self._attempt.c.step
        self.given_back = (self._attempt.c.given_back_at, self._attempt.c.given_back_tick)
        failed = self._attempt.c.status.in_([literal_column(f"'{status}'") for status in UNSUCCESSFUL])
        whole = self._attempt.c.role.in_([literal_column("'delivery'"), literal_column("'step'")])
        self.failed = tuple(
            sa.case((sa.and_(failed, ~whole), ended))
            for ended in (self._attempt.c.ended_at, self._attempt.c.ended_tick)
        )
        beginning = (literal_column("1"), literal_column(str(MESSAGE_LENGTH)))
        self.error = (self._attempt.c.error_type, sa.func.substr(self._attempt.c.error_message, *beginning))

    def join(self, rows: sa.FromClause, link: sa.Column[Any]) -> sa.FromClause:
        """Join the attempt, if there is one, to rows that have its id in the column `link`."""
        return rows.outerjoin(self._attempt, self._attempt.c.id == link).outerjoin(
            self._session, self._session.c.id == self._attempt.c.session_id
        )


@made_once
def pusher() -> JoinedAttempt:
    """Return the attempt that pushed a value."""
    return JoinedAttempt("pusher")


@made_once
def taker() -> JoinedAttempt:
    """Return the attempt that took a value."""
    return JoinedAttempt("taker")
