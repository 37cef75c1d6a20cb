"""What zrb's tasks print and log, and what the commands of CmdTasks print, as the output of their attempts."""

from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from zrb_store.plugin import compat
from zrb_store.plugin.patches import Patches

if TYPE_CHECKING:
    from zrb_store.output import Output

# Ends what stands before each line, `251124 03:12:45.123 1/3  🍎 load ⬤  `. Faster than a regular expression.
_PREFIX_END = " \u2b24  "
_LEVEL = re.compile(r"\[(DEBUG|INFO|WARNING|ERROR|CRITICAL)\] ")
# CmdTask logs its whole environment, which may hold secrets that nobody has named. Later releases mask some of them.
_ENVIRONMENT = "Environment map: "


def keep_output(ctx: Any, output: Output | None) -> None:
    """Add to an attempt's output what its context prints from now on; None to keep nothing.

    Each text that a context prints gets into the log of its session, without colours. The method that puts it there is
    replaced in this context alone.
    """
    method = type(ctx).append_to_shared_log
    if method is compat.Context.append_to_shared_log:  # which only calls this one, ten thousand times for a chatty task
        append = ctx._shared_ctx.append_to_shared_log
    else:
        append = method.__get__(ctx)
    ctx.append_to_shared_log = append if output is None else output.noting(append, parse_printed)


def parse_printed(text: str) -> tuple[str, str]:
    """Return the stream and the text of what a context printed: `print`, or the level of a log message."""
    text = text.replace("\r\n", "\n") if "\r" in text else text
    if text[6:13:3] == " ::" and text[:6].isdigit():
        end = text.find(_PREFIX_END)
        if end < 0 or text.find("\n", 0, end) >= 0:
            return "print", text
        text = text[end + len(_PREFIX_END) :]
        if text.startswith("[") and (level := _LEVEL.match(text)):
            text = text[level.end() :]
            if text.startswith(_ENVIRONMENT):
                text = f"{_ENVIRONMENT}***\n"
            return level[1].lower(), text
    return "print", text


class _Command:
    """A command of a CmdTask while it runs.

    Attributes:
        output: The output of the attempt.
        is_read: Whether what the command prints is added to the output.
    """

    def __init__(self, output: Output) -> None:
        self.output = output
        self.is_read = False

    def read_streams(self, process: Any) -> None:
        """Add what zrb reads of the streams of the process to the output."""
        for stream in ("stdout", "stderr"):
            reader = getattr(process, stream, None)
            if isinstance(reader, asyncio.StreamReader):
                for method in ("read", "readline"):
                    setattr(reader, method, self._noting(stream, getattr(reader, method)))
                self.is_read = True

    def _noting(self, stream: str, read: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(read)
        async def noting(*args: Any, **kwargs: Any) -> Any:
            data = await read(*args, **kwargs)
            # A `read` of everything reads by `read` with a limit.
            if data and (args or read.__name__ != "read"):
                self.output.add(stream, data)
            return data

        return noting

    def printing(self, print_method: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that prints, without adding to the output what was read of the streams before."""

        output = self.output

        def print_line(*values: Any, **kwargs: Any) -> None:
            was_muted = output.is_muted
            # zrb ends the lines of the command itself, but not what it says about the command.
            if "end" in kwargs and self.is_read:
                output.is_muted = True
            try:
                print_method(*values, **kwargs)
            finally:
                output.is_muted = was_muted

        return print_line


_running: ContextVar[_Command | None] = ContextVar("zrb_store_running_command", default=None)


class _Asyncio:
    """The module asyncio, for the module in which zrb starts the command of a CmdTask."""

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)

    async def create_subprocess_exec(self, *args: Any, **kwargs: Any) -> Any:
        """Start a process. If it is the command of a CmdTask, what it prints is added to the output of the attempt."""
        process = await asyncio.create_subprocess_exec(*args, **kwargs)
        command = _running.get()
        if command is not None:
            command.read_streams(process)
        return process


def hook_commands(patches: Patches) -> None:
    """Pass on what the commands of CmdTasks print. zrb itself prints as before."""
    cmd_task: Any = compat.cmd_task
    run_command = cmd_task.run_command

    @functools.wraps(run_command)
    async def run_command_of_attempt(*args: Any, **kwargs: Any) -> Any:
        output = _current_output()
        print_method = kwargs.get("print_method")
        if output is None or print_method is None:
            return await run_command(*args, **kwargs)
        command = _Command(output)
        token = _running.set(command)
        try:
            return await run_command(*args, **{**kwargs, "print_method": command.printing(print_method)})
        finally:
            _running.reset(token)

    patches.put(cmd_task, "run_command", run_command_of_attempt)
    starting = compat.module_of(run_command)
    if getattr(starting, "asyncio", None) is asyncio:
        patches.put(starting, "asyncio", _Asyncio())


def _current_output() -> Output | None:
    from zrb_store.attempt import Attempt  # late: imports SQLAlchemy
    from zrb_store.xcom.current import current_attempt

    attempt = current_attempt.get()
    return attempt.output if isinstance(attempt, Attempt) else None
