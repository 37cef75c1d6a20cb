"""Dicts and sets with many keys of one hash.

Python compares a key with every other key of the same hash. Anybody can choose ints, Decimals, UUIDs and tuples that
have the same hash, and a megabyte of them would keep a reader busy for minutes. So such a text is not read. To keep
the promise that whatever is stored comes back, such a value is not stored either.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from typing import Any

from zrb_store.codec.strict_json import dumps

FREE = 64 * 1024 * 1024
"""Bytes of keys that may be compared to read a value, in addition to the share of each dict: some 100 ms."""

_SHARE = 64  # bytes that may be compared per byte of a dict's keys: reading it takes a few times as long
FEW = 2 * _SHARE
"""A dict of so many keys cannot exceed its share."""

TOO_MANY = "too many of its keys have the same hash"


def excess_work(keys: Collection[Any], trees: Iterable[Any]) -> int:
    """How many bytes are compared to make a dict or a set, less its share.

    Args:
        keys: Its keys or elements.
        trees: Their JSON trees.
    """
    suspects = keys
    if str in set(map(type, keys)):  # the hash of a text is random, and cannot be chosen
        suspects = [key for key in keys if type(key) is not str]
    if len(suspects) - len(set(map(hash, suspects))) < FEW:
        return 0
    counts = Counter(map(hash, suspects))
    excess = 0
    for key, tree in zip(keys, trees, strict=True):
        others = max(0, counts[hash(key)] - 1)  # each pair of keys is compared once
        excess += (others - 2 * _SHARE) * len(dumps(tree)) // 2
    return max(0, excess)
