"""The attempt that the current code runs in."""

from __future__ import annotations

from contextvars import ContextVar, Token

from zrb_store.queries.owner import Owner

current_attempt: ContextVar[Owner | None] = ContextVar("zrb_store_current_attempt", default=None)


def leave(token: Token[Owner | None]) -> None:
    """Let the code run in what it ran in before `current_attempt.set` returned this token."""
    # A generator or a coroutine that is closed elsewhere ends in another context, where there is nothing to reset.
    try:  # noqa: SIM105 - contextlib.suppress takes longer, and every step ends here
        current_attempt.reset(token)
    except ValueError:
        pass
