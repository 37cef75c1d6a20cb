"""Values come back equal and with the same type (guarantees.md, promise 6)."""

from __future__ import annotations

import collections
import io
import json
import math
import struct
import subprocess
import sys
import types
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path, PosixPath, PurePath, PurePosixPath, PureWindowsPath, WindowsPath
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.codec.values import (
    shape,
    survives_round_trip,
    values,
    zones,
)
from tests.support.programs import require_module
from zrb_store.codec import decode, encode, to_json
from zrb_store.codec.classes import CmdResult
from zrb_store.codec.tagged import READERS
from zrb_store.errors import UnencodableValue

ROOT = Path(__file__).parents[2]
ZONES = sorted(available_timezones())
HUGE = 10**5000 + 7
DEPTH = 200


if ZONES:
    zones |= st.sampled_from(["Europe/Dublin", "Australia/Lord_Howe", "Factory"]).map(ZoneInfo)


@pytest.mark.slow
@pytest.mark.promise(number=6)
@given(values)
@example({1: "a", "1": "b"})
@example({True: "a", "true": "b", None: "c", "null": "d", math.nan: "e"})
@example({"$": "tuple", "v": [1, 2]})
@example({"$": {"$": {"$": 1}}, "": [{"$": None}]})
@example([float("nan"), float("inf"), float("-inf"), -0.0, 5e-324, 1.7976931348623157e308])
@example([HUGE, -HUGE, 2**2100, 2**2100 - 1, 1 - 2**2100, 10**639, {HUGE: "x"}])
@example([Decimal("-0E-20"), Decimal("1E+999999999"), Decimal("NaN12"), Decimal("-sNaN"), Decimal("-Infinity")])
@example(["\x00", "\ud800", "\ude00\ud83d", "\ud83d\ude00", {"\ud83d\ude00": 1}])
@example([(), [], {}, set(), frozenset(), b"", "", bytearray()])
@example([timedelta.min, timedelta.max, datetime.min, datetime.max, date.min, time.max])
@example(datetime(2020, 1, 1, tzinfo=timezone(-timedelta(hours=5, seconds=1, microseconds=7))))
@example(time(1, tzinfo=timezone(timedelta(microseconds=1))))
@example([UTC, timezone(timedelta(0), "UTC"), timezone(timedelta(hours=1), "\ud83d\ude00")])
@pytest.mark.smoke
def test_equal_type_and_value_come_back(value: Any) -> None:
    assert survives_round_trip(value)


@pytest.mark.slow
@given(values, st.integers(1, 200))
def test_the_limit_is_the_greatest_size_of_the_text(value: Any, limit: int) -> None:
    encoded = encode(value, lenient=True, limit=limit)
    assert encoded.restorable == (encode(value).size <= limit)


@pytest.mark.skipif(not ZONES, reason="this system has no time zones")
def test_both_folds_of_a_zone_come_back() -> None:
    first, second = (datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=fold) for fold in (0, 1))
    assert decode(encode(first).data).utcoffset() == timedelta(hours=2)
    assert decode(encode(second).data).utcoffset() == timedelta(hours=1)
    assert decode(encode(second).data).tzinfo is second.tzinfo


@pytest.mark.skipif(not ZONES, reason="this system has no time zones")
def test_every_zone_of_this_system_comes_back() -> None:
    zones = [ZoneInfo(key) for key in ZONES]
    assert decode(encode(zones).data) == zones


@pytest.mark.parametrize("cls", [PurePosixPath, PureWindowsPath, type(Path())])
@pytest.mark.parametrize("text", ["", ".", "/", "//a", "a/../b", "C:\\x\\y", "\udcff", "\x00", "ü"])
def test_paths_keep_their_flavour(cls: type[PurePath], text: str) -> None:
    assert survives_round_trip(cls(text))


def test_a_path_of_another_system_comes_back_pure() -> None:
    other, pure = (WindowsPath, PureWindowsPath) if type(Path()) is PosixPath else (PosixPath, PurePosixPath)
    assert decode(json.dumps({"$": other.__name__, "v": "a"})) == pure("a")


def test_plain_values_are_written_as_json_writes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    value = {"name": "ä", "n": 1, "rate": 0.5, "none": None, "flags": [True, False], "in": {"a": [{}]}}
    monkeypatch.setattr("zrb_store.codec.text.writer", lambda: None)
    assert encode(value).data == json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    assert to_json(encode(value).data) == value


def test_a_set_is_always_written_the_same() -> None:
    words = [f"word{number}" for number in range(100)]
    backwards = {word for word in reversed(words)}  # noqa: C416 - the reversed order is intended
    assert encode(set(words)).data == encode(backwards).data


STORED: list[tuple[Any, str]] = [
    ("\ud83d\ude00", r'{"$":"str","v":["\ud83d","\ude00"]}'),
    (1 << 2200, f'{{"$":"int","v":"{1 << 2200:#x}"}}'),
    (-math.inf, '{"$":"float","v":"-inf"}'),
    ((1, None), '{"$":"tuple","v":[1,null]}'),
    ({"z", "é", "Z"}, '{"$":"set","v":["Z","z","é"]}'),
    (frozenset({(1,)}), '{"$":"frozenset","v":[{"$":"tuple","v":[1]}]}'),
    ({"$": 1}, '{"$":"dict","v":[["$",1]]}'),
    ({7: UUID(int=7)}, '{"$":"dict","v":[[7,{"$":"UUID","v":"00000000-0000-0000-0000-000000000007"}]]}'),
    (collections.OrderedDict(b=1, a=2), '{"$":"OrderedDict","v":[["b",1],["a",2]]}'),
    (b"\x00\xff", '{"$":"bytes","v":"AP8="}'),
    (bytearray(b"a"), '{"$":"bytearray","v":"YQ=="}'),
    (Decimal("9.90"), '{"$":"Decimal","v":"9.90"}'),
    (PosixPath("a/b"), '{"$":"PosixPath","v":"a/b"}'),
    (PurePosixPath("a/b"), '{"$":"PurePosixPath","v":"a/b"}'),
    (PureWindowsPath("a/b"), r'{"$":"PureWindowsPath","v":"a\\b"}'),
    (date(2026, 11, 24), '{"$":"date","v":"2026-11-24"}'),
    (datetime(2026, 11, 24, 8, 30, tzinfo=UTC), '{"$":"datetime","v":"2026-11-24T08:30:00+00:00"}'),
    (
        datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1),
        '{"$":"datetime","v":"2026-10-25T02:30:00","tz":{"$":"ZoneInfo","v":"Europe/Berlin"},"fold":1}',
    ),
    (time(8, 30), '{"$":"time","v":"08:30:00"}'),
    (timedelta(1, 2, 3), '{"$":"timedelta","v":[1,2,3]}'),
    (timezone(timedelta(hours=2), "X"), '{"$":"timezone","v":[[0,7200,0],"X"]}'),
    (CmdResult("out", "err", "shown"), '{"$":"CmdResult","v":{"output":"out","error":"err","display":"shown"}}'),
]
"""Values with the texts that stores hold of them: a tag never changes its meaning."""


@pytest.mark.promise(number=6)
@pytest.mark.parametrize(("value", "text"), STORED, ids=[text[:30] for _, text in STORED])
def test_a_stored_text_is_the_same_for_ever(value: Any, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zrb.cmd.cmd_result", None)
    assert encode(value).data == text
    assert shape(decode(text)) == shape(value)


def test_every_tag_has_its_stored_text() -> None:
    """Those of classes are in `codec/test_classes.py`; the rest stands for what could not be stored or read."""
    other = {"object", "enum", "dataclass", "WindowsPath", "opaque", "undecodable"}
    assert {json.loads(text)["$"] for _, text in STORED} | {"UUID", "ZoneInfo"} == set(READERS) - other


def test_long_ints_come_back_where_python_reads_the_fewest_digits() -> None:
    script = (
        "import sys; from zrb_store.codec import decode, encode\n"
        "values = [10**639, -10**640, 10**4299, 7**9999]\n"
        "texts = [encode(value).data for value in values]\n"
        "sys.set_int_max_str_digits(640)\n"
        "assert [decode(text) for text in texts] == values\n"
        "sys.set_int_max_str_digits(0)\n"
        "assert [encode(value).data for value in values] == texts"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def round_trip(value: Any, frames: int) -> Any:
    """Encode and decode in a function that calls itself `frames` times."""
    return round_trip(value, frames - 1) if frames else decode(encode(value).data)


def nested(make: Any, depth: int) -> Any:
    value: Any = make(0)
    for _ in range(depth - 1):
        value = make(value)
    return value


@pytest.mark.parametrize(
    "make",
    [lambda v: [v], lambda v: {"k": v}, lambda v: (v,), lambda v: {1: v}, lambda v: {"$": v}],
    ids=["list", "dict", "tuple", "pairs", "marked"],
)
def test_the_deepest_value_comes_back_also_deep_in_a_program(make: Any) -> None:
    value = nested(make, DEPTH)
    assert bool(round_trip(value, frames=200) == value)
    assert to_json(encode(value).data) == json.loads(encode(value).data)
    with pytest.raises(UnencodableValue, match=r"nested more than 200 deep"):
        encode(make(value))


@pytest.fixture
def zrb_without_display(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The class CmdResult of zrb 1.0.0, whose constructor takes two arguments."""

    class CmdResult:
        def __init__(self, output: str, error: str) -> None:
            self.output = output
            self.error = error

    CmdResult.__module__ = "zrb.cmd.cmd_result"
    module = types.ModuleType("zrb.cmd.cmd_result")
    module.CmdResult = CmdResult  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return CmdResult


def test_a_command_result_comes_back_as_the_class_that_zrb_has(zrb_without_display: Any) -> None:
    value = zrb_without_display("out", "err")
    found = decode(encode(value).data)
    assert type(found) is zrb_without_display
    assert vars(found) == {"output": "out", "error": "err"}
    assert to_json(encode(value).data) == {"$": "CmdResult", "v": {"output": "out", "error": "err"}}


def test_the_installed_zrb_gets_its_own_class() -> None:
    cls = require_module("zrb.cmd.cmd_result").CmdResult
    found = decode(encode(cls("a\nb", "", "A\nB")).data)
    assert type(found) is cls
    assert (str(found), found.display, repr(found)) == ("a\nb", "A\nB", repr(cls("a\nb", "", "A\nB")))


def test_without_zrb_a_stand_in_is_as_good(monkeypatch: pytest.MonkeyPatch, zrb_without_display: Any) -> None:
    data = encode(zrb_without_display("out", "err")).data
    monkeypatch.delitem(sys.modules, "zrb.cmd.cmd_result")
    assert f"{decode(data)}" == "out"
    assert decode(encode(CmdResult("out", "err", "shown")).data) == CmdResult("out", "err", "shown")


def test_a_time_zone_without_a_name_cannot_be_stored() -> None:
    zone = b"TZif" + bytes(16) + struct.pack(">6l", 0, 0, 0, 0, 1, 4) + struct.pack(">lbb", 0, 0, 0) + b"UTC\0"
    with pytest.raises(UnencodableValue, match="it has no key"):
        encode(ZoneInfo.from_file(io.BytesIO(zone)))
