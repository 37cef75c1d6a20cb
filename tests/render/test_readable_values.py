"""Values as tables show them, and the raw form of values."""

from __future__ import annotations

import os
import subprocess
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.render.screens.store import Color, Order
from tests.support.commands import Commands
from tests.support.terminals import MAIN, drawn, shown_on_terminal
from zrb_store import Store, cli, codec
from zrb_store.codec.classes import CmdResult
from zrb_store.codec.tagged import READERS
from zrb_store.records import JsonValue
from zrb_store.render.format import preview, single_text, size
from zrb_store.render.readable import readable, with_words

pytestmark = pytest.mark.on_sqlite

READABLE: list[tuple[Any, str]] = [
    (Decimal("24.90"), "24.90"),
    (UUID(int=7), "00000000-0000-0000-0000-000000000007"),
    (PurePosixPath("/srv/a b"), "/srv/a b"),
    (PureWindowsPath("C:/srv"), "C:\\srv"),
    (date(2026, 11, 24), "2026-11-24"),
    (datetime(2026, 11, 24, 3, 12, 45), "2026-11-24 03:12:45"),
    (datetime(2026, 11, 24, 3, 12, 45, 5, tzinfo=UTC), "2026-11-24 03:12:45.000005+00:00"),
    (datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin")),
     "2026-10-25 02:30:00 Europe/Berlin (the second time)"),
    (time(3, 12), "03:12:00"),
    (timedelta(days=1, hours=2), "1 day, 2:00:00"),
    (timedelta(seconds=-90), "-0:01:30"),
    (timezone(timedelta(hours=-3, minutes=-30)), "UTC-03:30"),
    (timezone(timedelta(hours=1), "CET"), "CET"),
    (ZoneInfo("Asia/Tokyo"), "Asia/Tokyo"),
    (float("nan"), "nan"),
    (1 << 3000, hex(1 << 3000)),
    ("text", '"text"'),
    ("\ud800\udc00", '"\\ud800\\udc00"'),
    (None, "null"),
    (True, "true"),
    ([1, 2.5], "[1, 2.5]"),
    ((), "()"),
    ((1,), "(1,)"),
    ((1, "a", Decimal("2.50")), '(1, "a", 2.50)'),
    (set(), "set()"),
    ({3, 1}, "{1, 3}"),
    (frozenset(), "frozenset()"),
    (frozenset({1}), "frozenset({1})"),
    ({}, "{}"),
    ({"price": Decimal("1.0")}, '{"price": 1.0}'),
    ({1: "a", (2,): None}, '{1: "a", (2,): null}'),
    ({"$": "no tag"}, '{"$": "no tag"}'),
    (OrderedDict(a=1), '{"a": 1}'),
    (b"\x00PNG", r"b'\x00PNG'"),
    (bytearray(b"a"), "bytearray(b'a')"),
    (Order(7, Decimal("24.90")), "Order(id=7, price=24.90)"),
    (Color.RED, "Color.RED"),
    ([CmdResult("two\nlines", "")], r'["two\nlines"]'),
    (CmdResult("output", "error"), "output"),
    (object(), "<object object at"),
]  # fmt: skip


def tags(tree: Any) -> set[str]:
    if type(tree) is dict:
        return {tree["$"]} if "$" in tree and type(tree["$"]) is str else set().union(*map(tags, tree.values()))
    return set().union(*map(tags, tree)) if type(tree) is list else set()


@pytest.mark.parametrize(("value", "text"), READABLE, ids=[text[:30] for _, text in READABLE])
def test_a_value_is_shown_as_a_person_reads_it(value: Any, text: str) -> None:
    shown = preview(codec.to_json(codec.encode(value, lenient=True).data), full=True)
    assert shown.startswith(text) if text.startswith("<") else shown == text


def test_each_type_that_is_stored_has_a_text() -> None:
    shown = set().union(*(tags(codec.to_json(codec.encode(value, lenient=True).data)) for value, _ in READABLE))
    # A PosixPath is written as its pure class is; an object is tested below, and so is what cannot be read.
    assert shown >= set(READERS) - {"PosixPath", "WindowsPath", "object", "undecodable"}


def test_what_this_version_does_not_know_is_shown_as_it_is_stored() -> None:
    trees: list[JsonValue] = [
        {"$": "new", "v": 1},
        {"$": 7},
        {"$": ["x"]},
        {"$": "tuple"},
        {"$": "tuple", "v": 1},
        {"$": "timedelta", "v": ["x"]},
        {"$": "Decimal"},
    ]
    for tree in trees:
        assert readable([tree, 1]).startswith('[{"$": ')
    assert readable({"$": "object", "type": "shop.Money", "v": {"cents": 5}}) == 'Money({"cents": 5})'
    assert readable({"$": "enum", "type": "shop.Flags", "name": None, "v": 8}) == "Flags(8)"
    assert readable(codec.to_json("not JSON")) == "undecodable: not JSON"


_leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.decimals()
_values = st.recursive(
    _leaves,
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.text(), inner),
    max_leaves=9,
)


@pytest.mark.slow
@given(_values, st.integers(1, 40))
def test_a_long_value_is_written_only_as_far_as_it_is_needed(value: Any, length: int) -> None:
    tree = codec.to_json(codec.encode(value).data)
    whole = readable(tree)
    begun = readable(tree, length)
    assert whole.startswith(begun[:length])
    assert len(begun) >= min(length, len(whole))


def test_a_value_nested_deep_is_written(store: Store) -> None:
    value: Any = 1
    for _ in range(190):
        value = (value,)
    assert readable(codec.to_json(codec.encode(value).data)) == "(" * 190 + "1" + ",)" * 190


def test_the_words_of_a_damaged_value_are_ours_however_deep_it_is_nested() -> None:
    deep = codec.to_json("[" * 600 + '{"$": "Decimal", "v": "1", "as": ["(", "", ")"]}' + "]" * 600)
    found: Any = with_words(deep)
    for _ in range(600):
        (found,) = found
    assert found == {"$": "Decimal", "v": "1"}


def test_an_input_with_a_secret_is_shown_as_its_masked_text(command: Commands, store: Store) -> None:
    inputs = {"token": {"masked": "***"}, "dsn": {"masked": "db://me:***@db1"}, "day": 3}
    with store.session("s").run(task="load", inputs=inputs):
        pass
    assert "Inputs   token=***, dsn=db://me:***@db1, day=3\n" in command.ok("show", "s")


def test_tables_show_values_readably_and_json_keeps_the_tags(command: Commands, store: Store) -> None:
    price = Decimal("24.90")
    with store.session("s").run(task="load", inputs={"limit": price}) as run, run.attempt("load") as attempt:
        attempt.step("price", lambda: (price,))
        attempt.complete({"price": price})
    store.session("t").xcom["load"].push({"price": Decimal("25.10")})
    tag = '{"$":"Decimal","v":"24.90"}'
    shown = command.ok("show", "s")
    assert "Inputs   limit=24.90\n" in shown
    assert "price = (24.90,)" in shown
    assert '{"price": 24.90}' in shown
    assert '{"price": 24.90}' in command.ok("trace", "s/load#1")
    assert '{"price": 24.90}' in command.ok("last", "load", "--any-project", "--format", "table")
    assert command("diff", "s", "t").out.splitlines()[-2].split() == ["$.load[0].price", "24.90", "25.10"]
    for args in (["show", "s"], ["trace", "s/load#1"], ["get", "s", "load"]):
        assert tag in command.ok(*args, "--format", "jsonl").replace(" ", "") or args[0] == "trace"
        assert tag in command.ok(*args, "--format", "json").replace(" ", "").replace("\n", "")


@pytest.mark.slow
def test_a_value_alone_is_for_a_person_on_a_terminal_and_json_in_a_pipe(
    store: Store, location: str, command: Commands
) -> None:
    queue = store.session("s").xcom["q"]
    queue.extend([b"PK\x03", {1, 2}, {"a": [Decimal("1.50"), None]}, Decimal("24.90"), "it's"])
    readable_texts = ["b'PK\\x03'", "{1, 2}", '{"a": [1.50, null]}', "24.90", "it's"]
    as_json = ['{"$":"bytes","v":"UEsD"}', '{"$":"set","v":[1,2]}', '{"a":[{"$":"Decimal","v":"1.50"},null]}']
    variables = {"ZRB_STORE_URL": location}
    for args in (["get", "s", "q", "--seq", "1"], ["trace", "s/q#1", "--format", "value"]):
        assert drawn(shown_on_terminal(args, 120, variables), 120) == readable_texts[:1]
    assert drawn(shown_on_terminal(["show", "s", "--format", "value"], 120, variables), 120) == readable_texts
    assert drawn(shown_on_terminal(["pop", "s", "q"], 120, variables), 120) == readable_texts[:1]
    shown = [command.ok("get", "s", "q", "--seq", str(seq)).removesuffix("\n") for seq in range(1, 6)]
    assert shown == [*as_json, *readable_texts[3:]]
    assert command.ok("pop", "s", "q") == as_json[1] + "\n"


Raw = Callable[..., tuple[int, bytes, bytes]]


@pytest.fixture
def raw(location: str, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Raw:
    """Run `get s q --raw`, and return its exit code and what it wrote."""
    monkeypatch.setenv("ZRB_STORE_URL", location)
    return lambda *args: (cli.run(["get", "s", "q", "--raw", *args]), *capfdbinary.readouterr())


def test_raw_bytes_are_written_as_they_are(store: Store, location: str, raw: Raw) -> None:
    content = bytes(range(256)) * 300
    store.session("s").xcom["q"].extend([content, bytearray(b"\r\n"), {"inner": b"\x00\n"}, b""])
    environment = {**os.environ, "PYTHONUTF8": "1"}
    args = [*MAIN, "get", "s", "q", "--raw", "--seq", "1"]
    assert subprocess.run(args, capture_output=True, env=environment).stdout == content
    assert raw("--seq", "2")[1] == b"\r\n"
    assert raw("--seq", "3", "--path", "$.inner")[1] == b"\x00\n"
    assert raw()[1] == b""


def test_raw_text_has_no_newline_at_its_end(store: Store, raw: Raw) -> None:
    values = ["é", "two\nlines\n", Decimal("24.90"), PurePosixPath("/srv/\udcff"), CmdResult("out", "err"), 7]
    store.session("s").xcom["q"].extend(values)
    for number, written in enumerate(["é".encode(), b"two\nlines\n", b"24.90", b"/srv/\xff", b"out", b"7"], 1):
        assert raw("--seq", str(number)) == (0, written, b"")


def test_what_has_no_raw_form_is_refused(store: Store, raw: Raw) -> None:
    values = [{"a": 1}, [b"x"], None, True, "\ud800", (b"x",)]
    store.session("s").xcom["q"].extend(values)
    for number in range(1, len(values) + 1):
        code, out, err = raw("--seq", str(number))
        assert (code, out) == (1, b"")
        assert err.startswith(b"zrb-store: s/q#%d has no raw form" % number)
        assert err.count(b"\n") == 1
    assert b"leave out --raw" in raw("--seq", "1")[2]
    assert raw("--format", "json")[0] == 2


@pytest.mark.slow
def test_bytes_do_not_upset_a_terminal(store: Store, location: str) -> None:
    store.session("s").xcom["q"].extend([b"\x1b[2Jgone", "text"])
    args = ["get", "s", "q", "--raw"]
    variables = {"ZRB_STORE_URL": location}
    refused = shown_on_terminal([*args, "--seq", "1"], 120, variables)
    assert drawn(refused, 120) == [
        "zrb-store: s/q#1 is not text, and could corrupt the terminal: redirect it, as in `--raw > FILE`"
    ]
    assert drawn(shown_on_terminal(args, 120, variables), 120) == ["text"]


@pytest.mark.parametrize(
    ("count", "text"), [(5, "5 B"), (2048, "2.0 KiB"), (3 * 2**20, "3.0 MiB"), (3 * 2**30, "3.0 GiB")]
)
def test_a_size_is_printed_in_its_unit(count: int, text: str) -> None:
    assert size(count) == text


def test_a_text_in_two_parts_is_one_text() -> None:
    """JSON would read two surrogates beside each other as one character, so they are stored apart."""
    assert single_text({"$": "str", "v": ["\ud83d", "\ude00"]}) == "\ud83d\ude00"
