"""A shell command that is started and waited for in the background, for ten seconds at most."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping
from typing import IO

from zrb_store.safe_text import mask_printed, one_line

PATIENCE = 10.0
"""Seconds that a command is waited for. After that it goes on alone."""
_TAIL = 4096  # bytes of its output in which its last line is looked for
_LONGEST = 200  # characters of that line

_log = logging.getLogger("zrb_store")


class BackgroundCommands:
    """The commands that this process has started. At its end it waits for them, but not longer than that."""

    def __init__(self) -> None:
        self._pid = 0
        self._waiting: list[tuple[threading.Thread, float]] = []
        self._alone: list[subprocess.Popen[bytes]] = []

    def start(self, name: str, command: str, environment: Mapping[str, str]) -> None:
        """Start a command by the shell. If it fails, or takes long, a warning is logged.

        It gets a session of its own, so that neither the end of this process nor Ctrl-C ends it. What it prints is kept
        from our output, which may be a pipe that somebody reads to its end.

        Args:
            name: What warnings call it.
            command: The command.
            environment: Its environment.
        """
        try:
            printed = tempfile.TemporaryFile()  # noqa: SIM115 - the thread closes it
            process = subprocess.Popen(
                ["/bin/sh", "-c", command],
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            _log.warning("%s cannot be started: %s", name, error)
            return
        # A daemon: the interpreter must not wait for it any longer than we do.
        thread = threading.Thread(target=self._wait, args=(name, process, printed), daemon=True)
        if self._pid != os.getpid():  # the first one of this process, which may be a fork of another one
            self._pid = os.getpid()
            self._waiting = []
            atexit.register(self.wait_for_all)
        self._waiting = [each for each in self._waiting if each[0].is_alive()]
        try:
            thread.start()
        except RuntimeError:  # the interpreter ends, or there are too many: the command goes on alone
            printed.close()
            self._alone.append(process)  # Python warns if the object of a running process is deleted
            return
        self._waiting.append((thread, time.monotonic() + PATIENCE))

    def _wait(self, name: str, process: subprocess.Popen[bytes], printed: IO[bytes]) -> None:
        with printed:
            try:
                code = process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                _log.warning("%s still runs after %.0f s, and is not waited for any longer", name, PATIENCE)
            else:
                if code:
                    how = f"failed with exit code {code}" if code > 0 else f"was ended by signal {-code}"
                    said = _last_line(printed)
                    _log.warning("%s %s%s", name, how, f": {said}" if said else "")
                return
        process.wait()  # no zombie is left

    def wait_for_all(self) -> None:
        """Wait for the commands of this process, for each at most `PATIENCE` seconds from its start."""
        if self._pid != os.getpid():
            return
        with contextlib.suppress(KeyboardInterrupt):
            for thread, until in self._waiting:
                thread.join(max(0.0, until - time.monotonic() + 0.5))  # the thread has to log its warning


def _last_line(printed: IO[bytes]) -> str:
    printed.seek(0, os.SEEK_END)
    printed.seek(max(0, printed.tell() - _TAIL))
    # Masked before it is divided: of a secret with several lines, one alone may not be recognised.
    lines = mask_printed(printed.read().decode(errors="backslashreplace")).strip().splitlines()
    return one_line(lines[-1])[:_LONGEST] if lines else ""


_commands = BackgroundCommands()
start = _commands.start
"""Start a shell command of this process (`BackgroundCommands.start`)."""
wait_for_all = _commands.wait_for_all
"""Wait for them (`BackgroundCommands.wait_for_all`). At the end of the process this happens by itself."""
