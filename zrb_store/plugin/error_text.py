"""What is stored of the exception that a task's action raised."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zrb_store.attempt import Attempt
from zrb_store.plugin import compat
from zrb_store.plugin.messages import engine_folders, first_user_frame
from zrb_store.safe_text import ErrorText, error_text

if TYPE_CHECKING:
    from zrb.task.any_task import AnyTask

# Of the last line of stderr, since it becomes a message.
_LONGEST_LINE = 2000


def text_of_error(error: BaseException, task: AnyTask, attempt: Attempt) -> ErrorText:
    """Return type, message and traceback.

    The traceback of a Python task begins with the user's own code, and is whole from there on: what zrb did with what
    that code asked for may explain the error. In a CmdTask only frames of other code are kept, and if its command
    failed, the message is what the command said last on stderr, with the exit code.
    """
    if not compat.is_cmd_task(task):
        return error_text(error, first_user_frame(error))
    text = error_text(error, without=engine_folders())
    code = compat.exit_code(error)
    if code is None:
        return text
    said = attempt.output.last_line("stderr") if attempt.output else None
    message = f"{said[:_LONGEST_LINE].strip()} (exit {code})" if said else text.message
    # Before 3.0 it is an Exception or a RuntimeError.
    return ErrorText("CmdTaskError", message, text.traceback)
