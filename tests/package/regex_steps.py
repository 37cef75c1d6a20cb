"""The work of a regular expression, counted: how many characters a matcher that backtracks as Python's compares.

Unlike a time, the number is the same on each machine.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import Any

_RECURSION = 200_000  # a repeated group needs some calls for each repetition
_CATEGORIES = {"DIGIT": r"\d", "SPACE": r"\s", "WORD": r"\w"}

Then = Callable[[int], int]  # goes on from a place, and returns where the match ends; -1 for none


def steps(pattern: str, text: str, flags: int = 0) -> int:
    """Count the comparisons with which all matches of a pattern in a text are found."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(_RECURSION)
    try:
        return _Matcher(text).find_all(pattern, flags)
    finally:
        sys.setrecursionlimit(limit)


class _Matcher:
    def __init__(self, text: str) -> None:
        self._text, self._steps = text, 0
        self._groups: dict[int, str | None] = {}

    def find_all(self, pattern: str, flags: int) -> int:
        tree = re._parser.parse(pattern, flags)  # type: ignore[attr-defined]
        place = 0
        while place <= len(self._text):
            self._groups = {}
            end = self._match(list(tree), 0, place, tree.state.flags, lambda at: at)
            place = max(end, place + 1)
        return self._steps

    def _match(self, items: list[Any], index: int, at: int, flags: int, then: Then) -> int:
        if index == len(items):
            return then(at)
        name, value = str(items[index][0]), items[index][1]

        def rest(place: int) -> int:
            return self._match(items, index + 1, place, flags, then)

        if name in ("LITERAL", "NOT_LITERAL", "ANY", "IN"):
            return rest(at + 1) if self._is_char(name, value, at, flags) else -1
        if name == "BRANCH":
            return self._first(self._match(list(each), 0, at, flags, rest) for each in value[1])
        if name == "SUBPATTERN":
            return self._group(value, at, flags, rest)
        if name in ("MAX_REPEAT", "MIN_REPEAT"):
            return self._repeat(name == "MIN_REPEAT", value, at, flags, rest)
        if name in ("POSSESSIVE_REPEAT", "ATOMIC_GROUP"):
            whole = [(re._parser.MAX_REPEAT, value)] if name[0] == "P" else list(value)  # type: ignore[attr-defined]
            end = self._match(whole, 0, at, flags, lambda place: place)
            return -1 if end < 0 else rest(end)
        if name in ("ASSERT", "ASSERT_NOT"):
            direction, inner = value
            start = at if direction > 0 else at - inner.getwidth()[0]
            found = -1 if start < 0 else self._match(list(inner), 0, start, flags, lambda place: place)
            return rest(at) if (found >= 0) == (name == "ASSERT") else -1
        if name == "AT":
            return rest(at) if self._is_at(str(value), at, flags) else -1
        if name == "GROUPREF":
            wanted = self._groups.get(value)
            if wanted is None:
                return -1
            same = next((n for n, char in enumerate(wanted) if self._text[at + n : at + n + 1] != char), len(wanted))
            self._steps += same + 1
            return rest(at + same) if same == len(wanted) else -1
        assert name == "GROUPREF_EXISTS", name
        number, yes, no = value
        chosen = yes if self._groups.get(number) is not None else no or []
        return self._match(list(chosen), 0, at, flags, rest)

    @staticmethod
    def _first(ends: Any) -> int:
        return next((end for end in ends if end >= 0), -1)

    def _group(self, value: Any, at: int, flags: int, then: Then) -> int:
        number, added, removed, inner = value
        before = self._groups.get(number)

        def after(end: int) -> int:
            self._groups[number] = self._text[at:end]
            return then(end)

        end = self._match(list(inner), 0, at, (flags | added) & ~removed, after)
        if end < 0:
            self._groups[number] = before
        return end

    def _repeat(self, is_lazy: bool, value: Any, at: int, flags: int, then: Then) -> int:
        least, most, inner = value
        items = list(inner)
        if len(items) == 1 and str(items[0][0]) in ("LITERAL", "NOT_LITERAL", "ANY", "IN") and not is_lazy:
            end = at
            while end - at < most and self._is_char(str(items[0][0]), items[0][1], end, flags):
                end += 1
            return self._first(then(place) for place in range(end, at + least - 1, -1))

        def again(place: int, count: int) -> int:
            def more() -> int:
                if count >= most:
                    return -1
                return self._match(
                    items, 0, place, flags, lambda end: again(end, count + 1) if end > place or count < least else -1
                )

            tries = (more, lambda: then(place)) if not is_lazy else (lambda: then(place), more)
            return more() if count < least else self._first(each() for each in tries)

        return again(at, 0)

    def _is_char(self, name: str, value: Any, at: int, flags: int) -> bool:
        self._steps += 1
        if at >= len(self._text):
            return False
        char = self._text[at]
        if name == "ANY":
            return bool(flags & re.DOTALL) or char != "\n"
        if name == "IN":
            return self._is_in(value, char, flags)
        return self._is_in([("LITERAL", value)], char, flags) == (name == "LITERAL")

    def _is_in(self, value: Any, char: str, flags: int) -> bool:
        forms = {char, char.lower(), char.upper()} if flags & re.IGNORECASE else {char}
        found, negated = False, False
        for kind, one in value:
            match str(kind):
                case "NEGATE":
                    negated = True
                case "LITERAL":
                    found = found or chr(one) in forms
                case "RANGE":
                    found = found or any(len(form) == 1 and one[0] <= ord(form) <= one[1] for form in forms)
                case _:
                    *_, not_, category = ("", *str(one).removeprefix("CATEGORY_").split("_"))
                    found = found or bool(re.match(_CATEGORIES[category], char)) == (not_ != "NOT")
        return found != negated

    def _is_at(self, where: str, at: int, flags: int) -> bool:
        self._steps += 1
        before, after = self._text[at - 1 : at] if at else "", self._text[at : at + 1]
        is_multiline = bool(flags & re.MULTILINE)
        match where:
            case "AT_BEGINNING":
                return at == 0 or (is_multiline and before == "\n")
            case "AT_END":
                return not after or (after == "\n" and (is_multiline or at + 1 == len(self._text)))
            case "AT_BEGINNING_STRING":
                return at == 0
            case "AT_END_STRING":
                return not after
        assert where == "AT_BOUNDARY", where
        return bool(re.match(r"\w", before)) != bool(re.match(r"\w", after))
