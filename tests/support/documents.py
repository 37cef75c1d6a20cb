"""Run a Markdown page: its files, commands and Python code, in the order in which a reader meets them.

A block whose first line is `# NAME` (with a dot in NAME) is a file that the reader saves. A ```python``` block is
executed. If it begins with `>>> `, it is executed as a doctest together with all others of its page.

A ```console``` block contains `$ command` lines, each followed by its output on a terminal of 100 columns. `...` alone
on a line stands for any lines, and within a line for any text.

The jobs of a ```crontab``` block are started as cron does, once, in a folder that has the page's files and is called
`/srv/NAME` there.

A ```sh``` block is for the reader's own machine and is not run.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import shlex
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import click

from tests.support.terminals import plain, read
from tests.zrb.forked import DESCRIPTOR, ForkServer

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"\A(?:#!.*\n)?# (\S+\.\w+)\n")
_COLUMNS = 100
_DEADLINE = 600.0  # seconds, for a hang
# What differs from run to run: times, durations, process ids.
_VOLATILE = [
    (re.compile(r"\b(\d{4}-)?\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?Z?"), "MOMENT"),
    (re.compile(r"\b\d\d:\d\d:\d\d(\.\d+)?Z?\b"), "CLOCK"),
    (re.compile(r"\b\d+(\.\d+)? ?(ms|s|min|m)\b"), "DURATION"),
    (re.compile(r"\bpid \d+"), "pid PID"),
    (re.compile(r"\w*\.\.\.$"), "..."),  # where the last cell is cut depends on the widths of durations
    (re.compile(r"[ \t]+"), " "),
    (re.compile(r"[─━-]{3,}"), "---"),
]


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    language: str
    text: str
    line: int

    @property
    def file(self) -> str | None:
        """The name of the file that this block is, or None."""
        found = _FILE.match(self.text)
        return found[1] if found else None


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page in order."""
    text = page.read_text(encoding="utf-8")
    return [Block(found[1], found[2], text[: found.start()].count("\n") + 1) for found in _FENCE.finditer(text)]


def commands(text: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the commands of a console block, each with its expected output lines."""
    command: str | None = None
    expected: list[str] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            if command is not None:
                yield command, expected
            command, expected = line[2:], []
        elif line.startswith("> ") and command is not None and not expected:
            command += "\n" + line[2:]
        else:
            expected.append(line)
    if command is not None:
        yield command, expected


def run_page(page: Path, folder: Path, server: ForkServer) -> int:
    """Run every block of a page in an empty folder, compare what is printed, and return how many were run.

    Commands of zrb and zrb-store are forks of the server.
    """
    # What this run of pytest was given is not for one that a page shows.
    environment = {name: text for name, text in os.environ.items() if not name.startswith(("ZRB_", "PYTEST_"))}
    (programs := folder.with_name("programs")).mkdir()
    server.install(programs)
    environment["PATH"] = os.pathsep.join([str(programs), str(Path(sys.executable).parent), environment["PATH"]])
    environment[DESCRIPTOR] = str(server.descriptor())
    # Without buffering, the lines of stdout and stderr come in the order that a terminal shows.
    environment.update(
        PYTHONUNBUFFERED="1",
        HOME=str(folder),
        NO_COLOR="1",
        COLUMNS=str(_COLUMNS),
        TZ="UTC",
        PYTHONPATH=str(page_root(page)),
    )
    ran = 0
    for block in blocks(page):
        where = f"{page.name}:{block.line}"
        if block.file:
            (folder / block.file).write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            doctest = ["-m", "doctest", "-o", "ELLIPSIS", str(page)]
            code = doctest if block.text.startswith(">>> ") else ["-c", block.text]
            done = subprocess.run([sys.executable, *code], cwd=folder, env=environment, capture_output=True, text=True)
            assert done.returncode == 0, f"{where}: {done.stdout}{done.stderr}"
            ran += 1
        elif block.language == "console":
            for command, expected in commands(block.text):
                ran += 1
                ended, found = _shell(command, folder, environment)
                printed = f"{where}: $ {command}\nprinted:\n" + "\n".join(found)
                assert matches(expected, found), printed
                assert ended == 0 or _tells_of_failure(expected), f"{printed}\nand ended with {ended}"
    return ran


def run_crontabs(page: Path, folder: Path) -> int:
    """Start each job of the page's crontabs once, as cron does, and return how many were started.

    cron knows no virtual environment, no working directory and no variable but those of the crontab.
    """
    started = 0
    for block in blocks(page):
        if block.file and block.language in ("python", "sh"):
            (folder / block.file).write_text(block.text, encoding="utf-8")
            (folder / block.file).chmod(0o755)
    (folder / ".venv").symlink_to(sys.prefix)
    for block in (block for block in blocks(page) if block.language == "crontab"):
        environment = {"HOME": str(folder), "SHELL": "/bin/sh", "PATH": "/usr/bin:/bin"}
        prepared: dict[str, str] = {}
        for line in re.sub(r"/srv/\w+", str(folder), block.text).splitlines():
            if variable := re.fullmatch(r"(\w+)=(.*)", line):
                environment[variable[1]] = variable[2]
                continue
            *_, job = line.split(maxsplit=5)
            if prepared != environment:  # the store is there, as after the first night
                upgrade = ["zrb-store", "db", "upgrade"]
                subprocess.run(upgrade, cwd=folder, env=environment, capture_output=True, check=True)
                prepared = dict(environment)
            assert "%" not in job.replace(r"\%", ""), f"cron ends the command at an unescaped %: {line}"
            done = subprocess.run(
                ["/bin/sh", "-c", job.replace(r"\%", "%")],
                cwd=folder,
                env=environment,
                capture_output=True,
                text=True,
                timeout=_DEADLINE,
            )
            said = f"{page.name}:{block.line}: {job} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
            has_run = re.search(r"session \S+ failed: .*`zrb-store resume", done.stderr)  # exits as its command
            assert done.returncode in (0, 1, 3) or has_run, said
            assert "not found" not in done.stderr, said
            started += 1
    return started


_COMMAND = re.compile(r"\b(?:zrb-store|zrb xcom) ([a-z][^|;&`<>\n]*)")


def named_commands(page: Path) -> Iterator[list[str]]:
    """Yield the words of each command of zrb-store that the page names in code, in a block or in a line."""
    text = page.read_text(encoding="utf-8")
    spans = re.findall(r"`((?:zrb-store|zrb xcom) [^`]+)`", _FENCE.sub("", text))
    shown = [
        line
        for block in blocks(page)
        if block.language in ("console", "sh", "crontab")
        for line in block.text.splitlines()
    ]
    for code in [*spans, *shown]:
        for found in _COMMAND.finditer(code):
            try:
                yield shlex.split(found[1])
            except ValueError:  # a quotation that ends in another line
                yield found[1].split()


def unknown_words(words: list[str], app: click.Group) -> list[str]:
    """Return which of the words should be a command of the program or an option of its command, and are none."""
    command: click.Command = app
    while isinstance(command, click.Group):
        inner = command.get_command(click.Context(command), words[0]) if words else None
        if inner is None:
            return words[:1]
        command, words = inner, words[1:]
    if command.context_settings.get("ignore_unknown_options"):
        return []
    options = {"--help", "-h", *(name for one in command.params for name in one.opts)}
    given = words[: words.index("--")] if "--" in words else words
    return [word for word in given if re.match(r"--?[a-z]", word) and word.partition("=")[0] not in options]


def page_root(page: Path) -> Path:
    """Return the root of the project that contains the page."""
    return next(folder for folder in page.resolve().parents if (folder / "pyproject.toml").exists())


def _tells_of_failure(expected: list[str]) -> bool:
    """Whether the page shows that the command fails: by its error message."""
    return any(re.match(r"zrb-store: |zrb xcom: |\w+Error: |Traceback |error: ", line) for line in expected)


def _shell(command: str, folder: Path, environment: Mapping[str, str]) -> tuple[int, list[str]]:
    """Run a command as it is typed on a terminal. `export` stays in effect until the end of the page."""
    state = folder / ".shell-state"
    script = f'[ -f "{state}" ] && . "{state}"\n{command}\ncode=$?\nexport -p > "{state}"; exit $code'
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, _COLUMNS, 0, 0))
    printed, deadline = b"", time.monotonic() + _DEADLINE
    with subprocess.Popen(
        ["bash", "-c", script],
        cwd=folder,
        env={**environment, "TERM": "xterm-256color"},
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        pass_fds=[int(environment[DESCRIPTOR])],
    ) as process:
        os.close(slave)
        try:
            ended = False
            while not ended:
                ended = process.poll() is not None  # before the look, which finds what it has printed
                assert time.monotonic() < deadline, printed.decode()
                while select.select([master], [], [], 0 if ended else 0.05)[0] and (chunk := read(master)):
                    printed += chunk
        finally:
            if process.poll() is None:
                process.kill()
            os.close(master)
    return process.returncode, plain(printed.decode()).replace("\r\n", "\n").splitlines()


def matches(expected: list[str], found: list[str]) -> bool:
    """Whether the lines are as expected, apart from what differs from run to run.

    Where a cell is wrapped depends on the widths of durations: a space may be an end of a line, and before a line that
    continues a cell the other way round.
    """
    pattern = ""
    for line in expected:
        if line.startswith(" " * 20) and pattern.endswith("\n"):
            pattern = pattern.removesuffix("\n") + "[ \n]"
        words = re.escape(_stable(line)).replace(r"\.\.\.", ".*").replace(r"\ ", "[ \n]")
        pattern += "(?:.*\n)*?" if line == "..." else words + "\n"
    return re.fullmatch(pattern, "".join(_stable(line) + "\n" for line in found)) is not None


def _stable(line: str) -> str:
    for volatile, name in _VOLATILE:
        line = volatile.sub(name, line)
    return line.strip()
