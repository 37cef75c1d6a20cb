"""Sessions that did not complete: why, and the command that continues them."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from zrb_store.process import program_of
from zrb_store.queries.last_errors import LastError
from zrb_store.queries.runs import last_started
from zrb_store.queries.waits import Wait
from zrb_store.records import RunRecord, SessionRecord


def wait_reason(waits: Sequence[Wait]) -> str:
    """Say what a session waits for."""
    return " and ".join(dict.fromkeys(each.text() for each in waits))


def reason(session: SessionRecord, runs: Sequence[RunRecord], error: LastError | None, died: str | None) -> str | None:
    """Say why a session failed, was interrupted or is stale; None if nothing is known."""
    if session.status == "stale":
        last = last_started(runs)
        died = died or "its process died; its values are back in their queues"
        return died if last is None else f"pid {last.pid} on {last.host}: {died}"
    if error is None:
        return None
    # These say no more than that it was interrupted.
    says_little = error.type in ("CancelledError", "KeyboardInterrupt")
    return f"while {error.task} ran" if error.task and says_little else error.text()


def how_to_start_again(session: SessionRecord, runs: Sequence[RunRecord], here: str | None) -> str | None:
    """Return the shell command that starts a session's program again; None if that is not known."""
    last = last_started(runs)
    if last is None or not last.command or program_of(last.command, last.folder) is None:
        return None
    words = list(last.command)
    if words[0].endswith(".py"):
        words.insert(0, "python3")  # what it was started with is not stored
    # A program that uses zrb as a library gets the session's name from its environment, any other one knows it.
    variable = f"ZRB_STORE_SESSION={session.name} " if last.zrb_version else ""
    return _in_folder(last.folder, here, variable + shlex.join(words))


def resume_by_zrb(session: str, folder: str | None, here: str | None) -> str:
    """Return the shell command by which zrb resumes a session of its own, in the folder of its project."""
    return _in_folder(folder, here, f"zrb xcom resume {session}")


def resume_of_command(session: str) -> str:
    """Return the shell command that resumes a session of `run`, which remembers its folder."""
    return f"zrb-store resume {session}"


def _in_folder(folder: str | None, here: str | None, command: str) -> str:
    if folder is None or (here is not None and Path(folder) == Path(here)):
        return command
    return f"cd {shlex.quote(folder)} && {command}"
