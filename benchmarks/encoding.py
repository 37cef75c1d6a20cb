"""How long does it take to write and to read a value?

`zrb-store` is our codec, which checks that a value can be restored; the standard library is `json.dumps` and
`json.loads`, which do not. Each shape has 10 KB and 1 MB as JSON. `nested` is a dict of dicts with lists in them.
The last columns are what could be reached: msgspec without our checks, and pickle and marshal. Those read bytes
that are not JSON. Most of the time of reading goes into making the objects, for everyone. From 64 KB on, we keep
Python 3.11 from looking for garbage meanwhile, so that we may be faster than msgspec alone.
"""

from __future__ import annotations

import json
import marshal
import pickle
from collections.abc import Callable
from typing import Any

import msgspec

from benchmarks.harness import Contestant, Effort, Race, Ratio, ratio_of, timed
from benchmarks.report import Answer, at_least, table
from zrb_store import codec

STANDARD, OURS, MSGSPEC, PICKLE, MARSHAL = "standard library", "zrb-store", "msgspec", "pickle", "marshal"
SHAPES: dict[str, Callable[[int], Any]] = {
    "records": lambda size: [
        {"id": number, "name": f"customer {number:05}", "city": "x" * 30, "paid": number / 8}
        for number in range(size // 93)
    ],
    "numbers": lambda size: [[number * 7.25, number, -number * 1e-5] for number in range(size // 31)],
    "texts": lambda size: [f"Some words number {number}, about 60 characters of them" for number in range(size // 60)],
    "one text": lambda size: "\n".join(f"line {number}: something happened in Zürich" for number in range(size // 42)),
    "nested": lambda size: {
        f"key{number}": {"tags": ["a", "b"], "none": None, "n": number, "share": number / 3, "ok": True}
        for number in range(size // 85)
    },
}
SIZES = {"10 KB": 10_000, "1 MB": 1_000_000}


def turn(dumps: Callable[[Any], Any], loads: Callable[[Any], Any], value: Any, times: int) -> Contestant:
    """Return a turn that writes and reads a value."""
    text = dumps(value)
    assert loads(text) == value
    return lambda: {"write": timed(lambda: dumps(value), times), "read": timed(lambda: loads(text), times)}


def both(race: Race) -> Ratio:
    """Return how many times as long the standard library takes to write and read."""
    sums = [
        [write + read for write, read in zip(*(race.samples(name, each) for each in ("write", "read")), strict=True)]
        for name in (STANDARD, OURS)
    ]
    return ratio_of([one / other for one, other in zip(*sums, strict=True)])


def run(effort: Effort) -> Answer:
    """Run one race for each shape and size."""
    answer, rows = Answer(), []
    contestants: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
        STANDARD: (json.dumps, json.loads),
        OURS: (lambda value: codec.encode(value).data, codec.decode),
        MSGSPEC: (lambda value: msgspec.json.encode(value).decode(), msgspec.json.Decoder().decode),
        PICKLE: (lambda value: pickle.dumps(value, pickle.HIGHEST_PROTOCOL), pickle.loads),
        MARSHAL: (marshal.dumps, marshal.loads),
    }
    for shape, make in SHAPES.items():
        for size, count in SIZES.items():
            value, times = make(count), max(1, 1_000_000 // count)
            turns = {name: turn(dumps, loads, value, times) for name, (dumps, loads) in contestants.items()}
            race = Race(turns, effort(25, 7), effort(4, 2))
            faster = [race.ratio(operation, STANDARD, OURS) for operation in ("write", "read")] + [both(race)]
            ceilings = [("write", MSGSPEC), ("read", MSGSPEC), ("read", PICKLE), ("read", MARSHAL)]
            most = [race.ratio(operation, STANDARD, name) for operation, name in ceilings]
            rows.append([f"{shape}, {size}", *map(str, faster + most)])
            if shape == "records":
                for operation, ratio in zip(("write", "read", "write and read"), faster, strict=True):
                    answer.goals.append(at_least(f"{operation} {size} of records: faster than `json`", 2, ratio))
    ceilings_head = ["write: msgspec alone", "read: msgspec alone", "read: pickle", "read: marshal"]
    answer.add(*table(["x faster than the standard library", "write", "read", "both", *ceilings_head], rows))
    return answer
