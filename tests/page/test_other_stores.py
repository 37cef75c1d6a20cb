"""Pages of stores that other tests fill: with damaged rows, with secrets, and with the names that agents use."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from tests.page.documents import plain
from tests.page.server import Server
from tests.support.commands import Commands
from tests.support.damage import damage, fill_all_tables
from zrb_store import Store, step
from zrb_store.db.rows import leaving_out
from zrb_store.page.content import describe
from zrb_store.page.pages import Question, read_list


def test_a_page_names_a_damaged_row(filled: Store, small_chunks: None) -> None:
    fill_all_tables(filled)
    damage(filled, "zrb_session")
    with leaving_out():
        found = read_list(filled.database, Question({}, {}, False, "zrb-store"))
    assert "zrb_session name=etl-24 (status)" in found.context["damage"]
    assert [each.session.name for _, group in found.context["groups"] for each in group] == ["etl-25", "inbox"]


@pytest.mark.promise(number=11)
@pytest.mark.on_sqlite
def test_a_page_shows_no_agent(store: Store, location: str) -> None:
    with store.session("odd").run() as run, run.attempt("load"):
        step("desk: tool x 1", lambda: {"kind": "unknown", "value": "?"})
    with contextlib.closing(Server(location)) as server:
        _, page = server.get("/session/odd")
    assert "desk: tool x 1" in page
    assert "conversation-title" not in page


@pytest.mark.promise(number=9)
@pytest.mark.on_sqlite
def test_no_page_has_a_secret(store: Store, command: Commands, tmp_path: Path) -> None:
    inputs = {"api-key": "Zk7-key", "to": "https://db.example?token=Zk7-token", "config": {"password": "Zk7-nested"}}
    with store.session("s").run(inputs=inputs) as run, contextlib.suppress(ValueError), run.attempt("load") as attempt:
        attempt.log("Authorization: Bearer Zk7-bearer")
        raise ValueError("refused: password=Zk7-error")
    page = tmp_path / "s.html"
    command.ok("report", "s", "-o", str(page))
    assert "Zk7" not in plain(page.read_text())
    assert "Zk7" not in str(describe(store.database, "s").to_json())
