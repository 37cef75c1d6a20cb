"""Every error of zrb-store. A message says what happened and what to do."""

from __future__ import annotations

import errno
import os

from zrb_store.masking import printable

OUT_OF_FILES = "this process has reached its limit of open files: close some, or raise the limit (`ulimit -n`)"


class ZrbStoreError(Exception):
    """Base of every error of this package.

    A message may quote stored text. So characters that move the cursor or hide text are escaped in it, which makes it
    safe to show in a terminal.
    """

    exit_code = 1  # of a command that this error stops

    def __init__(self, message: str = "") -> None:
        super().__init__(printable(message))


class InvalidArgument(ZrbStoreError, ValueError):
    """A name, a limit, a setting or another argument does not have the required form."""

    exit_code = 2


class SessionNotFound(ZrbStoreError, LookupError):
    """No session has this name."""

    exit_code = 3


class TaskNotFound(ZrbStoreError, LookupError):
    """The session has no task of this name, or the task no such step."""

    exit_code = 3


class ValueNotFound(ZrbStoreError, LookupError):
    """No value matches: the queue is empty, the value does not exist, or the newest value is too old."""

    exit_code = 3


class InputsDiffer(ZrbStoreError):
    """A session was started again with other inputs, another task or from another project."""

    exit_code = 65


class StoreMissing(ZrbStoreError):
    """There is no store at this location, and reading does not create one."""

    exit_code = 69


class StoreUnavailable(ZrbStoreError):
    """The database cannot be reached, is locked, full or damaged, or does not allow the operation."""

    exit_code = 69


def possibly_committed_error(error: ZrbStoreError) -> ZrbStoreError:
    """Return the error of a change that may have been made although there was no answer."""
    return type(error)(f"{error}; the change may have been made: check before you repeat it")


class SchemaBehind(ZrbStoreError):
    """An older zrb-store created the store, which must be upgraded first."""

    exit_code = 69


class SchemaAhead(ZrbStoreError):
    """A newer zrb-store created the store, or the database belongs to another program."""

    exit_code = 69


class SessionBusy(ZrbStoreError):
    """Another process is running this session."""

    exit_code = 75


class SessionWaiting(ZrbStoreError):
    """The session waits, and no wait of it is over: no run was made."""

    exit_code = 75


class Waiting(BaseException):
    """The attempt has ended inside `wait`, and its session continues when the wait is over.

    It passes every `except Exception`. Code that catches it can write no more. From `with session.run()` it comes as a
    SystemExit too: unless it is caught, the program ends with exit code 75.
    """


def waiting_in(error: BaseException | None) -> Waiting | None:
    """Return the `Waiting` that an exception is, or that a group has beside no other exceptions."""
    if isinstance(error, BaseExceptionGroup):
        found, rest = error.split(Waiting)
        return waiting_in(found.exceptions[0]) if found is not None and rest is None else None
    return error if isinstance(error, Waiting) else None


class LeaseLost(ZrbStoreError):
    """Another process has taken over this session; this run can no longer change anything."""

    exit_code = 75


class AttemptClosed(ZrbStoreError):
    """The attempt has ended and can no longer change anything."""

    exit_code = 75


class SessionCompleted(ZrbStoreError):
    """The session has completed; nothing is left to run."""


class TaskCompleted(ZrbStoreError):
    """The task, or the step, has completed in this session; its result is stored."""


class StepUncertain(ZrbStoreError):
    """A step that must not be repeated began before, and whether it happened is unknown: a person has to find out."""


class RequestChanged(StepUncertain):
    """Stored answers of an agent no longer fit its requests, and a person has to decide whether it makes them again."""


class BudgetUsed(StepUncertain):
    """The agents of a session have used their budget, and a person has to decide whether they may use more."""


class UnencodableValue(ZrbStoreError, TypeError):
    """No codec can store a part of the value; the message names the path to that part."""


class ValueTooLarge(ZrbStoreError, ValueError):
    """The encoded value exceeds the size limit."""


def is_refusal(error: BaseException | None) -> bool:
    """Whether an exception is one of this package, contains one as a group, or was raised because of one."""
    if error is None or isinstance(error, ZrbStoreError):
        return error is not None
    parts = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    return any(map(is_refusal, (*parts, error.__cause__)))


def what_makes_storable(error: Exception, value: object = None) -> str:
    """Return what a user can change so that the value is stored which this error is about."""
    if type(value).__name__ == "AgentRunResult":  # of pydantic-ai
        return "return its `.output`: that"
    return "ZRB_STORE_MAX_VALUE" if isinstance(error, ValueTooLarge) else "zrb_store.register_codec"


def is_out_of_files() -> bool:
    """Whether this process, or the whole machine, may open no more files."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return error.errno in (errno.EMFILE, errno.ENFILE)
    return False
