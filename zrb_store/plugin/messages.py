"""The plugin's messages to the user, one line each on stderr, and the stored form of errors that tasks raise.

zrb imports this module whenever it starts, so it imports little.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from zrb_store.errors import StepUncertain
from zrb_store.masking import ErrorText, error_text
from zrb_store.render.stderr import PROGRAM, print_line

if TYPE_CHECKING:
    from zrb.task.any_task import AnyTask

    from zrb_store.attempt import Attempt
    from zrb_store.inspect.resume import Decision


class Speaker:
    """What prints the messages of the plugin."""

    name = PROGRAM  # what each line begins with
    # What the user types before a command, also in advice: `zrb xcom`, unless the user's tasks have a group of that
    # name. Only `zrb xcom` has a command that runs tasks.
    program = PROGRAM

    def warn(self, message: str) -> None:
        """Print one line on stderr, with secrets masked."""
        print_line(message, self.program, self.name)


speaker = Speaker()
warn = speaker.warn


_NAMED = 5  # tasks in one line


def describe_completed(session: str, ended_at: int | None, *, has_result: bool, is_resume: bool) -> str:
    """Say that a session has completed, and that nothing runs, whether a resume or ZRB_STORE_SESSION asked for it."""
    from zrb_store.render.format import TimeFormat

    when = TimeFormat().full(ended_at)
    what = "this is its stored result, and nothing runs" if has_result else "it has no result, and nothing runs"
    advice = "--from TASK runs a part of it again" if is_resume else "another ZRB_STORE_SESSION starts a new one"
    return f"session {session} completed at {when}: {what}; {advice}"


def describe_resume(session: str, decisions: Sequence[Decision]) -> str:
    """Say what a resume runs and skips."""
    runs = [decision.task for decision in decisions if decision.action == "run"]
    skips = [decision.task for decision in decisions if decision.action == "skip" and decision.reason == "completed"]
    skipped = f"skips {_named(skips)}, completed before" if skips else "skips nothing"
    return f"session {session} is resumed: runs {_named(runs)}; {skipped}"


def _named(tasks: Sequence[str]) -> str:
    more = f" and {len(tasks) - _NAMED} more" if len(tasks) > _NAMED else ""
    return f"{', '.join(tasks[:_NAMED]) or 'nothing'}{more}"


def uncertain_step_error(error: BaseException | None) -> StepUncertain | None:
    """Return the `StepUncertain` that an exception is, contains as a group, or was raised because of; else None."""
    if error is None or isinstance(error, StepUncertain):
        return error
    parts = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    earlier = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    found = (uncertain_step_error(part) for part in (*parts, earlier))
    return next((one for one in found if one is not None), None)


_LONGEST_LINE = 2000  # of stderr, since it becomes a message


def text_of_error(error: BaseException, task: AnyTask, attempt: Attempt) -> ErrorText:
    """Return type, message and traceback of the user's own code.

    If a command failed, the message is what it said last on stderr, with the exit code.
    """
    from zrb_store.plugin import compat  # late: without zrb this module still has to say so

    if not compat.is_cmd_task(task):
        return error_text(error)
    text = error_text(error, of_command=True)
    code = compat.exit_code(error)
    if code is None:
        return text
    said = attempt.output.last_line("stderr") if attempt.output else None
    message = f"{said[:_LONGEST_LINE].strip()} (exit {code})" if said else text.message
    # Before 3.0 it is an Exception or a RuntimeError.
    return ErrorText("CmdTaskError", message, text.traceback)
