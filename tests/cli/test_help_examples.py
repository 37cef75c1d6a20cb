"""Every example of a help page is run as a person would type it, in a store that has what the examples name."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from zrb_store import Store, cli, open_store, step, wings
from zrb_store.attempt.waits import answers_in

pytestmark = [pytest.mark.slow, pytest.mark.on_sqlite, pytest.mark.needs(*wings.NAMES)]

ROOT = Path(__file__).resolve().parents[2]
# Each has its own tests: these need zrb, a running process, a port, or another shell.
ELSEWHERE = ("resume", "replay", "stop", "page", "completion")
PAGE = (ROOT / "docs" / "reference" / "commands.md").read_text(encoding="utf-8")
EXAMPLES = [
    (section.partition("\n")[0], line.strip())
    for section in re.split(r"^## ", PAGE, flags=re.MULTILINE)
    for block in re.findall(r"^Examples?:\n((?:  .+\n)+)", section, re.MULTILINE)
    for line in block.splitlines()
    if section.partition("\n")[0] not in ELSEWHERE
]
# They find something, which is their purpose.
CODES = {"check": 1, "diff": 1, "wait": 75}
# They belong into a script of `run`.
INSIDE = ("step", "result", "wait")
# They start other processes, like what only a shell understands. All else runs in this process.
IN_A_PROCESS = ("run", "consume", *INSIDE)
# Where an example names a place that no test may touch.
PLACES = {
    r"postgresql\S*://zrb@db\.example/jobs": "other.db",
    r"postgresql://owner@db/shop": "shop.db",
    r"/var/lib/node_exporter/": "",
}


class Broken(Exception):
    """The error with which tasks fail here."""


def etl(store: Store, name: str, *, broken: bool) -> None:
    """Run a session whose task `load` has 60 steps, and fails twice if it is broken."""
    run = store.session(name).run(task="load", project="/srv/etl")
    with contextlib.suppress(Broken), run:
        for _ in range(2 if broken else 1):
            with contextlib.suppress(Broken), run.attempt("load") as attempt:
                for number in range(1, 61):
                    step(f"page {number}", str, number)
                if broken:
                    raise Broken("no column 'price'")
                attempt.complete({"total": 3, "rows": [1, 2]})
        if broken:
            with contextlib.suppress(Broken), run.attempt("pay"):
                step("charge", fail, once=True)
            raise Broken


def fail() -> None:
    raise Broken("the bank is closed")


def fill(store: Store) -> None:
    """Make what the examples name: sessions, dead values, tasks with steps, results."""
    files = store.session("inbox").xcom["files"]
    files.max_deliveries = 1
    files.extend(f"{number}.csv" for number in range(1, 13))
    store.session("inbox").xcom["days"].extend(f"2026-11-{day}" for day in range(20, 30))
    with store.session("worker").run(again=True) as run:
        for number in range(1, 10):
            with contextlib.suppress(Broken), run.attempt(f"convert {number}"):
                files.pop()
                if number in (7, 9):  # dead
                    raise Broken
    etl(store, "etl-2026-11-23", broken=False)
    etl(store, "etl-2026-11-24", broken=True)
    for name in ("test-1", "test-2"):
        store.session(name).xcom["q"].push(1)
    night = store.session("etl-2026-11-24").xcom
    night["load"].push({"total": 3})
    night["report"].push(b"%PDF")
    with store.session("nightly").run(task="/srv/nightly.py") as run:
        run.task("load", dict, total=3, rows=[1])
    from tests.agents.steps import new_step

    for name, question in (("triage-7", "approval call-3"), ("triage-8", "budget")):
        with contextlib.suppress(SystemExit), store.session(name).run() as run, run.attempt("triage") as attempt:
            answers_in(attempt, [new_step(question)._replace(awaited_queue=f"triage: {question}")])
    etl(store, "etl-2026-11-25", broken=False)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store, an export, and the programs that examples start."""
    folder = tmp_path_factory.mktemp("examples")
    with open_store(folder / "xcom.db") as store:
        fill(store)
    with open_store(folder / "etl.db") as store:
        store.session("etl").xcom["q"].push(1)
    with contextlib.closing(sqlite3.connect(folder / "shop.db")) as shop:
        shop.execute("CREATE TABLE orders (id INTEGER)")
    (folder / "empty").mkdir()
    (folder / "shop.sql").touch()
    (folder / "day.txt").write_text("2026-11-24\n", encoding="utf-8")
    for name, script in {
        "convert.sh": "cat > /dev/null",
        "ssh": 'shift; ZRB_STORE_URL=there.db exec "$@"',
        **dict.fromkeys(("aws", "backup.sh", "pg_dump", "psql"), "touch shop.sql"),
    }.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        (folder / name).chmod(0o755)
    environment = {**clean_environment(folder), "ZRB_STORE_URL": "etl.db"}
    with (folder / "sessions.jsonl").open("wb") as file:
        subprocess.run(["zrb-store", "export"], cwd=folder, env=environment, stdout=file, check=True)
    return folder


def clean_environment(folder: Path) -> dict[str, str]:
    """Return an environment without settings, in which the programs of the folder are found, and no browser opens."""
    environment = {name: text for name, text in os.environ.items() if not name.startswith("ZRB_")}
    path = f"{folder}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    return {**environment, "PATH": path, "HOME": str(folder), "BROWSER": "true", "PYTHONPATH": str(ROOT)}


@pytest.mark.parametrize(("command", "example"), EXAMPLES, ids=[example for _, example in EXAMPLES])
def test_each_example_of_a_help_text_runs(
    command: str,
    example: str,
    filled: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "job"
    shutil.copytree(filled, folder)
    (folder / ".zrb").mkdir()
    shutil.copy(folder / "xcom.db", folder / ".zrb" / "xcom.db")
    for place, instead in PLACES.items():
        example = re.sub(place, instead, example)
    if "--forever" in example:
        example = f"timeout -s TERM 5 {example}"
    environment = clean_environment(folder)
    if command == "import":
        environment["ZRB_STORE_URL"] = "new.db"
    if command not in IN_A_PROCESS and not re.search(r"[|<>~]|\$\(", example):
        monkeypatch.chdir(folder)
        for name, text in environment.items():
            monkeypatch.setenv(name, text)
        code = cli.run(shlex.split(example)[1:])
        assert (code, "Traceback" in capfd.readouterr().err) == (CODES.get(command, 0), False)
        return
    done: Any = subprocess.run(
        [*(["zrb-store", "run", "inside", "--"] if command in INSIDE else []), "bash", "-o", "pipefail", "-c", example],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    expected = (0, 124) if "--forever" in example else (CODES.get(command, 0),)
    assert done.returncode in expected, f"{example}\n{done.stdout}{done.stderr}"
    assert "Traceback" not in done.stderr
