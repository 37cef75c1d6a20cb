"""A limit on dicts and sets with many keys of the same hash.

Python compares a key with every other key of the same hash. Anybody can choose ints, Decimals, UUIDs and tuples that
have the same hash, and a megabyte of them would keep a reader busy for minutes. So such a text is not read. To keep
the promise that every stored value can be read again, such a value is not stored either.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from typing import Any

from zrb_store.codec.json_text import ascii_dumps
from zrb_store.json_tree import JsonValue

ALLOWED_EXCESS = 64 * 1024 * 1024
"""Bytes that may be compared to read one value, in addition to the shares of its dicts and sets: about 100 ms."""

_SHARE = 64  # bytes that may be compared for each byte of a dict's keys; reading them takes several times as long
FEW = 2 * _SHARE
"""Number of keys up to which a dict or a set cannot exceed its share."""

TOO_MANY = "too many of its keys have the same hash"


def excess_work(keys: Collection[Any], trees: Iterable[JsonValue]) -> int:
    """Return how many bytes Python compares to make a dict or a set, beyond its share.

    Args:
        keys: The keys of the dict, or the elements of the set.
        trees: Their JSON trees.
    """
    suspects = keys
    if str in set(map(type, keys)):  # nobody can choose the hash of a text, since Python randomises it
        suspects = [key for key in keys if type(key) is not str]
    if len(suspects) - len(set(map(hash, suspects))) < FEW:
        return 0
    counts = Counter(map(hash, suspects))
    excess = 0
    for key, tree in zip(keys, trees, strict=True):
        others = max(0, counts[hash(key)] - 1)
        # Halved, because this loop meets each pair of keys twice, and Python compares it once.
        excess += (others - 2 * _SHARE) * len(ascii_dumps(tree)) // 2
    return max(0, excess)
