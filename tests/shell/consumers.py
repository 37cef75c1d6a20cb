"""`zrb-store consume` in processes of its own, as a shell starts it."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType

from tests.support.commands import without_notices
from tests.support.postgres import wait_until
from tests.support.processes import DEADLINE, Child
from tests.support.scripts import PROGRAM, Ended
from zrb_store import Store, cli
from zrb_store.db.clock import clock
from zrb_store.db.location import store_url
from zrb_store.runtime import lease
from zrb_store.shell.child import EndingSignals


def run_program(
    pipe: Connection, folder: Path, files: tuple[Path, Path], environment: Mapping[str, str], args: tuple[str, ...]
) -> None:
    """Be `zrb-store ARGS`.

    Args:
        pipe: Is not used.
        folder: Where to run.
        files: What gets stdout and stderr.
        environment: Additional variables. One like `module:variable` sets a variable of a module to a number, and
            `lease` the seconds that leases last. With `turned`, SIGUSR1 turns its clock by so many seconds.
        args: The arguments.
    """
    os.setsid()
    os.chdir(folder)
    for number, file in enumerate(files, 1):
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(descriptor, number)
        os.close(descriptor)
    for name in [name for name in os.environ if name.startswith("ZRB_")]:
        del os.environ[name]
    for name, text in environment.items():
        if ":" in name:
            module, variable = name.split(":")
            setattr(importlib.import_module(module), variable, float(text))
        elif name == "lease":
            lease.set_duration(float(text))
        elif name == "turned":
            turn_at_signal(float(text))
        else:
            os.environ[name] = text
    sys.argv = ["zrb-store", *args]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    note_signals(handled_file(folder, os.getpid()))
    cli.main(args)


def turn_at_signal(seconds: float) -> None:
    """Let SIGUSR1 turn the clock of this process."""
    clock.ask_every = 0.01
    signal.signal(signal.SIGUSR1, lambda number, frame: clock.turn(seconds))


def handled_file(folder: Path, pid: int) -> Path:
    """Return the file in which a consumer notes the signals that it has handled."""
    return folder / f"handled-{pid}"


def note_signals(file: Path) -> None:
    """Note in a file each signal that this process has handled."""
    handle = EndingSignals._handle

    def noted(self: EndingSignals, number: int, frame: FrameType | None) -> None:
        handle(self, number, frame)
        with file.open("a") as lines:
            lines.write(f"{number}\n")

    EndingSignals._handle = noted  # type: ignore[method-assign]


class Consumer(Child):
    """A running `zrb-store consume`."""

    def __init__(self, folder: Path, number: int, environment: Mapping[str, str], args: tuple[str, ...]) -> None:
        self._folder = folder
        self._files = folder / f"out-{number}", folder / f"err-{number}"
        super().__init__(run_program, folder, self._files, environment, args)

    @property
    def out(self) -> str:
        """What it has written to stdout."""
        return self._read(0)

    @property
    def err(self) -> str:
        """What it has written to stderr."""
        return self._read(1)

    def wait(self) -> Ended:
        """Wait until it ends."""
        code = self.join()
        return Ended(code, self.out, without_notices(self.err))

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def is_told(self, number: int) -> None:
        """Send it a signal, and wait until it has handled that."""
        os.kill(self.pid, number)
        file = handled_file(self._folder, self.pid)
        wait_until(file.exists, lambda: f"it does not handle {number}: {self.err}", DEADLINE)

    def wait_for(self, line: str) -> None:
        """Wait until it has written this to stderr."""
        wait_until(lambda: line in self.err, lambda: f"no {line!r} in {self.err!r}", DEADLINE)

    def turn_until(self, line: str) -> None:
        """Turn its clock, which it was started for, until it has written this to stderr."""

        def is_written() -> bool:
            self.signal(signal.SIGUSR1)
            return line in self.err

        wait_until(is_written, lambda: f"no {line!r} in {self.err!r}", DEADLINE)

    def _read(self, number: int) -> str:
        file = self._files[number]
        return file.read_text() if file.exists() else ""


class Shell:
    """A folder where consumers of one store run."""

    def __init__(self, folder: Path, location: str) -> None:
        self.folder = folder
        self._stack = ExitStack()
        self._count = 0
        (folder / "zrb-store").write_text(PROGRAM)
        (folder / "zrb-store").chmod(0o700)
        self.url = store_url(location).render_as_string(hide_password=False)
        self.environment = {
            "ZRB_STORE_URL": self.url,
            "PATH": f"{folder}:{os.environ['PATH']}",
            # Pauses that would only cost time.
            "zrb_store.run.deliveries:_FIRST_PAUSE": "0.02",
        }

    def start(self, *args: str, **environment: str) -> Consumer:
        """Start `zrb-store consume ARGS`, and go on."""
        self._count += 1
        everything = {**self.environment, **environment}
        consumer = Consumer(self.folder, self._count, everything, ("consume", *args))
        self._stack.enter_context(consumer)
        return consumer

    def __call__(self, *args: str, **environment: str) -> Ended:
        """Run `zrb-store consume ARGS` until it ends."""
        return self.start(*args, **environment).wait()

    def sh(self, script: str, *options: str, queue: str = "files") -> Ended:
        """Let a shell script consume the queue; `$1` is the value."""
        return self(*self.script(script, *options, queue=queue))

    def start_sh(self, script: str, *options: str, queue: str = "files", **environment: str) -> Consumer:
        """Start a consumer with a shell script."""
        return self.start(*self.script(script, *options, queue=queue), **environment)

    @staticmethod
    def script(script: str, *options: str, queue: str = "files") -> tuple[str, ...]:
        """Return the arguments of a consumer with a shell script."""
        return ("inbox", queue, *options, "--", "sh", "-c", script, "sh", "{}")

    def until_file(self, name: str) -> str:
        """Wait until a script has written this file, and return what it contains."""
        path = self.folder / name
        self.until(lambda: path.exists() and path.read_text().endswith("\n"), f"nobody writes {name}")
        return path.read_text().strip()

    @staticmethod
    def until(condition: Callable[[], bool], otherwise: str) -> None:
        """Wait until a condition holds."""
        wait_until(condition, lambda: otherwise, DEADLINE)

    def close(self) -> None:
        """Kill what still runs."""
        self._stack.close()


def fill(store: Store, *values: object) -> None:
    """Push values to the queue that these tests consume."""
    store.session("inbox").xcom["files"].extend(values)


def shells(folder: Path, location: str) -> Iterator[Shell]:
    """Yield a place for consumers; a fixture."""
    shell = Shell(folder, location)
    try:
        yield shell
    finally:
        shell.close()
