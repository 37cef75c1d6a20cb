"""Values and texts that fast libraries write and read come back exactly as those of the standard library do."""

from __future__ import annotations

import collections
import contextlib
import enum
import gc
import json
import math
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.codec.values import shape, values
from tests.support.commands import without_notices
from zrb_store.codec import decode, encode, json_text, to_json
from zrb_store.errors import UnencodableValue, ValueTooLarge

RECORDS = [{"id": number, "name": f"customer {number:05}", "paid": number / 8, "note": None} for number in range(110)]
RAW_TEXTS = st.lists(
    st.sampled_from(
        [
            r"{",
            r"}",
            r"[",
            r"]",
            r":",
            r",",
            r'"',
            r'"a"',
            r'"é"',
            r'"\ud83d"',
            r'"\ude00"',
            r'"\u0000"',
            r'"\/"',
            r"1",
            r"-0",
            r"-0.0",
            r"1e5",
            r"1E400",
            r"0.1e-400",
            r"01",
            r".5",
            r"NaN",
            r"Infinity",
            r"null",
            r"true",
            r"18446744073709551616",
            r"-9223372036854775809",
            r"9223372036854775807",
            r"123456789012345678901.5",
        ]
    )
    | st.sampled_from([" ", "\n", "\ufeff", '"\x1f"', '"\u2028"', "\x00", '"$"', "1" * 700, "1" * 5000]),
    max_size=12,
).map("".join)


@contextlib.contextmanager
def standard_library() -> Iterator[None]:
    """Leave all texts to the standard library."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("zrb_store.codec.text.writer", lambda: None)
        patch.setattr(json_text, "_decoder", lambda: None)
        yield


def outcome(work: Callable[[], Any]) -> Any:
    """Return what a function returns, or the error that it raises, in a form that can be compared."""
    try:
        return shape(work())
    except (UnencodableValue, ValueTooLarge) as error:
        return type(error), str(error)


def comes_back_the_same(value: Any) -> None:
    def work() -> Any:
        return decode(encode(value).data)

    fast, fast_tree = outcome(work), outcome(lambda: to_json(encode(value).data))
    texts = outcome(lambda: encode(value).data)
    with standard_library():
        assert outcome(work) == fast
        assert outcome(lambda: to_json(encode(value).data)) == fast_tree
        if texts[0] is str:  # written fast, read slowly
            assert outcome(lambda: decode(encode(value).data)) == fast


@pytest.mark.promise(number=6)
@given(values, st.integers(0, 300))
@example([2**63, 2**64, -(2**63) - 1, 10**30, 10**600, 10**700], 300)
@example(10**636, 0)  # it has more than 2100 bits, but not as many digits as Python may refuse to parse
@example([0.1, 1e16, 1e22, 1e-7, 5e-324, 2.2250738585072011e-308, 123456789012345680.0, -0.0], 300)
@example(["\ud800", "null", None, math.nan], 300)
@pytest.mark.slow
def test_both_roads_lead_to_the_same_value(value: Any, length: int) -> None:
    comes_back_the_same(value)
    comes_back_the_same([value, "x" * length])
    comes_back_the_same({"value": [value] * 3, "x": "é" * length})


@pytest.mark.promise(number=6)
@given(RAW_TEXTS, st.integers(0, 300))
def test_any_text_is_read_as_by_the_standard_library(text: str, length: int) -> None:
    data = f'["{"x" * length}",{text}]'
    fast = (shape(decode(data)), shape(to_json(data)))
    with standard_library():
        assert (shape(decode(data)), shape(to_json(data))) == fast


class Text(str):
    pass


class Number(int):
    pass


class Mapping(dict[str, Any]):
    pass


class Row(list[Any]):
    pass


class Colour(enum.IntEnum):
    RED = 1


class Word(enum.StrEnum):
    A = "a"


class Kind(enum.Enum):
    ONE = "one"


class Point:
    def __init__(self) -> None:
        self.place = (1, 2)


def once_with_an_int() -> dict[Any, Any]:
    """A dict in which CPython keeps the keys in another way, although all of them are texts now."""
    value = {1: 0, "a": [1], "b": (1,)}
    del value[1]
    return value


@pytest.mark.promise(number=6)
@pytest.mark.parametrize(
    "odd",
    [
        (1, 2),
        (),
        Text("x"),
        Number(1),
        Mapping(a=1),
        Row([1]),
        Colour.RED,
        Word.A,
        Kind.ONE,
        collections.OrderedDict(a=1),
        collections.defaultdict(int, a=1),
        uuid.UUID(int=1),
        Decimal("1.0"),
        b"x",
        {1},
        math.nan,
        -math.inf,
        2**64,
        -(2**63) - 1,
        "\ud83d\ude00",
        "\x00",
        "null",
        "$",
        {"$": 1},
        {1: 2},
        {True: 1},
        {None: 1},
        {Text("x"): 1},
        {Colour.RED: 1},
        {"\ud800": 1},
        {(1,): 1},
        vars(Point()),
        once_with_an_int(),
        object(),
        [[[(1,)]]],
        {"a": {"b": {"c": math.inf}}},
    ],
    ids=lambda odd: f"{type(odd).__name__} {odd!r:.20}".replace("\x00", "NUL").encode("ascii", "replace").decode(),
)
def test_an_odd_part_of_a_large_value_is_treated_as_in_a_small_one(odd: Any) -> None:
    comes_back_the_same(odd)
    comes_back_the_same([odd])
    comes_back_the_same([*RECORDS, odd])
    comes_back_the_same({"rows": [[dict(record, more=odd) for record in RECORDS]]})


def test_without_the_libraries_all_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("msgspec", "msgspec.json"):
        monkeypatch.setitem(sys.modules, name, None)
    json_text.writer.cache_clear()
    json_text._decoder.cache_clear()
    try:
        assert json_text.writer() is None
        with pytest.raises(ValueError, match="not installed"):
            json_text.read("1")
        assert decode(encode(RECORDS).data) == RECORDS
        assert encode(RECORDS).data == json.dumps(RECORDS, separators=(",", ":"))
    finally:
        json_text.writer.cache_clear()
        json_text._decoder.cache_clear()


def test_garbage_is_collected_again_after_a_large_value_was_read() -> None:
    good, bad = json.dumps(["x" * 99] * 1000), json.dumps(["x" * 99] * 1000)[:-1]
    assert len(decode(good)) == 1000
    assert gc.isenabled()
    assert type(decode(bad)).__name__ == "Undecodable"
    assert gc.isenabled()
    gc.disable()
    try:
        decode(good)
        assert not gc.isenabled()
    finally:
        gc.enable()


@pytest.mark.slow
def test_a_text_that_would_not_fit_into_memory_is_refused_before_it_is_written() -> None:
    wide: Any = [0] * 1_000_000
    for value in ([wide] * 1_000_000, {"a": [[wide] * 1000] * 1000}):
        with pytest.raises(ValueTooLarge, match="of more than 16777216 bytes"):
            encode(value)


@pytest.mark.slow
@pytest.mark.systems
def test_what_reads_no_value_loads_no_library() -> None:
    script = (
        "import sys; import zrb_store.store, zrb_store.plugin.queue; from zrb_store import codec\n"
        "assert codec.decode('[1]') == [1]\n"
        "assert 'msgspec' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


WORK = """
import sys
from zrb_store import open_store, step

def native():
    files = [getattr(module, "__file__", None) or "" for module in list(sys.modules.values())]
    return {file for file in files if file.endswith(".so") and "site-packages" in file}

with open_store(sys.argv[1]) as store, store.session("s").run() as run:
    before = native()
    with run.attempt("t") as attempt:
        queue = attempt.xcom["q"]
        queue.extend([1, [{"a": 1}], "x" * 1000, b"x", (1.5, {2})])
        queue.push("y" * 5_000_000)
        assert list(queue)[0] == queue.pop() == 1
        assert step("one", lambda: {"rows": [{"a": 1}] * 1000}) == {"rows": [{"a": 1}] * 1000}
        attempt.complete([1] * 1000)
    try:
        with run.attempt("u") as attempt:
            attempt.xcom["q"].push([1])
            raise KeyError("u")
    except KeyError:
        pass
    store.session("inbox").xcom["in"].push([3])
    for delivery in run.consume(store.session("inbox").xcom["in"]):
        with delivery as value:
            assert value == [3]
    print(native() - before)
"""


@pytest.mark.slow
@pytest.mark.systems
def test_nothing_native_is_imported_once_a_run_has_started(location: str) -> None:
    """Some native modules crash the process if Ctrl-C comes while they are imported."""
    done = subprocess.run([sys.executable, "-c", WORK, location], capture_output=True, text=True, check=False)
    assert (done.stdout, without_notices(done.stderr)) == ("set()\n", "")


def test_text_is_stored_as_it_is_and_counted_in_bytes() -> None:
    for text, stored in (
        ("é", '"é"'),
        ("中", '"中"'),
        ("😀", '"😀"'),
        ("\ud83d", r'"\ud83d"'),
        ("\x00\x7f", '"\\u0000\x7f"'),
    ):
        for value, data in ((text, stored), ([text], f"[{stored}]"), ((text,), f'{{"$":"tuple","v":[{stored}]}}')):
            assert encode(value).data == data
            assert encode(value).size == len(data.encode())
            assert decode(data) == value
    assert encode("é" * 1000, limit=2002).size == 2002
    with pytest.raises(ValueTooLarge, match="str of 2002 bytes"):
        encode("é" * 1000, limit=2001)
