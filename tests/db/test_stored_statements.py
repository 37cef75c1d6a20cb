"""Statements are built when needed, and their SQL on SQLite is stored: what users wait for needs no SQLAlchemy."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.sessions import etl, inbox
from zrb_store import Store, open_store
from zrb_store.db import core
from zrb_store.db.tables import session
from zrb_store.queries import attempts, values

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.smoke
def test_what_users_wait_for_runs_without_sqlalchemy(tmp_path: Path) -> None:
    location = tmp_path / "store.db"
    with open_store(location) as store:
        inbox(store, "a.csv", "b.csv", "c.csv")
        etl(store, "etl-24", broken=True)
        etl(store, "etl-25", broken=False)
    commands = [
        "list",
        "list --limit 1",
        "show etl-24",
        "show etl-24 --format json",
        "show etl-24 --live",
        "get inbox files",
        "get inbox files --seq 2",
        "get etl-25 --result report",
        "log etl-24",
        "push inbox files 7",
        "push new queue 7",
        "pop inbox files",
        "last report --any-project",
        "trace inbox/files#1",
        "diff etl-24 etl-25",
        "pin etl-25",
        "rm new",
        "prune --older-than 9d",
    ]
    code = (
        "import sys; sys.modules['sqlalchemy'] = None; from zrb_store.cli import run\n"
        f"for words in {commands!r}: print('=', words, '=', run(words.split()))"
    )
    environment = {**os.environ, "ZRB_STORE_URL": str(location), "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    codes = [line.split(" = ")[1] for line in done.stdout.splitlines() if line.startswith("= ")]
    assert (codes, done.stderr) == (
        [*["0"] * 14, "1", "0", "0", "0"],
        "",
    )  # two sessions differ


@pytest.mark.slow
@pytest.mark.needs("shell")
def test_a_script_runs_without_sqlalchemy(tmp_path: Path) -> None:
    step = f"{sys.executable} -m zrb_store step one -- "
    for name, what in (("good.sh", "true"), ("bad.sh", "false")):
        (tmp_path / name).write_text(step + what)
    code = (
        "import sys; from zrb_store.cli import run\n"
        "for name in ('good', 'bad'): print(run(['run', name, '--', 'sh', name + '.sh']))\n"
        "print('sqlalchemy' in sys.modules)"
    )
    environment = {**os.environ, "ZRB_STORE_URL": "store.db", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=True)
    assert done.stdout.split() == ["0", "1", "False"], done.stderr


@pytest.mark.slow
def test_a_program_runs_without_sqlalchemy(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['sqlalchemy'] = None; from zrb_store import open_store\n"
        "store = open_store(sys.argv[1])\n"
        "with store.session('s').run() as run:\n"
        "    for name in ('first', 'second'):\n"
        "        try:\n"
        "            with run.attempt(name) as attempt:\n"
        "                attempt.xcom['q'].push(1)\n"
        "                attempt.step('page', len, 'abc')\n"
        "                attempt.xcom['q'].pop()\n"
        "                attempt.xcom['q'].extend([1, 2, 3])\n"
        "                list(attempt.xcom['q']), len(attempt.xcom['q']), attempt.xcom['q'][1]\n"
        "                if name == 'second': raise ValueError\n"
        "        except ValueError:\n"
        "            pass\n"
        "print(store.session('s').status)"
    )
    open_store(tmp_path / "store.db").close()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, str(tmp_path / "store.db")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert (done.stdout, done.stderr) == ("failed\n", "")


def test_a_stored_statement_is_what_its_function_makes() -> None:
    found = core.Compiled(*core._stored(attempts._fail().key) or pytest.fail("it is not stored"))
    assert found == core.compiled(core.compiling.dialect("sqlite"), attempts._fail().construct)
    assert found.writes


def test_a_function_returns_one_statement_for_the_same_arguments() -> None:
    assert values._peek("sqlite", True) is values._peek("sqlite", True)
    assert values._peek("sqlite", True) is not values._peek("sqlite", False)
    keys = [each.key for each in (values._peek("sqlite", False), values._push("sqlite", True, False, False, False))]
    assert keys == [
        "zrb_store.queries.values._peek('sqlite', False)",
        "zrb_store.queries.values._push('sqlite', True, False, False, False)",
    ]


def test_what_is_stored_counts_only_for_the_sources_it_was_made_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = values._count("sqlite").key
    assert core._stored(key) is not None
    package = tmp_path / "zrb_store"
    for folder in ("db", "queries"):
        shutil.copytree(ROOT / "zrb_store" / folder, package / folder, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(core, "PATH", package / "db" / core.PATH.name)
    read = partial(core._lines.__wrapped__, core.PATH)
    assert json.dumps(key) in read()
    with (package / "queries" / "clock.py").open("a") as module:
        module.write("# changed\n")
    assert read() == {}
    core.PATH.unlink()
    assert read() == {}


def test_a_statement_is_looked_up_once(store: Store) -> None:
    queue = store.session("s").xcom["q"]
    for _ in range(2):
        queue.push(1)
        missed = core._once.cache_info().misses
    queue.push(1)
    assert core._once.cache_info().misses == missed


def test_each_line_of_the_file_is_found() -> None:
    content = core.PATH.read_text(encoding="utf-8")
    assert len(json.loads(content)) == content.count("\n") - 1
    assert core._stored("zrb_store.db.nothing()") is None


def test_threads_build_one_alias() -> None:
    alias = core.made_once(lambda: session.alias("one"))
    got: list[Any] = []
    threads = [threading.Thread(target=lambda: got.append(alias())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(each) for each in got}) == 1
