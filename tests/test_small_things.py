"""Small functions at their less usual arguments."""

from __future__ import annotations

import pytest

from zrb_store import Waiting
from zrb_store.codec.arguments import call_text
from zrb_store.errors import waiting_in
from zrb_store.local_time import rounded
from zrb_store.masking import MASK, mask_named
from zrb_store.render import format as form


@pytest.mark.parametrize(
    ("count", "text"), [(5, "5 B"), (2048, "2.0 KiB"), (3 * 2**20, "3.0 MiB"), (3 * 2**30, "3.0 GiB")]
)
def test_sizes(count: int, text: str) -> None:
    assert form.size(count) == text


@pytest.mark.parametrize(("seconds", "text"), [(30, "30 s"), (240, "4 min"), (7200, "2 h"), (200_000, "2 d")])
def test_lengths_of_time(seconds: int, text: str) -> None:
    assert rounded(seconds * 1_000_000) == text


def test_a_text_in_two_parts_is_one_text() -> None:
    """JSON would read two surrogates beside each other as one character, so they are stored apart."""
    assert form.single_text({"$": "str", "v": ["\ud83d", "\ude00"]}) == "\ud83d\ude00"


def test_pairs_with_secret_names_are_masked_and_what_is_no_pair_is_kept() -> None:
    tree = {"$": "dict", "v": [["password", "x"], ["name", "a"], ["password"]]}
    assert mask_named(tree) == {"$": "dict", "v": [["password", MASK], ["name", "a"], ["password"]]}


def test_arguments_whose_names_are_no_texts_are_shown_as_they_are_stored() -> None:
    assert call_text('[[],{"$":"dict","v":[[1,2]]}]') == '[[],{"$":"dict","v":[[1,2]]}]'
    assert call_text('[[7],{"mode":"fast"}]') == '7, mode="fast"'


def test_a_group_waits_if_it_has_nothing_else() -> None:
    waiting, nested = Waiting("mail"), Waiting("mail")
    assert waiting_in(BaseExceptionGroup("both", [waiting, ValueError()])) is None
    assert waiting_in(BaseExceptionGroup("both", [BaseExceptionGroup("one", [nested])])) is nested
