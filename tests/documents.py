"""Run a Markdown page: its files, commands and Python code, in the order in which a reader meets them.

A block whose first line is `# NAME` (with a dot in NAME) is a file that the reader saves. A ```python``` block is
executed. If it begins with `>>> `, it is executed as a doctest together with all others of its page.

A ```console``` block contains `$ command` lines, each followed by its output. `...` alone on a line stands for any
lines, and within a line for any text.

A ```sh``` block is for the reader's own machine and is not run.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"\A(?:#!.*\n)?# (\S+\.\w+)\n")
# What differs from run to run: times, durations, process ids.
_VOLATILE = [
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?Z?"), "MOMENT"),
    (re.compile(r"\b\d\d:\d\d:\d\d(\.\d+)?Z?\b"), "CLOCK"),
    (re.compile(r"\b\d+(\.\d+)? ?(ms|s|min|m)\b"), "DURATION"),
    (re.compile(r"\bpid \d+"), "pid PID"),
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


def run_page(page: Path, folder: Path) -> int:
    """Run every block of a page in `folder`, and return how many commands and code blocks were run."""
    environment = {name: text for name, text in os.environ.items() if not name.startswith("ZRB_")}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    # Without buffering, the lines of stdout and stderr come in the order that a terminal shows.
    environment.update(
        PYTHONUNBUFFERED="1", HOME=str(folder), NO_COLOR="1", COLUMNS="100", TZ="UTC", PYTHONPATH=str(page_root(page))
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


def page_root(page: Path) -> Path:
    """Return the root of the project that contains the page."""
    return next(folder for folder in page.resolve().parents if (folder / "pyproject.toml").exists())


def _tells_of_failure(expected: list[str]) -> bool:
    """Whether the page shows that the command fails: by its error message."""
    return any(re.match(r"zrb-store: |zrb xcom: |\w+Error: |Traceback |error: ", line) for line in expected)


def _shell(command: str, folder: Path, environment: dict[str, str]) -> tuple[int, list[str]]:
    """Run a command as it is typed. `export` and `cd` stay in effect until the end of the page."""
    state = folder / ".shell-state"
    script = f'[ -f "{state}" ] && . "{state}"\n{command}\ncode=$?\nexport -p > "{state}"; exit $code'
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    return done.returncode, done.stdout.splitlines()


def matches(expected: list[str], found: list[str]) -> bool:
    """Whether the lines are as expected, apart from what differs from run to run."""
    wanted = [_stable(line) for line in expected]
    got = [_stable(line) for line in found]
    pattern = "".join(
        "(?:.*\n)*?" if line == "..." else re.escape(line).replace(r"\.\.\.", ".*") + "\n" for line in wanted
    )
    return re.fullmatch(pattern, "".join(line + "\n" for line in got)) is not None


def _stable(line: str) -> str:
    for volatile, name in _VOLATILE:
        line = volatile.sub(name, line)
    return line.strip()
