"""Which stored values count as the same."""

from __future__ import annotations

import json
from typing import Any

import pytest

from zrb_store import codec
from zrb_store.codec.compare import Difference, differences, same

DEPTH = 200


def tree(value: Any) -> Any:
    return codec.to_json(codec.encode(value).data)


@pytest.mark.parametrize("wrap", [lambda v: [v], lambda v: (v,), lambda v: {"k": v}, lambda v: {1: v}])
def test_values_as_deep_as_allowed_are_compared_by_type(wrap: Any) -> None:
    one: Any = wrap(0)
    two: Any = wrap(False)
    for _ in range(DEPTH - 1):
        one, two = wrap(one), wrap(two)
    assert same(tree(one), tree(one))
    assert not same(tree(one), tree(two))


@pytest.mark.parametrize(
    "damaged",
    [
        {"$": None},
        {"$": []},
        {"$": {}},
        {"$": "dict"},
        {"$": "dict", "v": 1},
        {"$": "dict", "v": [[1]]},
        {"$": "dict", "v": [[1, 2], [1, 2]]},
        {"$": "dict", "v": {"ab": 1}},
        {"$": "dataclass", "type": [], "v": 1},
        {"$": "Decimal", "v": "x"},
        {"$": "Decimal", "v": "sNaN"},
        {"$": "datetime", "v": None},
        {"$": "object", "type": "unknown", "v": []},
        {"$": "undecodable", "raw": "x"},
    ],
    ids=json.dumps,
)
def test_damaged_values_are_the_same_only_as_themselves(damaged: Any) -> None:
    assert same(damaged, json.loads(json.dumps(damaged)))
    others: list[Any] = [{"$": "dict", "v": []}, {"$": "tuple", "v": []}, {}, [], None, {**damaged, "more": 1}]
    for other in others:
        assert not same(damaged, other)
        assert not same(other, damaged)


def test_instants_and_numbers_are_compared_by_value() -> None:
    moment: Any = {"$": "datetime", "v": "2026-11-24T12:00:00+00:00"}
    assert same(moment, {"$": "datetime", "v": "2026-11-24T13:00:00+01:00"})
    assert not same(moment, {"$": "datetime", "v": "2026-11-24T13:00:00+00:00"})
    assert same({"$": "Decimal", "v": "1.0"}, {"$": "Decimal", "v": "1.00"})


@pytest.mark.parametrize("other", [{1, 2}, frozenset({1, 2})], ids=repr)
def test_types_that_have_equal_items_differ(other: Any) -> None:
    pair = tree((1, 2)), tree(other)
    assert [*differences(*pair)] == [Difference("$", "changed", *pair)]
