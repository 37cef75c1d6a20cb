"""Every error of zrb-store. The message says what happened and what to do; `exit_code` is what a command ends with."""

from __future__ import annotations

from zrb_store.printing import printable


class ZrbStoreError(Exception):
    """Base of every error of this package.

    The message may quote what is stored, so nothing in it can move a cursor or hide text when a traceback shows it.

    Attributes:
        exit_code: What a command ends with when this error stops it.
    """

    exit_code = 1

    def __init__(self, message: str = "") -> None:
        super().__init__(printable(message))


class InvalidName(ZrbStoreError, ValueError):
    """A name or an argument is not of the form it must have."""

    exit_code = 2


class SessionNotFound(ZrbStoreError, LookupError):
    """No session has this name."""

    exit_code = 3


class TaskNotFound(ZrbStoreError, LookupError):
    """The session has no task of this name."""

    exit_code = 3


class ValueNotFound(ZrbStoreError, LookupError):
    """No value fits: the queue is empty, the value does not exist, or the newest one is too old."""

    exit_code = 3


class InputsDiffer(ZrbStoreError):
    """A session was started again with other inputs, another task or from another project."""

    exit_code = 65


class StoreMissing(ZrbStoreError):
    """There is no store at this place, and reading does not make one."""

    exit_code = 69


class StoreUnavailable(ZrbStoreError):
    """The database cannot be reached, is locked, full, damaged or not allowed to us."""

    exit_code = 69


class SchemaBehind(ZrbStoreError):
    """The store was made by an older zrb-store and must be upgraded first."""

    exit_code = 69


class SchemaAhead(ZrbStoreError):
    """The store was made by a newer zrb-store, or is not a store of ours."""

    exit_code = 69


class SessionBusy(ZrbStoreError):
    """Another process runs this session."""

    exit_code = 75


class LeaseLost(ZrbStoreError):
    """Another process has taken this session over; this run must change nothing any more."""

    exit_code = 75


class AttemptClosed(ZrbStoreError):
    """The attempt has ended: what it did is settled, and it can do no more."""

    exit_code = 75


class SessionCompleted(ZrbStoreError):
    """The session has completed; there is nothing left to run."""


class TaskCompleted(ZrbStoreError):
    """The task has completed in this session; its result is stored."""


class UnencodableValue(ZrbStoreError, TypeError):
    """No codec takes a part of this value; the message names its path."""


class ValueTooLarge(ZrbStoreError, ValueError):
    """The encoded value is larger than the limit."""
