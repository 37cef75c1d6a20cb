"""Parts of a value by their path, as in `$.rows[0].name`: finding one, and comparing two values part by part."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from itertools import zip_longest
from typing import Any

from zrb_store import codec
from zrb_store.codec.shown import key_step
from zrb_store.errors import InvalidName, ValueNotFound

_STEP = re.compile(r"""\.([^.\[\]"']+)|\[(-?\d+)\]|\[("(?:[^"\\]|\\.)*")\]|\['([^']*)'\]""")
_PAIRS = ("dict", "OrderedDict")
_UNORDERED = ("set", "frozenset")
_ABSENT = object()


def part(tree: Any, path: str) -> Any:
    """The part of a value (as `codec.to_json` gives it) that a path leads to.

    Raises:
        InvalidName: The path is not of the form `$.name[0]["odd name"]`.
        ValueNotFound: The value has no such part.
    """
    here = "$"
    for step in _steps(path):
        here += key_step(step)
        tree = _inner(tree, step)
        if tree is _ABSENT:
            raise ValueNotFound(f"the value has no part {here}")
    return tree


def _inner(tree: Any, step: str | int) -> Any:
    """The part of a value that one step leads to."""
    while type(tree) is dict and "$" in tree:
        tag, tree = tree["$"], tree.get("v")
        if tag in _PAIRS:
            return _by_step(tree).get(_step_to(step), _ABSENT)
    if type(tree) is list and type(step) is int:
        return tree[step] if -len(tree) <= step < len(tree) else _ABSENT
    return tree.get(step, _ABSENT) if type(tree) is dict else _ABSENT


def _steps(path: str) -> list[str | int]:
    steps: list[str | int] = []
    place = 1
    while place < len(path):
        match = _STEP.match(path, place)
        if match is None:
            break
        name, index, quoted, single = match.groups()
        try:
            steps.append(int(index) if index else json.loads(quoted) if quoted else name or single)
        except ValueError:  # not JSON after all, or more digits than Python takes
            break
        place = match.end()
    if path[:1] != "$" or place < len(path):
        raise InvalidName(f"""{path!r} is not a path: write it as $.rows[0].name or $["odd name"]""")
    return steps


def _step_to(key: str | int) -> str:
    """The step that leads to a key; unlike `key_step` whole, however long the key is."""
    if type(key) is str:
        return f".{key}" if key.isidentifier() else f"[{json.dumps(key)}]"
    try:
        return f"[{key}]"
    except ValueError:  # more digits than Python writes
        return key_step(key)


def _by_step(pairs: Any) -> dict[str, Any]:
    """The items of a dict that is written as pairs, by the step to each. Only texts and ints have one.

    The keys are texts, since ints may have been chosen to collide.
    """
    try:
        return {_step_to(key): item for key, item in pairs if type(key) in (str, int)}
    except (TypeError, ValueError):  # damaged
        return {}


def _all_by_step(pairs: Any) -> dict[str, Any] | None:
    """Likewise; None if an item has no step."""
    items = _by_step(pairs)
    return items if type(pairs) is list and len(items) == len(pairs) else None


def differences(one: Any, two: Any, path: str = "$") -> Iterator[dict[str, Any]]:
    """Where two values (as `codec.to_json` gives them) differ.

    Yields:
        `path`, `kind` (`changed`, `only_a` or `only_b`), and the parts there as `a` and `b`.
    """
    parts = _parts(one, two)
    if parts is None:
        if not codec.same(one, two):
            yield {"path": path, "kind": "changed", "a": one, "b": two}
        return
    for step, a, b in parts:
        yield from _compared(a, b, path + step)


def list_differences(one: Iterable[Any], two: Iterable[Any], path: str) -> Iterator[dict[str, Any]]:
    """As `differences`, of two lists that are gone through once."""
    for place, (a, b) in enumerate(zip_longest(one, two, fillvalue=_ABSENT)):
        yield from _compared(a, b, f"{path}[{place}]")


def _compared(a: Any, b: Any, path: str) -> Iterator[dict[str, Any]]:
    if a is _ABSENT or b is _ABSENT:
        only_a = b is _ABSENT
        kind = "only_a" if only_a else "only_b"
        yield {"path": path, "kind": kind, "a": a if only_a else None, "b": None if only_a else b}
    else:
        yield from differences(a, b, path)


def _parts(one: Any, two: Any) -> list[tuple[str, Any, Any]] | None:
    """The parts of two containers of one kind, side by side; None if they can only be compared whole."""
    if type(one) is list and type(two) is list:
        pairs = zip_longest(one, two, fillvalue=_ABSENT)
        return [(f"[{place}]", a, b) for place, (a, b) in enumerate(pairs)]
    if type(one) is not dict or type(two) is not dict:
        return None
    if "$" not in one and "$" not in two:
        return [(_step_to(key), *both) for key, *both in _side_by_side(one, two)]
    tag = one.get("$")
    if tag in _UNORDERED or {**one, "v": 0} != {**two, "v": 0}:
        return None
    if tag not in _PAIRS:
        return _parts(one.get("v"), two.get("v"))
    a, b = (_all_by_step(tree.get("v")) for tree in (one, two))
    if a is None or b is None or (tag == "OrderedDict" and [*a] != [*b]):
        return None
    return list(_side_by_side(a, b))


def _side_by_side(one: dict[str, Any], two: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    return ((key, one.get(key, _ABSENT), two.get(key, _ABSENT)) for key in dict.fromkeys([*one, *two]))
