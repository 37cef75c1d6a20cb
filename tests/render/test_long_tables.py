"""Tables with more rows than are read to determine the widths of their columns."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.commands import Commands
from tests.support.sessions import show, with_lists_read
from tests.support.terminals import plain, shown_on_terminal
from zrb_store import Store, open_store
from zrb_store.records import Lazy
from zrb_store.render import format

pytestmark = pytest.mark.on_sqlite

LONG = "long " * 100


def fill(store: Store) -> None:
    store.session("s").xcom["q"].extend([*range(2200), LONG])


@pytest.mark.slow
def test_a_long_table_on_a_terminal_keeps_its_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZRB_STORE_URL", str(tmp_path / "store.db"))
    with open_store() as store:
        fill(store)
    for args in (["show", "s", "--all"], ["show", "s", "--full"]):
        lines = plain(shown_on_terminal(args).decode()).splitlines()
        assert max(map(len, lines)) <= 80
        rows = [line for line in lines if " int " in line]
        assert len(rows) == 2200
        places = [line.index(" int ") for line in rows]
        assert len(set(places[:2000])) == 1
        assert abs(places[-1] - places[0]) <= 1, "the last rows may be one character wider"
        assert sum("VALUE" in line for line in lines) == 1
        shown = sum(line.count("long") for line in lines)
        assert shown == 100 if "--full" in args else 1 < shown < 20


def test_a_long_table_in_a_pipe(command: Commands, store: Store) -> None:
    fill(store)
    lines = command.ok("show", "s", "--all").splitlines()
    assert len(lines) == 2207
    assert lines[-1].endswith("...  str   502 B  -          live")
    assert lines[-1].count("long") > 3
    assert max(map(len, lines)) <= 80
    assert LONG in command.ok("show", "s", "--full").splitlines()[-1]


def test_what_is_read_bit_by_bit_is_what_is_read_at_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.support.sessions import etl, inbox

    inbox(store, "a.csv", "b.csv", "c.csv")
    etl(store, "etl-24", broken=True)
    etl(store, "etl-24", broken=True)
    store.session("etl-24").xcom["empty"].push(1)
    store.session("etl-24").xcom["empty"].pop()
    moments = (None, "before:load#2", "after:load#3", "before:load#4")
    looks: list[tuple[str, str | None, bool, str | None]] = [("etl-24", None, False, at) for at in moments]
    looks += [("etl-24", None, True, None), ("etl-24", "rows", False, None), ("inbox", "files", True, None)]

    def everything() -> list[object]:
        return [show(store.database, name, queue, live=live, at=at) for name, queue, live, at in looks]

    at_once = everything()
    monkeypatch.setattr("zrb_store.records.MAX_BYTES", 0)
    assert everything() == at_once, "values read one by one must be the same"
    monkeypatch.setattr("zrb_store.records.MAX_ROWS", 0)
    assert everything() == at_once, "attempts read one by one must be the same too"


@pytest.mark.parametrize("compact", [True, False])
def test_json_in_pieces_is_json_at_once(compact: bool) -> None:
    def lazy(*items: object) -> Lazy[object]:
        return Lazy(lambda: iter(items), len(items))

    tree = {
        "plain": {"a": [1, {"b": None}], "\u2028": "line\u2028 \n"},
        "empty": lazy(),
        "lazy": lazy({"x": [], "y": lazy(1, [2, 3])}, "text", []),
        "in a list": [lazy(), {}, iter([1, "é"])],
        "empty dict": {},
    }
    text = "".join(format.pieces(tree, compact=compact))
    tree["in a list"] = [lazy(), {}, iter([1, "é"])]
    assert text == format.dumps(with_lists_read(tree), indent=None if compact else 2)
