"""Errors of attempts as commands show them: what they advise is named as this user types it."""

from __future__ import annotations

from zrb_store.cli.as_typed import as_typed
from zrb_store.cli.program_name import program_name
from zrb_store.cli.render.format import error_summary
from zrb_store.records import ErrorRecord


def error_line(error: ErrorRecord) -> str:
    """Return type and message of an error."""
    return as_typed(error_summary(error), program_name())


def error_details(error: ErrorRecord) -> str:
    """Return the traceback of an error or else its type and message."""
    return as_typed(error.traceback or error_summary(error), program_name())
