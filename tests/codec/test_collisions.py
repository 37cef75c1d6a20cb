"""Dicts and sets whose keys have equal hashes cost little time, and whatever is stored can be read back."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from tests.codec.values import survives_round_trip
from zrb_store.codec import Opaque, Undecodable, decode, encode
from zrb_store.codec.walk import ALLOWED_EXCESS, _Walk
from zrb_store.errors import UnencodableValue

P = 2**61 - 1  # each multiple of it has the hash 0
MANY = 8_000
REASON = "too many of its keys have the same hash"


def tag(marker: str, payload: Any) -> str:
    return json.dumps({"$": marker, "v": payload})


COLLIDING: dict[str, Callable[[], str]] = {
    "ints": lambda: tag("dict", [[key * P, 0] for key in range(MANY)]),
    "in order": lambda: tag("OrderedDict", [[key * P, 0] for key in range(MANY)]),
    "set": lambda: tag("set", [key * P for key in range(MANY)]),
    "frozenset": lambda: tag("frozenset", [-key * P for key in range(1, MANY)]),
    "huge ints": lambda: tag("set", [{"$": "int", "v": hex(key * P << 2200)} for key in range(MANY // 10)]),
    "Decimals": lambda: tag("dict", [[{"$": "Decimal", "v": f"{key * P}.00"}, 0] for key in range(MANY)]),
    "UUIDs": lambda: tag("set", [{"$": "UUID", "v": f"{key * P:032x}"} for key in range(MANY)]),
    "tuples": lambda: tag("dict", [[{"$": "tuple", "v": [key * P, "x"]}, 0] for key in range(MANY)]),
    "long tuples": lambda: tag("set", [{"$": "tuple", "v": [*range(500, 2500), key * P]} for key in range(300)]),
    "many hashes": lambda: tag("dict", [[key % 4 + key * P, 0] for key in range(MANY)]),
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
