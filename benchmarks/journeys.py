"""Count the rooms that a journey through the code crosses: `python -m benchmarks.journeys [--functions]`.

For each journey it prints how many files of the package have functions that ran, and how many functions ran; with
`--functions` also their names. First it prints the size of the package.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "zrb_store"

# Runs first in the process that is observed. The import of a file counts if a class or another block in it runs then.
OBSERVER = f"""
import atexit, json, os, sys, threading
package, functions = {str(PACKAGE)!r} + os.sep, set()

def observe(frame, event, argument):
    if event != "call" or not frame.f_code.co_filename.startswith(package):
        return
    file, name = frame.f_code.co_filename, frame.f_code.co_qualname
    if name != "<module>":
        functions.add((file, name))

def begin():
    threading.setprofile_all_threads(observe) if hasattr(threading, "setprofile_all_threads") else None
    threading.setprofile(observe)
    sys.setprofile(observe)

def end():
    sys.setprofile(None)
    threading.setprofile(None)
    # A copy: threads that began before go on, and are observed.
    ran = json.dumps(sorted((name[len(package):], function) for name, function in functions.copy()))
    with open(os.environ["COUNTED"], "w") as file:
        file.write(ran)
"""

TASKS = """
import zrb_store.plugin
from zrb import Task, cli

def load(ctx):
    rows = ctx.xcom["extract"].pop()
    if not ctx.env.get("REPAIRED"):
        raise ValueError(rows)
    return rows

extract = Task(name="extract", action=lambda ctx: [1, 2])
cli.add_task(Task(name="load", upstream=extract, action=load, retries=0))
"""

IN_ATTEMPT = """
from zrb_store import open_store
with open_store("runs.db") as store, store.session("{session}").run() as run, run.attempt("load") as attempt:
    {before}
    begin()
    {journey}
    end()
"""

DELIVERIES = """
from zrb_store import open_store
with open_store("runs.db") as store, store.session("worker").run() as run:
    queue = store.session("inbox").xcom["files"]
    queue.extend([1, 2])
    begin()
    for delivery in run.consume(queue, wait=0):
        with delivery:
            pass
    end()
"""

COMMAND = """
import runpy
sys.argv = {argv!r}
atexit.register(end)
begin()
runpy.run_path({program!r}, run_name="__main__")
"""


Ran = list[tuple[str, str]]  # the file and the name of each function


def counted(folder: Path, code: str, **settings: str) -> Ran:
    """Run code in a process of its own, and return the functions that ran."""
    result = folder / "counted.json"
    result.unlink(missing_ok=True)
    environ = {**os.environ, "ZRB_STORE_URL": str(folder / "runs.db"), "COUNTED": str(result), **settings}
    argv = [sys.executable, "-c", OBSERVER + code]
    done = subprocess.run(argv, cwd=folder, env=environ, capture_output=True, text=True, check=False)
    if not result.exists():  # a command may fail, and has its functions then
        raise RuntimeError(f"nothing was observed: {done.stderr}")
    return [(file, function) for file, function in json.loads(result.read_text())]


def is_editable(folder: Path) -> bool:
    """Whether a process in another folder imports the package that is observed."""
    code = "import zrb_store; print(zrb_store.__file__)"
    found = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    return Path(found.stdout.strip()).parent == PACKAGE


def command(*argv: str) -> str:
    """Return code that runs a program that is installed beside this Python."""
    program = str(Path(sys.executable).with_name(argv[0]))
    return COMMAND.format(argv=list(argv), program=program)


def journeys(folder: Path) -> dict[str, Ran]:
    """Return what ran on each journey."""
    (folder / "zrb_init.py").write_text(TASKS)
    push = IN_ATTEMPT.format(
        session="push", before='attempt.xcom["files"].push(0)', journey='attempt.xcom["files"].push(1)'
    )
    step = IN_ATTEMPT.format(session="step", before="pass", journey='attempt.step("count", len, "abc")')
    named = {"ZRB_STORE_SESSION": "nightly"}
    return {
        "push": counted(folder, push),
        "step": counted(folder, step),
        "two deliveries of `consume`": counted(folder, DELIVERIES),
        "`zrb load`, two tasks": counted(folder, command("zrb", "load"), **named),
        "`zrb xcom resume`": counted(folder, command("zrb", "xcom", "resume", "nightly"), REPAIRED="1"),
        "`show`": counted(folder, command("zrb-store", "show", "nightly")),
    }


def main() -> None:
    """Print both tables."""
    with tempfile.TemporaryDirectory() as folder:
        if not is_editable(Path(folder)):
            sys.exit(f"{PACKAGE} is not what {sys.executable} imports: install it by `pip install -e .`")
        ran = journeys(Path(folder))
    files = [path for path in PACKAGE.rglob("*.py") if "_migrations" not in path.parts]
    texts = [path.read_text(encoding="utf-8") for path in files]
    shown = [path for path in PACKAGE.iterdir() if not path.name.startswith((".", "__pycache__"))]
    lines, untyped = (sum(len(re.findall(pattern, text)) for text in texts) for pattern in (r"\n", r"\bAny\b"))
    print(f"{len(files)} Python files, {lines:,} lines, {len(shown)} entries, {untyped:,} times `Any`\n")
    print("| journey | files | functions |\n|---|---|---|")
    for name, functions in ran.items():
        print(f"| {name} | {len({file for file, _ in functions})} | {len(functions)} |")
    if "--functions" in sys.argv:
        for name, functions in ran.items():
            print(f"\n{name}:")
            for file, group in itertools.groupby(functions, key=lambda each: each[0]):
                print(f"  {file}: {', '.join(function for _, function in group)}")


if __name__ == "__main__":
    main()
