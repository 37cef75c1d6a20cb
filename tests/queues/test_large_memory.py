"""A long text goes in and comes out with at most five times its size in memory (docs/how-to, queues and consumers)."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from zrb_store import Store, codec

pytestmark = pytest.mark.slow

ALLOWED = 5.0
SHORT, LONG = 1024, 12 * 1024 * 1024  # bytes of JSON

# They are made in another process, from this text and a number.
PIECES: dict[str, bytes | str] = {
    "lines": '2026-11-24 08:00:00 "loading"\n',
    "UTF-8": "\u00e9",
    "bytes": b"xyz",
}

# It is read from /proc, since the kernel's ru_maxrss also counts the memory that the parent had before exec.
TELL_PEAK = """
import json, re, sys
from pathlib import Path

def tell_peak():
    print(re.search(r"VmHWM:.*", Path("/proc/self/status").read_text())[0], file=sys.stderr)
"""
PROGRAM = """
from zrb_store import open_store

with open_store() as store:
    for name, SIZE in json.loads(sys.argv[1]).items():
        queue = store.session("s").xcom[name]
        {}
        tell_peak()
"""
COMMANDS = """
from zrb_store.cli import run

for name, file in json.loads(sys.argv[1]).items():
    sys.stdin = open(file)
    assert run([name if word == "QUEUE" else word for word in sys.argv[2:]]) == 0
    tell_peak()
"""


def growth(script: str, *args: str) -> int:
    """Return how much more memory, in bytes, a program has needed at its end than it needed for a short value."""
    # What is freed of less than 32 MiB, C's allocator may keep. It does not if this is set, even to the default.
    env = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(128 * 1024)}
    command = [sys.executable, "-c", TELL_PEAK + script, *args]
    done = subprocess.run(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 0, done.stderr
    # A slow machine may also say there that its server takes long to answer.
    short, long = map(int, re.findall(r"^VmHWM:\s+(\d+) kB$", done.stderr, re.MULTILINE))
    return (long - short) * 1024


@pytest.fixture
def used(store: Store, location: str, monkeypatch: pytest.MonkeyPatch) -> Store:
    """The store that programs and commands use, with a limit that the long value keeps."""
    monkeypatch.setenv("ZRB_STORE_URL", location)
    monkeypatch.setenv("ZRB_STORE_MAX_VALUE", str(2 * LONG))
    return store


def size_in_json(piece: bytes | str) -> int:
    """Return how many bytes of JSON such a piece is in a long value."""
    return codec.encode(piece * 1000).size // 1000


def check(grown: dict[str, int]) -> None:
    """Check how much more memory each program took with the long value than with the short one."""
    ratios = {name: round(number / LONG, 2) for name, number in grown.items()}
    assert all(ratio <= ALLOWED for ratio in ratios.values()), ratios
    assert all(ratio > 0.5 for ratio in ratios.values()), f"{ratios}: was the value there at all?"


@pytest.mark.parametrize("piece", PIECES.values(), ids=list(PIECES))
@pytest.mark.usefixtures("used")
@pytest.mark.long_on_postgresql
def test_a_python_program_pushes_and_takes_a_long_value(piece: bytes | str) -> None:
    actions = {"push": f"queue.push({piece!r} * (SIZE // {size_in_json(piece)}))"}
    actions |= {"peek": "value = queue.peek()", "pop": "value = queue.pop()"}
    sizes = json.dumps({"short": SHORT, "long": LONG})
    check({name: growth(PROGRAM.format(action), sizes) for name, action in actions.items()})


@pytest.mark.usefixtures("used")
@pytest.mark.long_on_postgresql
def test_commands_push_and_take_a_long_text(tmp_path: Path) -> None:
    line = str(PIECES["lines"])
    files = {"short": tmp_path / "short", "long": tmp_path / "long"}
    files["short"].write_text(line)
    files["long"].write_text(line * (LONG // size_in_json(line)))
    commands = {
        "push": ["push", "s", "QUEUE", "-", "--text"],
        "get": ["get", "s", "QUEUE"],
        "get --raw": ["get", "s", "QUEUE", "--raw"],
        "pop": ["pop", "s", "QUEUE"],
    }
    named = json.dumps({name: str(file) for name, file in files.items()})
    check({name: growth(COMMANDS, named, *words) for name, words in commands.items()})
