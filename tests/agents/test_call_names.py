"""The numbers of calls whose ids come again."""

from __future__ import annotations

from zrb_store.agents.runtime.names import CallNames


def numbers(calls: CallNames, *made: tuple[str, int]) -> list[int]:
    return [calls.number(text, position) for text, position in made]


def test_each_use_of_an_id_has_a_number() -> None:
    made = [("a", 1), ("b", 1), ("a", 2), ("a", 2), ("b", 3)]
    assert numbers(CallNames(), *made) == [1, 1, 2, 3, 2]


def test_calls_that_are_made_again_keep_their_numbers() -> None:
    calls = CallNames()
    assert numbers(calls, ("a", 1), ("a", 2), ("a", 3)) == [1, 2, 3]
    calls.restart(2)
    assert numbers(calls, ("a", 2), ("a", 3), ("a", 4)) == [2, 3, 4]
    calls.restart(0)
    assert numbers(calls, ("a", 1), ("a", 2), ("a", 3), ("a", 4)) == [1, 2, 3, 4]
