"""Earlier versions stored texts as ASCII with escapes. Their stores are used and compared like any others."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.commands import Commands
from zrb_store import InputsDiffer, Store, codec, open_store
from zrb_store.db.tables import attempt, queue, session, value
from zrb_store.db.transaction import Transaction
from zrb_store.queries import values

pytestmark = pytest.mark.usefixtures("sound")

INPUTS = {"city": "Zürich", "odd": "\ud83d", "tags": {"é", "z", "Z", "中"}, "日": "😀\x00"}
WORDS = ["Öl", {"größe": ("ß", 1.5)}, {"é", "z"}, "\udc80", "中" * 300]


def fill(store: Store, name: str) -> None:
    """Fill a session that has failed after a step, with texts in every column that holds encoded values."""
    with contextlib.suppress(ZeroDivisionError), store.session(name).run(task="load", inputs=INPUTS) as run:
        run.task("count", len, WORDS)
        with run.attempt("load") as made:
            assert made.step("seite", list, WORDS) == WORDS
            made.xcom["wörter"].extend(WORDS)
            raise ZeroDivisionError
    store.session("inbox").xcom["wörter"].extend(WORDS)


def older(text: str) -> str:
    """Return a stored text as earlier versions wrote it."""
    return json.dumps(json.loads(text), separators=(",", ":"))


def age(store: Store) -> None:
    """Write all texts of a store as earlier versions did."""

    def work(transaction: Transaction) -> None:
        for table, key, columns in (
            (session, [session.c.id], ("inputs",)),
            (attempt, [attempt.c.id], ("arguments", "result")),
            (value, [value.c.queue_id, value.c.seq], ("data",)),
        ):
            for row in transaction.execute(sa.select(*key, *(table.c[name] for name in columns))):
                texts = {
                    name: older(text) for name, text in zip(columns, row[len(key) :], strict=True) if text is not None
                }
                if table is value:
                    texts["size"] = len(texts["data"])  # type: ignore[assignment]
                if texts:
                    where = [column == sa.literal(item) for column, item in zip(key, row, strict=False)]
                    transaction.execute(sa.update(table).where(*where).values(texts))

    store.database.transact(work)


@pytest.fixture
def aged(store: Store) -> Store:
    """A store that an earlier version has filled."""
    fill(store, "flow")
    rows = sa.select(value.c.data, value.c.size)
    assert ('"Öl"', 5) in store.database.execute(rows)
    age(store)
    old = store.database.execute(rows)
    assert ('"\\u00d6l"', 9) in old
    assert all(data.isascii() for data, _ in old)
    return store


def test_values_come_back_and_pass_all_checks(aged: Store, command: Commands) -> None:
    words = aged.session("inbox").xcom["wörter"]
    assert list(words) == WORDS
    assert command.ok("get", "inbox", "wörter", "--seq", "1", "--raw") == "Öl"
    command.ok("doctor")
    words.rotate()  # moves values, with the texts that they have
    assert list(words) == [WORDS[-1], *WORDS[:-1]]
    command.ok("doctor")
    assert words.pop() == WORDS[-1]


@pytest.mark.promise(number=6)
def test_equal_inputs_and_arguments_are_equal(aged: Store) -> None:
    with aged.session("flow").run(task="load", inputs=INPUTS) as run:
        assert run.task("count", lambda words: pytest.fail("called"), WORDS) == len(WORDS)
        with run.attempt("load") as again:
            assert again.step("seite", lambda words: pytest.fail("called"), WORDS) == WORDS


def test_other_inputs_and_arguments_differ(aged: Store) -> None:
    with pytest.raises(InputsDiffer, match="city: 'Zürich' became 'Zurich'"):
        aged.session("flow").run(task="load", inputs={**INPUTS, "city": "Zurich"}).start()
    with (
        aged.session("flow").run(task="load", inputs=INPUTS) as run,
        pytest.raises(InputsDiffer, match=r"\[0\]\[0\]\[0\]: 'Öl' became 'Ol'"),
    ):
        run.task("count", len, ["Ol", *WORDS[1:]])


def test_old_and_new_sessions_do_not_differ(aged: Store, command: Commands) -> None:
    fill(aged, "new")
    stored = sa.select(value.c.data).select_from(value.join(queue).join(session)).where(session.c.name == "new")
    assert ('"Öl"',) in aged.database.execute(stored)
    assert "equal" in command.ok("diff", "flow", "new")


def test_a_fork_goes_on_with_them(aged: Store, command: Commands) -> None:
    aged.fork("flow", from_task="load", name="again")
    with aged.session("again").run(task="load", inputs=INPUTS) as run:
        assert run.task("count", lambda words: pytest.fail("called"), WORDS) == len(WORDS)
    command.ok("doctor")


@pytest.mark.promise(number=6)
def test_an_export_of_both_forms_can_be_imported(
    aged: Store, command: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(aged, "new")
    lines, before = command.ok("export"), _contents(aged)
    copy = tmp_path / "copy.db"
    monkeypatch.setenv("ZRB_STORE_URL", str(copy))
    command.ok("import", stdin=lines)
    command.ok("doctor")
    with open_store(copy) as imported:
        assert _contents(imported) == before


def _contents(store: Store) -> list[tuple[Any, ...]]:
    return store.database.execute(sa.select(value.c.data, value.c.size).order_by(value.c.data))


def test_doctor_compares_sizes_in_bytes(store: Store, command: Commands) -> None:
    inbox = store.session("inbox").xcom
    inbox["q"].push("é")
    assert store.database.execute(sa.select(value.c.size)) == [(4,)]
    command.ok("doctor")
    queue_id = inbox.queue_id("q")
    assert queue_id is not None
    store.database.transact(
        lambda transaction: values.push(transaction, queue_id, codec.encode("é")._replace(size=3), None)
    )
    result = command("doctor")
    assert result.code == 1
    assert "are not as long as their stored size: the data is damaged: 1 (inbox/q#2)" in result.out
    store.database.transact(lambda transaction: transaction.execute(sa.delete(value)))
