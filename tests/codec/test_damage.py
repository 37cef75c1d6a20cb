"""Reading a stored text runs no code, never raises an exception, and takes limited time, whatever the text is."""

from __future__ import annotations

import builtins
import json
import math
import os
import re
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.codec.values import survives_round_trip
from zrb_store.codec import Opaque, Undecodable, decode, encode, tagged, to_json
from zrb_store.codec.walk import ALLOWED_EXCESS, _Walk
from zrb_store.errors import UnencodableValue

TAGS = sorted(tagged.READERS)


def tag(marker: Any, /, **rest: Any) -> str:
    return json.dumps({"$": marker, **rest})


def tags(marker: str, *payloads: Any, **rest: Any) -> list[str]:
    return [tag(marker, v=payload, **rest) for payload in payloads]


A_SET, A_ZONE = ({"$": "set", "v": []}, {"$": "ZoneInfo", "v": "No/Such"})
NO_NAMES: list[Any] = [None, 1, []]
DAMAGED = [
    *(
        "",
        " ",
        "{",
        "[1,",
        "nul",
        "'x'",
        "NaN",
        "[Infinity]",
        "-Infinity",
        '"\x00"',
        '"\ud800',
        "\ufeff1",
        "1 2",
        '{"a" 1}',
    ),
    *("[" * 10_000, "[" * 10_000 + "]" * 10_000, '{"a":' * 10_000, "9" * 5000, "-" + "9" * 100_000, "__import__('os')"),
    *('{"$":"tuple","v":' * 5_000, '{"$":"tuple","v":[' * 5_000 + "]}" * 5_000),
    *(tag(name) for name in ("no such", "", "eval", "__reduce__", "py/object", "\ud800", "x" * 100_000, *TAGS)),
    *map(tag, [None, 1, 1.5, True, [], ["tuple"], {}, {"$": "tuple"}]),
    *(tag(name, v=None) for name in TAGS),
    *tags("Path", "../x", "/etc/passwd"),
    *tags("tuple", "abc", {"a": 1}, 3, True),
    *tags("tuple", [], more=1),
    *tags("set", [[]], [{}], [1, 1], [1, True], [0.0, -0.0], "ab", [A_SET]),
    *tags("dict", [[1]], [[1, 2, 3]], [1], ["ab", [1, 1], [True, 2]], [[[], 1]], {}, [[A_SET, 1]]),
    *tags("int", 3, "", "0xg", "1.5", "eval", [], "x" * 100_000),
    *tags("float", "1", "infinity", "1e999", 1),
    *tags("str", "ab", [1], [["a"]], {}),
    *tags("bytes", "!", "AA", "AA==AA==", "A" * 1001, "ä", [65]),
    *tags("datetime", 3, "now", "2026-13-01", "10000-01-01", "2026-01-01T00:00:00+99:00", "9" * 100_000),
    *(tag("datetime", v="2026-01-01", fold=fold) for fold in (2, "1", True, None)),
    *(tag("datetime", v="2026-01-01", tz=zone) for zone in ("UTC", 1, A_ZONE, {"$": "x"})),
    *tags("time", "25:00", "2026-01-01"),
    *tags("date", "0000-01-01", "2026-01-01T00:00", 20260101),
    *tags("timedelta", [1, 2], [1, 2, 3.5], [10**9, 0, 0], [10**400, 0, 0], [True, 0, 0], ["1", 0, 0]),
    *tags("timezone", [], [[1, 0, 0]], [[0, 0, 0], 5], [[0, 0, 0], "a", "b"], [[9, 9, 9]]),
    *tags("ZoneInfo", "", "/etc/passwd", "../../etc/passwd", "a.b/c", "Europe", "x\x00", "A" * 5000, "tzdata.zi"),
    *tags("Decimal", "", "1e", "abc", "1e9999999999999999999", 1, "__import__('os')"),
    *tags("UUID", "x", "0" * 31, 5, "0" * 100_000),
    *tags("PosixPath", 1, ["a"], {"$": "bytes", "v": "YQ=="}),
    *(tag("enum", type=name, name="A", v=1) for name in NO_NAMES),
    *tags("dataclass", 1, [], "abc", type="x"),
    *(tag("object", type=name, v=1) for name in ("builtins.eval", "os.system", *NO_NAMES)),
    *tags("CmdResult", 1, [], {}, {"output": "x"}, "output error"),
    tag("opaque", type=1, repr="x", path="$", cause="x"),
]


def short(value: Any) -> str:
    return ascii(value)[:50]


def kind(text: str) -> str:
    """Return the tag of a text; of what has none, nothing."""
    tagged = re.match(r'\{"\$":"(\w+)"', text)
    return tagged[1] if tagged else "untagged"


@pytest.mark.parametrize("of", dict.fromkeys(map(kind, DAMAGED)))
def test_damaged_text_is_shown_and_breaks_nothing(of: str) -> None:
    for text in DAMAGED:
        if kind(text) == of:
            assert_is_shown(text)


def assert_is_shown(text: str) -> None:
    found = decode(text)
    assert isinstance(found, Undecodable)
    assert len(repr(found)) < 2000
    assert hash(found) == hash(decode(text))
    json.dumps(to_json(text), allow_nan=False)
    if text.startswith('{"$"') and len(text) < 10_000:
        assert json.loads(found.raw) == json.loads(text)
        around = decode(f'{{"a":[1,{text}],"b":{{"$":"tuple","v":[2,{text}]}}}}')
        assert around["a"][0] == 1
        assert around["b"] == (2, found)
    else:
        assert found.raw == text


@pytest.mark.parametrize("data", [None, b"1", 5, [], object()])
def test_data_that_is_not_text(data: Any) -> None:
    assert isinstance(decode(data), Undecodable)
    assert json.dumps(to_json(data))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e400", math.inf),
        ("-0", 0),
        ("-0.0", -0.0),
        (' {"a": 1 }\n', {"a": 1}),
        ('{"a":1,"a":2}', {"a": 2}),
        ('{"$":"set","$":"tuple","v":[1],"v":[2]}', (2,)),
        ('{"\\u0024":"tuple","v":[]}', {"$": "tuple", "v": []}),
        ('{"v":[1],"$":"tuple"}', (1,)),
        ('"' + "(a+)+" * 10_000 + '"', "(a+)+" * 10_000),
        (tag("enum", type="os.system", name="x", v=1), 1),
        (tag("dataclass", type="os.system", v={"$": 1, "__class__": 2}), {"$": 1, "__class__": 2}),
    ],
    ids=short,
)
def test_odd_text_that_can_be_read(text: str, value: Any) -> None:
    found = decode(text)
    assert (type(found), found) == (type(value), value)
    json.dumps(to_json(text), allow_nan=False)


def test_extreme_numbers_are_read_without_being_calculated() -> None:
    """Otherwise this test would not end."""
    for text in ("1e999999999", "-1E-999999999", "9" * 100_000, "sNaN" + "9" * 20, "1e999999999999999999"):
        found = decode(tag("Decimal", v=text))
        repr(found)
        decode(tag("dict", v=[[{"$": "Decimal", "v": text}, 1]]))
    decode(tag("int", v="0x" + "f" * 1_000_000))


def test_a_too_deep_text_is_not_given_to_a_json_writer() -> None:
    text = "[" * 900 + "]" * 900
    assert to_json(text) == {"$": "undecodable", "raw": text}
    flat = json.dumps([[]] * 2000)
    assert to_json(flat) == [[]] * 2000


@pytest.mark.slow
def test_deep_text_ends_no_process_that_raised_the_recursion_limit() -> None:
    script = (
        "import json, sys; from zrb_store.codec import Undecodable, decode, to_json\n"
        "sys.setrecursionlimit(10**6)\n"
        "for text in ('[' * 10**6, '[' * 10**5 + ']' * 10**5, '{\"$\":\"tuple\",\"v\":[' * 10**5 + ']}' * 10**5):\n"
        "    assert isinstance(decode(text), Undecodable)\n"
        "    assert to_json(text)['raw'] == text\n"
        "flat = [[[]]] * 5000 + ['[[\\\\\"[{']\n"
        "assert decode(json.dumps(flat)) == to_json(json.dumps(flat)) == flat"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_broken_part_of_a_set_or_a_key_keeps_the_rest() -> None:
    broken = '{"$":"datetime","v":3}'
    assert decode(f'{{"$":"set","v":[1,{broken}]}}') == {1, decode(broken)}
    assert decode(f'{{"$":"dict","v":[[{broken},1],[2,3]]}}') == {decode(broken): 1, 2: 3}


def test_stand_ins_show_themselves() -> None:
    assert repr(decode(tag("Money", v=1))) == """<undecodable Money: '{"$": "Money", "v": 1}' (no such type)>"""
    assert repr(Opaque("socket.socket", "<socket fd=3>")) == "<opaque socket.socket: <socket fd=3>>"
    assert len(repr(Opaque("x", "y" * 5000))) < 300


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["nan", "UTC", "0x1"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["$", "v", "type", "name", "tz"]) | st.text(max_size=3), inner, max_size=3)
        | st.fixed_dictionaries(
            {"$": st.sampled_from(TAGS), "v": inner}, optional={"type": inner, "name": inner, "tz": inner}
        )
    ),
    max_leaves=10,
)


def check_readable(text: str) -> None:
    found = decode(text)
    repr(found)
    plain = to_json(text)
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    encode(found, lenient=True)


@given(json_values)
def test_any_json_can_be_read(tree: Any) -> None:
    check_readable(json.dumps(tree))


@pytest.mark.promise(number=6)
@given(st.text() | st.text('{}[]":,$v0123456789.eE-+ntfu\\ ', max_size=40))
@example('{"$":"tuple","v":[1]}')
def test_any_text_can_be_read(text: str) -> None:
    check_readable(text)


@given(st.data())
def test_a_damaged_copy_of_a_stored_text_can_be_read(data: st.DataObject) -> None:
    text = encode({"a": (1, {2, "b"}), 3: b"x", "$": [Path("x"), 1.5, math.nan]}).data
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    check_readable(text[:start] + data.draw(st.text(max_size=3)) + text[end:])


@pytest.mark.promise(number=6)
def test_reading_runs_and_imports_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    loaded = set(sys.modules)
    for module, name in ((builtins, "eval"), (builtins, "exec"), (builtins, "open"), (os, "system")):
        monkeypatch.setattr(module, name, lambda *args, **kwargs: calls.append(args))
    for text in DAMAGED:
        if "ZoneInfo" not in text:
            decode(text)
            to_json(text)
    monkeypatch.undo()
    assert calls == []
    assert set(sys.modules) == loaded


# -- keys whose hashes are equal

P = 2**61 - 1  # each multiple of it has the hash 0
MANY = 8_000
REASON = "too many of its keys have the same hash"


COLLIDING: dict[str, Callable[[], str]] = {
    "ints": lambda: tag("dict", v=[[key * P, 0] for key in range(MANY)]),
    "in order": lambda: tag("OrderedDict", v=[[key * P, 0] for key in range(MANY)]),
    "set": lambda: tag("set", v=[key * P for key in range(MANY)]),
    "frozenset": lambda: tag("frozenset", v=[-key * P for key in range(1, MANY)]),
    "huge ints": lambda: tag("set", v=[{"$": "int", "v": hex(key * P << 2200)} for key in range(MANY // 10)]),
    "Decimals": lambda: tag("dict", v=[[{"$": "Decimal", "v": f"{key * P}.00"}, 0] for key in range(MANY)]),
    "UUIDs": lambda: tag("set", v=[{"$": "UUID", "v": f"{key * P:032x}"} for key in range(MANY)]),
    "tuples": lambda: tag("dict", v=[[{"$": "tuple", "v": [key * P, "x"]}, 0] for key in range(MANY)]),
    "long tuples": lambda: tag("set", v=[{"$": "tuple", "v": [*range(500, 2500), key * P]} for key in range(300)]),
    "many hashes": lambda: tag("dict", v=[[key % 4 + key * P, 0] for key in range(MANY)]),
    "many dicts": lambda: json.dumps([{"$": "dict", "v": [[key * P, 0] for key in range(2000)]} for _ in range(10)]),
}


def refused(value: Any) -> list[Any]:
    """Return the parts that could not be read."""
    return [one for one in (value if type(value) is list else [value]) if type(one) is Undecodable]


@pytest.mark.parametrize("make", COLLIDING.values(), ids=list(COLLIDING))
@pytest.mark.slow
def test_a_text_whose_keys_collide_is_given_up(make: Callable[[], str]) -> None:
    text = make()
    found = decode(text)
    assert refused(found)
    assert {one.reason for one in refused(found)} == {f"ValueError: {REASON}"}
    around = decode(f'{{"a":[1,{text}],"b":{{"$":"tuple","v":[2]}}}}')
    assert (around["a"][0], around["b"]) == (1, (2,))


@pytest.mark.parametrize(
    "make",
    [
        lambda keys: dict.fromkeys(keys, 0),
        lambda keys: OrderedDict.fromkeys(keys, 0),
        set,
        frozenset,
        lambda keys: {Decimal(key) for key in keys},
        lambda keys: {UUID(int=key) for key in keys},
        lambda keys: {(key, "x"): 0 for key in keys},
    ],
    ids=["dict", "OrderedDict", "set", "frozenset", "Decimal", "UUID", "tuple"],
)
def test_a_value_that_could_not_be_read_is_not_stored(
    make: Callable[[list[int]], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A value that is over the true limit takes a second to make.
    monkeypatch.setattr(_Walk, "_excess_left", ALLOWED_EXCESS // 16)
    value = make([key * P for key in range(MANY // 8)])
    with pytest.raises(UnencodableValue, match=rf"cannot store \$.x: {type(value).__name__} \({REASON}\)"):
        encode({"x": value})
    stored = encode({"x": value}, lenient=True)
    assert (type(decode(stored.data)), stored.restorable) == (Opaque, False)


@pytest.mark.slow
@pytest.mark.parametrize(
    "make",
    [
        lambda: {key * P: key for key in range(1000)},
        lambda: {key * P for key in range(2000)},
        lambda: {(key * P, "x"): key for key in range(1000)},
        lambda: {UUID(int=key * P) for key in range(1000)},
        lambda: {2**key for key in range(2000)},
        lambda: {-1: 1, -2: 2, **{key: key for key in range(200)}},
        lambda: {(x << 64) | y: 0 for x in range(150) for y in range(150)},
        lambda: {f"text {key}": 0 for key in range(20_000)} | {None: 0},
        lambda: [{key * P: 0 for key in range(128)} for _ in range(100)],
        lambda: {key * P: "a long item " * 1000 for key in range(200)},
    ],
    ids=["ints", "set", "tuples", "UUIDs", "powers", "-1 and -2", "a grid", "texts", "many small ones", "long items"],
)
def test_a_few_collisions_are_accepted(make: Callable[[], Any]) -> None:
    assert survives_round_trip(make())
