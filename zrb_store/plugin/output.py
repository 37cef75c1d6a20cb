"""The commands of CmdTasks, which are recorded, and their output and that of zrb's tasks, kept with their attempts."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import re
import sys
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec, TypeVar

from zrb_store import settings
from zrb_store.masking import remembered_in
from zrb_store.plugin import compat
from zrb_store.plugin.compat import Context, Patches
from zrb_store.process import group_of, kill_group, start_if_seen

if TYPE_CHECKING:
    from zrb_store.attempt import Attempt
    from zrb_store.runtime.output import Output

P = ParamSpec("P")
R = TypeVar("R")

# Ends what stands before each line, `251124 03:12:45.123 1/3  🍎 load ⬤  `. Faster than a regular expression.
_PREFIX_END = " \u2b24  "
_TIME = 19  # the length of its time
_LEVEL = re.compile(r"\[(DEBUG|INFO|WARNING|ERROR|CRITICAL)\] ")
# zrb ends the lines that a command prints like this, but not its own messages about the command.
_ENDING = "\r\n"
# CmdTask logs its whole environment, which may hold secrets that nobody has named. Later releases mask some of them.
_ENVIRONMENT = "Environment map: "


def keep_output(ctx: Context, attempt: Attempt) -> None:
    """Add to an attempt's output what its context prints from now on.

    Each text that a context prints gets into the log of its session, without colours. The method that puts it there is
    replaced in this context alone. Nothing else is made before the first text, since most tasks print nothing.
    """
    if settings.size("ZRB_STORE_OUTPUT_LIMIT"):
        vars(ctx)["append_to_shared_log"] = functools.partial(_append_first, ctx, attempt)
    else:
        vars(ctx).pop("append_to_shared_log", None)


def _append_first(ctx: Context, attempt: Attempt, message: str) -> None:
    """Append the first text to the log, and let those that follow take a shorter way."""
    append = _append_to_log(ctx)
    if (output := attempt.output) is not None:
        append = output.noting(append, _Parser())
    vars(ctx)["append_to_shared_log"] = append
    append(message)


def _append_to_log(ctx: Context) -> Callable[[str], None]:
    """Return what puts a text into the log of a context's session, as directly as that log allows.

    A chatty task calls it ten thousand times, and zrb's two methods cost more than noting a text.
    """
    method = type(ctx).append_to_shared_log
    if method is not compat.Context.append_to_shared_log:
        return method.__get__(ctx)  # type: ignore[no-any-return]
    shared_ctx, session = ctx._shared_ctx, ctx.session
    append: Callable[[str], None] = shared_ctx.append_to_shared_log
    is_list = compat.LOG_IS_LIST and append == compat.SharedContext.append_to_shared_log.__get__(shared_ctx)
    if is_list and session is not None and session.parent is None:
        append = shared_ctx.shared_log.append
    return append


class _Parser:
    """Parses what one context prints.

    Its lines have the same text between time and message. That is compared, since it is quicker than being parsed.
    """

    def __init__(self) -> None:
        self._head: str | tuple[()] = ()  # nothing begins with it
        self._end = 0

    def __call__(self, printed: list[str]) -> tuple[list[str], list[str]]:
        """Return the streams and the texts of what was printed: `print`, or the level of a log message."""
        streams, texts = ["print"] * len(printed), []
        head, end = self._head, self._end
        for text in printed:
            if text.startswith(head, _TIME):
                text = text[end:]
            elif found := _prefix(text):
                self._head, self._end = head, end = text[_TIME:found], found
                text = text[end:]
            else:
                texts.append(text)
                continue
            if text[:1] == "[" and (level := _LEVEL.match(text)):
                streams[len(texts)] = level[1].lower()
                text = text[level.end() :]
                if text.startswith(_ENVIRONMENT):
                    text = f"{_ENVIRONMENT}***\n"
            texts.append(text)
        return streams, texts


def _prefix(text: str) -> int:
    """Return the length of what stands before the message in what was printed; 0 if nothing stands there."""
    if text[6:13:3] != " ::" or not text[:6].isdigit():
        return 0
    end = text.find(_PREFIX_END)
    return end + len(_PREFIX_END) if end >= 0 and text.find("\n", 0, end) < 0 else 0


class _Command(NamedTuple):
    """A command of a CmdTask that runs, and the output that is made for it when it prints something."""

    attempt: Attempt
    outputs: set[Output]
    is_kept: bool  # whether what it prints is kept


_running: ContextVar[_Command | None] = ContextVar("zrb_store_running_command", default=None)


def _noting(command: _Command, stream: str, read: Callable[P, Awaitable[bytes]]) -> Callable[P, Awaitable[bytes]]:
    async def noting(*args: P.args, **kwargs: P.kwargs) -> bytes:
        data = await read(*args, **kwargs)
        # A `read` of everything reads by `read` with a limit.
        if data and (args or read.__name__ != "read") and (output := command.attempt.output) is not None:
            command.outputs.add(output)
            output.ignore(_ENDING)
            output.add(stream, data)
        return data

    return noting


class _Asyncio:
    """The module asyncio, for the module in which zrb starts the command of a CmdTask."""

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)

    async def create_subprocess_exec(self, *args: Any, **kwargs: Any) -> asyncio.subprocess.Process:
        """Start a process. If it is the command of a CmdTask, record it, and add what it prints to the output."""
        command = _running.get()
        if command is not None:
            environment = {**(kwargs.get("env") or os.environ)}
            if secrets := remembered_in(map(str, (*args, *environment.values()))):
                kwargs["env"] = {**environment, settings.SECRETS: json.dumps(secrets)}
        process = await asyncio.create_subprocess_exec(*args, **kwargs)
        if command is not None:
            _record(command.attempt, process.pid)
        for stream in ("stdout", "stderr"):
            reader = getattr(process, stream, None)
            if command is not None and command.is_kept and isinstance(reader, asyncio.StreamReader):
                for method in ("read", "readline"):
                    setattr(reader, method, _noting(command, stream, getattr(reader, method)))
        return process


def _record(attempt: Attempt, pid: int) -> None:
    """Record the process of a command, unless it is interactive: then it is in zrb's own process group."""
    if group_of(pid) == pid:
        from zrb_store.attempt import record_command

        started = start_if_seen(pid)
        try:
            record_command(attempt, pid, started)
        except BaseException:
            kill_group(pid, started)
            raise


def hook_commands(patches: Patches) -> None:
    """Record the commands of CmdTasks, and pass on what they print. zrb itself prints as before."""
    starting = sys.modules[vars(compat.cmd_task)["run_command"].__module__]
    patches.wrap(compat.cmd_task, "run_command", _run_command)
    if getattr(starting, "asyncio", None) is asyncio:
        patches.put(starting, "asyncio", _Asyncio())


async def _run_command(stock: Callable[P, Awaitable[R]], *args: P.args, **kwargs: P.kwargs) -> R:
    attempt = running_attempt()
    if attempt is None:
        return await stock(*args, **kwargs)
    command = _Command(attempt, set(), is_kept=settings.size("ZRB_STORE_OUTPUT_LIMIT") > 0)
    token = _running.set(command)
    try:
        return await stock(*args, **kwargs)
    finally:
        _running.reset(token)
        for output in command.outputs:
            output.ignore(None)  # what is printed now is no line of the command


def running_attempt() -> Attempt | None:
    """Return the attempt that the code runs in, unless it runs in a step or nothing is stored."""
    if "zrb_store.attempt" not in sys.modules:  # no session is stored, and the store is not even loaded
        return None
    from zrb_store.attempt import Attempt
    from zrb_store.xcom import current_attempt

    attempt = current_attempt.get()
    return attempt if isinstance(attempt, Attempt) else None
