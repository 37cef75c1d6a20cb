"""Giving back attempts that took what another attempt pushed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.attempts import acting_as, start
from tests.support.rows import faults, states
from zrb_store import Attempt, Store


@pytest.fixture(autouse=True)
def check_rows(store: Store) -> Iterator[None]:
    """Check after each test that all invariants of the rows hold."""
    yield
    assert faults(store) == []


@pytest.fixture
def chain(store: Store) -> dict[str, Attempt]:
    """Three attempts: A pushes "v", B takes it and pushes "w", and C takes "w"."""
    queue = store.session("shared").xcom["q"]
    attempts = {name: start(store, name).begin("task") for name in "ABC"}
    with acting_as(attempts["A"]):
        queue.push("v")
    with acting_as(attempts["B"]):
        assert queue.pop() == "v"
        queue.push("w")
    with acting_as(attempts["C"]):
        assert queue.pop() == "w"
    return attempts


def test_both_values_stay_taken_until_something_is_given_back(store: Store, chain: dict[str, Attempt]) -> None:
    assert states(store, "shared") == [("v", "taken"), ("w", "taken")]


@pytest.mark.promise(number=1)
@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("A", [("v", "taken+"), ("w", "taken")]),
        ("B", [("v", "live"), ("w", "taken+")]),
        ("C", [("v", "taken"), ("w", "live")]),
        ("AB", [("v", "retracted"), ("w", "taken+")]),
        ("BA", [("v", "retracted"), ("w", "taken+")]),
        ("AC", [("v", "taken+"), ("w", "live")]),
        ("CA", [("v", "taken+"), ("w", "live")]),
        ("BC", [("v", "live"), ("w", "retracted")]),
        ("CB", [("v", "live"), ("w", "retracted")]),
        ("ABC", [("v", "retracted"), ("w", "retracted")]),
        ("CBA", [("v", "retracted"), ("w", "retracted")]),
        ("BCA", [("v", "retracted"), ("w", "retracted")]),
    ],
)
def test_a_chain_is_given_back_in_any_order(
    store: Store, chain: dict[str, Attempt], order: str, expected: list[tuple[str, str]]
) -> None:
    for name in order:
        start(store, name)
    assert states(store, "shared") == expected
    assert list(store.session("shared").xcom["q"]) == [value for value, state in expected if state == "live"]


@pytest.mark.promise(number=1)
def test_a_holder_that_completed_keeps_it_until_it_is_given_back_itself(
    store: Store, chain: dict[str, Attempt]
) -> None:
    chain["B"].complete()
    start(store, "A")
    assert states(store, "shared") == [("v", "taken+"), ("w", "taken")]
    run = start(store, "B")
    assert states(store, "shared") == [("v", "taken+"), ("w", "taken")]
    done = run.completed("task")
    assert done is not None
    run.give_back(done, "again")
    assert states(store, "shared") == [("v", "retracted"), ("w", "taken+")]


def test_a_value_taken_again_after_its_return(store: Store, chain: dict[str, Attempt]) -> None:
    run = start(store, "B")  # gives "v" back
    with acting_as(run.begin("task")):
        assert store.session("shared").xcom["q"].pop() == "v"
    start(store, "A")
    assert states(store, "shared") == [("v", "taken+"), ("w", "taken+")]
    start(store, "B")
    assert states(store, "shared") == [("v", "retracted"), ("w", "taken+")]
