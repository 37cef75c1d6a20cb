"""How commands name sessions: in full, by a unique beginning, or by a word that begins with @."""

from __future__ import annotations

import json

import pytest
import sqlalchemy as sa

from tests.support.commands import Commands
from tests.support.sessions import check
from zrb_store import Store
from zrb_store.db.tables import session
from zrb_store.testing import expire_lease

pytestmark = pytest.mark.long_on_postgresql


def test_sessions_are_found_by_name_beginning_and_order(
    command: Commands, filled: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def name(text: str) -> str:
        document = check("show", json.loads(command.ok("show", text, "--format", "json")))
        return str(document["name"])

    assert name("etl-24") == "etl-24"
    assert name("in") == "inbox"
    assert name("@last") == "etl-25"
    assert name("@last-failed") == "etl-24"
    monkeypatch.setenv("ZRB_STORE_ATTEMPT", "etl-24/load#1@1")
    assert name("@this") == "etl-24"
    filled.session("etl").xcom["q"].push(1)
    assert name("etl") == "etl"  # a full name is not taken as the beginning of others
    filled.database.execute(sa.update(session).where(session.c.name == "etl").values(parent="etl-24"))
    assert name("@last") == "etl-25"  # a session inside another one does not count


@pytest.mark.on_sqlite
@pytest.mark.parametrize(
    ("text", "code", "hint"),
    [
        ("etl", 2, "etl-25, etl-24"),
        ("ETL-24", 3, "did you mean etl-24?"),
        ("elt-24", 3, "did you mean etl-24?"),
        ("xyz", 3, "zrb-store list"),
        ("with spaces", 3, "zrb-store list"),
        ("@this", 2, "ZRB_STORE_ATTEMPT"),
        ("@first", 2, "@last-failed"),
        ("%", 3, "zrb-store list"),
        ("\x00", 3, "zrb-store list"),
    ],
)
def test_a_name_that_fits_no_session_gets_a_hint(
    command: Commands, filled: Store, text: str, code: int, hint: str
) -> None:
    result = command("show", text)
    assert (result.code, result.out) == (code, "")
    assert hint in result.err


def test_a_long_list_of_candidates_is_cut(command: Commands, store: Store) -> None:
    for number in range(12):
        store.session(f"s-{number:02}").xcom["q"].push(1)
    assert command("show", "s-").err.count("s-") == 9
    assert ", ..." in command("show", "s-").err


def test_last_failed_is_also_one_that_died_or_was_interrupted(command: Commands, filled: Store) -> None:
    with pytest.raises(KeyboardInterrupt), filled.session("stopped").run() as run, run.attempt("t"):
        raise KeyboardInterrupt
    assert command.ok("show", "@last-failed").splitlines()[0].split() == ["Session", "stopped"]
    filled.session("dead").run().start()
    assert command.ok("show", "@last-failed").splitlines()[0].split() == ["Session", "stopped"]
    expire_lease(filled.session("dead"))
    assert command.ok("show", "@last-failed").splitlines()[0].split() == ["Session", "dead"]
    filled.session("dead").run().start().end("completed")


def test_nothing_to_name_in_an_empty_store(command: Commands) -> None:
    assert command.ok("list") == "no sessions yet\n"
    assert command("show", "@last").code == 3
    assert command("show", "x").code == 3
