"""Values of every type that can be stored, and a comparison that sees their types."""

from __future__ import annotations

import collections
import json
from datetime import datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import PosixPath, PurePosixPath, PureWindowsPath
from typing import Any

import pytest
from hypothesis import strategies as st

from zrb_store.codec import decode, encode, to_json


def shape(value: Any) -> Any:
    """Return what must be preserved: exact types at every level, the order of dicts, the sign of zero, the fold."""
    kind = type(value)
    if kind in (list, tuple):
        return kind, [shape(item) for item in value]
    if kind in (set, frozenset):
        return kind, sorted((shape(item) for item in value), key=repr)
    if kind in (dict, collections.OrderedDict):
        return kind, [(shape(key), shape(item)) for key, item in value.items()]
    if kind in (datetime, time):
        return kind, value.replace(tzinfo=None).isoformat(), value.fold, type(value.tzinfo), repr(value.tzinfo)
    if kind is int:
        return kind, hex(value)
    return kind, repr(value)


def survives_round_trip(value: Any) -> bool:
    encoded = encode(value)
    assert encoded.restorable
    assert encoded.problem is None
    assert encoded.type == type(value).__name__
    assert encoded.size == len(encoded.data.encode())
    assert "\x00" not in encoded.data
    json.loads(encoded.data, parse_constant=pytest.fail)
    assert encode(value, lenient=True) == encoded
    json.dumps(to_json(encoded.data), allow_nan=False)
    return bool(shape(decode(encoded.data)) == shape(value))


texts = st.text(st.characters(exclude_categories=()), max_size=8) | st.sampled_from(
    ["$", "\ud83d\ude00", "😀", "한\x00"]
)


offsets = st.timedeltas(timedelta(hours=-23), timedelta(hours=23))


zones: st.SearchStrategy[Any] = st.none() | st.builds(timezone, offsets) | st.builds(timezone, offsets, texts)


moments = st.datetimes(timezones=zones) | st.times(timezones=zones) | st.dates() | st.timedeltas()


numbers = st.integers() | st.sampled_from([2**2100, -(2**2100)]) | st.floats() | st.decimals() | st.booleans()


paths = st.builds(PurePosixPath, texts) | st.builds(PureWindowsPath, texts) | st.builds(PosixPath, texts)


hashable_leaves = st.none() | numbers | texts | st.binary(max_size=8) | moments | st.uuids() | paths


keys = st.recursive(
    st.deferred(lambda: hashable_leaves).filter(lambda value: not (type(value) is Decimal and value.is_snan())),
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.frozensets(inner, max_size=3),
    max_leaves=4,
)


values = st.recursive(
    st.deferred(lambda: hashable_leaves | st.binary(max_size=8).map(bytearray) | st.just(Decimal("sNaN12"))),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.sets(keys, max_size=3)
        | st.frozensets(keys, max_size=3)
        | st.dictionaries(st.just("$") | texts, inner, max_size=4)
        | st.dictionaries(keys, inner, max_size=4)
        | st.dictionaries(keys, inner, max_size=3).map(collections.OrderedDict)
    ),
    max_leaves=12,
)
