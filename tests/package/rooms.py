"""Print how many tests each folder has, the seconds that they took, and the ten slowest tests.

Usage: pytest -n 6 --junit-xml=FILE; python -m tests.package.rooms FILE
"""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter, defaultdict


def main(file: str) -> None:
    """Read the report of a run of pytest."""
    tests: Counter[str] = Counter()
    seconds: defaultdict[str, float] = defaultdict(float)
    each: defaultdict[str, float] = defaultdict(float)
    for case in ElementTree.parse(file).iter("testcase"):
        place = str(case.get("classname")).removeprefix("tests.")
        room, took = place.partition(".")[0], float(case.get("time", 0))
        tests[room] += 1
        seconds[room] += took
        each[f"{place}.{case.get('name')}"] += took
    print("| folder | tests | seconds |\n|---|---:|---:|")
    print(*(f"| `{room}` | {tests[room]} | {took:.0f} |" for room, took in slowest(seconds)), sep="\n")
    print(*(f"{took:6.1f} s  {name}" for name, took in slowest(each)[:10]), sep="\n")


def slowest(seconds: dict[str, float]) -> list[tuple[str, float]]:
    """Return names and seconds, the longest first."""
    return sorted(seconds.items(), key=lambda one: -one[1])


if __name__ == "__main__":
    main(*sys.argv[1:])
