"""Alerts of `check`, and commands of ZRB_STORE_NOTIFY that write down what they are told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.commands import Commands
from tests.support.postgres import wait_until
from tests.support.sessions import parse_lines
from zrb_store import Store
from zrb_store.run import RunSpec
from zrb_store.watch import notify

PREFIX = "ZRB_STORE_"


class Told:
    """A folder in which each start of the command leaves a file with its environment.

    Attributes:
        folder: The folder.
        command: The value of ZRB_STORE_NOTIFY.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.command = f"env -0 > '{folder}'/$$ && mv '{folder}'/$$ '{folder}'/$$.told"

    def so_far(self) -> list[dict[str, str]]:
        """Return the variables of each start whose command has ended, without ZRB_STORE_ before their names."""
        files = sorted(self.folder.glob("*.told"), key=lambda file: file.stat().st_mtime_ns)
        return [_variables(file.read_bytes()) for file in files]

    def all(self) -> list[dict[str, str]]:
        """Wait for the commands that this process has started, and return the variables of each."""
        notify.wait_for_all()
        return self.so_far()

    def until(self, count: int) -> list[dict[str, str]]:
        """Wait until as many commands have ended, whoever started them, and return the variables of each."""
        wait_until(lambda: len(self.so_far()) >= count, lambda: f"told only {self.so_far()}")
        return self.so_far()


def _variables(environment: bytes) -> dict[str, str]:
    pairs = (line.partition("=") for line in environment.decode().split("\0"))
    return {name.removeprefix(PREFIX): text for name, _, text in pairs if name.startswith(PREFIX)}


def events(told: list[dict[str, str]]) -> list[tuple[str, str | None]]:
    """Return event and session of each start, in alphabetical order."""
    return sorted(((one["EVENT"], one.get("SESSION")) for one in told), key=str)


def end(store: Store, name: str, status: str = "failed", **settings: Any) -> None:
    """Let a run of a session end in some way."""
    store.session(name).prepare(RunSpec(**{"task": "load", "project": "/srv/etl", **settings})).start().end(status)


def reported(command: Commands, *args: str) -> list[tuple[str, str | None]]:
    """Return event and session of each line, and compare the exit code with their number."""
    result = command("check", "--format", "jsonl", *args)
    assert result.err == ""
    lines = parse_lines("alert", result.out)
    assert result.code == (1 if lines else 0)
    return [(line["event"], line["session"]) for line in lines]
