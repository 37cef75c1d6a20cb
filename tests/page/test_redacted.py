"""`report --redact`: what strangers are shown of a session, and what not. Also the mode of a report's file."""

from __future__ import annotations

import contextlib
import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.page.documents import plain
from tests.support.commands import Commands
from tests.support.scripts import Scripts
from tests.support.sessions import check
from zrb_store import Store, wait
from zrb_store.db import tables
from zrb_store.page import redaction
from zrb_store.page.content import describe
from zrb_store.page.redaction import redacted
from zrb_store.run import RunSpec

KEPT = {"status", "started_at", "ended_at", "type", "state", "origin", "seq", "id", "number", "pushed_by"}


def leaves(tree: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the plain data in a tree, each with the name that it has."""
    if isinstance(tree, dict):
        for key, item in tree.items():
            yield from leaves(item, key)
    elif isinstance(tree, list):
        for item in tree:
            yield from leaves(item, name)
    else:
        yield name, tree


@pytest.fixture
def telling(store: Store, location: str, command: Commands, tmp_path: Path) -> Store:
    """A store with three sessions, in which everything that somebody may say contains Zk7."""
    session = store.session("s")
    spec = RunSpec(task="/srv/Zk7/job.py", project="/srv/Zk7", inputs={"day": "Zk7"}, command=["job", "Zk7"])
    with session.prepare(spec) as run:
        with run.attempt("load") as attempt:
            session.xcom["rows"].push({"Zk7": ["Zk7"]})
            attempt.step("page Zk7", session.xcom["rows"].push, "Zk7 of a step")
            attempt.log("Zk7")
            attempt.fail(ValueError("Zk7"))
        with run.attempt("load") as attempt:
            session.xcom["rows"].push({"Zk7": "Zk7"})
            session.xcom["rows"].push("Zk7" * 50_000)
            session.xcom["rows"].pop()
            attempt.fail(KeyError("Zk7"))
        run.end("failed")
    spec = RunSpec(command=["job", "Zk7"], inputs={"day": "Zk7"})
    with contextlib.suppress(ZeroDivisionError), session.prepare(spec):
        raise ZeroDivisionError("Zk7")
    waits = store.session("waits")
    with contextlib.suppress(SystemExit), waits.prepare(RunSpec(command=["job", "Zk7"])) as run, run.attempt("ask"):
        wait("answers", say="Zk7?")
    for value in '"Zk7"', '"Zk7 2"':
        command.ok("push", "s", "rows", value)
    command.ok("pop", "s", "rows")
    store.session("s").xcom["spoilt"].push("Zk7 3")
    command("replace", "s/spoilt#1", '"Zk7 4"', "--reason", "Zk7 was wrong")
    command("drop", "s/spoilt#1", "--reason", "Zk7 is wrong")
    command("ack", "s", "--reason", "Zk7 is known")
    command("mark", "s", "load", "completed", "--result", '"Zk7"')
    with store.session("other").run() as run, run.attempt("curl Zk7"):
        session.xcom["rows"].pop()
    argv = ("sh", "-c", "echo Zk7; test -e fixed || exit 3", "sh", "Zk7")  # which also name the task
    scripts = Scripts(tmp_path, location)
    for code in (3, 0):
        words = ("zrb-store", "run", "of-command", "--input", "day=Zk7", "--task", shlex.join(argv), "--", *argv)
        assert scripts.run(*words)[0] == code
        scripts.write("fixed", "")
    who = "\"user\" = 'Zk7-amy', host = 'Zk7-host', pid = 7777777"
    store.database.execute(sa.text(f"UPDATE zrb_run SET {who}, folder = '/srv/Zk7'"))
    store.database.execute(sa.text(f"UPDATE zrb_change SET {who}"))
    return store


SHOWN = {
    "session": ["name", "status", "tasks"],
    "run": ["origin", "status", "python_version", "error_type"],
    "attempt": ["task", "step_of", "kind", "status", "error_type"],
    "queue": ["name"],
    "value": ["state", "type"],
    "replaced": ["type"],
    "change": ["session", "action", "detail"],  # of which strangers see the names of values and attempts elsewhere
}
"""The columns whose texts strangers may see."""
WORDS = {"failed", "null", "zrb-store", "of-command"}  # which a report may have for another reason


def texts_of(store: Store) -> Iterator[tuple[str, str]]:
    """Yield every text of a store, also those within JSON, but for those that strangers may see."""
    for table in tables.metadata.sorted_tables:
        for row in store.database.execute(sa.select(table)):
            for column, cell in zip(table.columns, row, strict=True):
                name = table.name.removeprefix("zrb_")
                if isinstance(cell, str) and column.name not in SHOWN.get(name, []):
                    yield from ((f"{name}.{column.name}", text) for text in within(cell))


def within(text: str) -> Iterator[str]:
    yield text
    with contextlib.suppress(ValueError):
        for key, item in leaves(json.loads(text)):
            yield key
            yield str(item)


@pytest.mark.slow
@pytest.mark.promise(number=9)
@pytest.mark.promise(number=14)
@pytest.mark.parametrize("session", ["s", "of-command", "waits"])
@pytest.mark.parametrize("format_", ["html", "svg"])
def test_strangers_see_no_text_of_the_store(telling: Store, command: Commands, session: str, format_: str) -> None:
    shown = plain(command.ok("report", session, "--redact", "--format", format_))
    whole = plain(command.ok("report", session, "--format", format_))
    found = list(texts_of(telling))
    assert {"session.path", "run.command", "run.host", "attempt.step", "value.data"} <= {place for place, _ in found}
    assert "Zk7" in whole
    assert [pair for pair in found if len(pair[1]) > 3 and pair[1] not in WORDS and pair[1] in shown] == []
    assert ("Zk7" in shown, "7777777" in shown) == (False, False)


@pytest.mark.slow
def test_strangers_see_structure_times_and_types(telling: Store, command: Commands) -> None:
    report = describe(telling.database, "s")
    whole, shown = check("report", report.to_json()), check("report", redacted(report).to_json())
    assert [pair for pair in leaves(shown) if pair[0] in KEPT] == [pair for pair in leaves(whole) if pair[0] in KEPT]
    page = command.ok("report", "s", "--redact")
    for text in ("run 2 failed", "ValueError", "This report is for strangers", "job.py"):
        assert text in page


def test_what_strangers_see_is_listed() -> None:
    for kind, names in redaction._SHOWN.items():
        assert set(names.split()) <= set(kind.__annotations__), kind


@pytest.mark.on_sqlite
@pytest.mark.parametrize("format_", ["html", "svg"])
def test_the_file_is_for_its_user_alone(filled: Store, command: Commands, tmp_path: Path, format_: str) -> None:
    file = tmp_path / "report"
    file.touch(0o644)
    command.ok("report", "etl-24", "--format", format_, "-o", str(file))
    assert file.stat().st_mode & 0o777 == 0o600
