"""`report --redact`: what strangers are shown of a session, and what not. Also the mode of a report's file."""

from __future__ import annotations

import base64
import gzip
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.commands import Commands
from tests.sessions import check
from zrb_store import Store
from zrb_store.inspect.report import describe, redacted

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
def telling(store: Store, command: Commands) -> Store:
    """A store with a session that says Zk7 wherever something can be said."""
    session = store.session("s")
    with session.run(task="/srv/Zk7/job.py", project="/srv/Zk7", inputs={"day": "Zk7"}, command=["job", "Zk7"]) as run:
        with run.attempt("load") as attempt:
            session.xcom["rows"].push({"Zk7": ["Zk7"]})
            attempt.step("page Zk7", str, "Zk7")
            attempt.log("Zk7")
            attempt.fail(ValueError("Zk7"))
        with run.attempt("load") as attempt:
            session.xcom["rows"].push({"Zk7": "Zk7"})
            session.xcom["rows"].push("Zk7" * 50_000)
            session.xcom["rows"].pop()
            attempt.fail(KeyError("Zk7"))
        run.end("failed")
    command.ok("push", "s", "rows", '"Zk7"')
    command.ok("pop", "s", "rows")
    command.ok("mark", "s", "load", "completed", "--result", '"Zk7"')
    who = "\"user\" = 'Zk7-amy', host = 'Zk7-host', pid = 7777777"
    store.database.execute(sa.text(f"UPDATE zrb_run SET {who}, folder = '/srv/Zk7'"))
    store.database.execute(sa.text(f"UPDATE zrb_change SET {who}"))
    return store


@pytest.mark.promise(number=9)
def test_strangers_see_structure_times_and_types(telling: Store, command: Commands, tmp_path: Path) -> None:
    report = describe(telling.database, "s")
    whole, shown = check("report", report.to_json()), check("report", redacted(report).to_json())
    assert "Zk7" in str(whole)
    assert [pair for pair in leaves(shown) if "Zk7" in str(pair[1]) or pair[1] == 7777777] == []
    assert [pair for pair in leaves(shown) if pair[0] in KEPT] == [pair for pair in leaves(whole) if pair[0] in KEPT]
    file = tmp_path / "s.html"
    command.ok("report", "s", "--redact", "-o", str(file))
    page = file.read_text()
    before, packed, after = re.split(r'(?<=id="description">)([^<]+)', page)
    plain = before + gzip.decompress(base64.b64decode(packed)).decode() + after
    assert "Zk7" not in plain
    assert "7777777" not in plain
    for text in ("run 1 failed", "ValueError", "This report is for strangers", "job.py"):
        assert text in page


@pytest.mark.on_sqlite
def test_a_trace_cannot_be_redacted(filled: Store, command: Commands) -> None:
    refused = command("report", "etl-24", "--redact", "--format", "perfetto")
    assert (refused.code, "--redact is for HTML" in refused.err) == (2, True)


@pytest.mark.on_sqlite
@pytest.mark.parametrize("format_", ["html", "perfetto"])
def test_the_file_is_for_its_user_alone(filled: Store, command: Commands, tmp_path: Path, format_: str) -> None:
    file = tmp_path / "report"
    file.touch(0o644)
    command.ok("report", "etl-24", "--format", format_, "-o", str(file))
    assert file.stat().st_mode & 0o777 == 0o600
