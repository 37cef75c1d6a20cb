"""Which step a call is: by its name, and by how many of that name were started before in its attempt."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from tests.support.steps import Boom, Counted, attempt_of, failing, recorded
from zrb_store import Attempt, InputsDiffer, StepUncertain, Store
from zrb_store.codec.arguments import call_text
from zrb_store.db.transaction import set_callback
from zrb_store.testing import Crash, crash_at, expire_lease

pytestmark = [pytest.mark.usefixtures("sound"), pytest.mark.long_on_postgresql]


@contextlib.contextmanager
def refusing(point: str) -> Iterator[None]:
    """Raise an error at a point, as if the store refused."""

    def reached(name: str) -> None:
        if name == point:
            raise RuntimeError(point)

    previous = set_callback(reached)
    try:
        yield
    finally:
        set_callback(previous)


def fetch_all(attempt: Attempt, pages: dict[int, Counted]) -> list[object]:
    """Fetch every page under one name; try those that fail again at the end."""
    found: list[object] = []
    failed = []
    for page, fetch in pages.items():
        try:
            found.append(attempt.step("page", fetch, page))
        except Boom:
            failed.append(page)
    return [*found, *(attempt.step("page", pages[page], page) for page in failed)]


@pytest.mark.promise(number=11)
def test_a_call_with_the_arguments_of_an_earlier_failed_step_is_its_next_attempt(store: Store) -> None:
    """Else it would be another step, which the next attempt of the task does not ask for."""
    first = [Boom]

    def flaky(page: int) -> int:
        if first:
            raise first.pop()
        return page

    pages = {1: Counted(flaky), 2: Counted(), 3: Counted()}
    with attempt_of(store, fails=True) as attempt:
        assert fetch_all(attempt, pages) == [[2], [3], 1]
    with attempt_of(store) as attempt:
        assert fetch_all(attempt, pages) == [1, [2], [3]]
    assert [fetch.calls for fetch in pages.values()] == [2, 1, 1]
    assert [recorded(store, f"convert/{number}").step for number in (1, 2, 3)] == ["page", "page~2", "page~3"]


def test_several_failed_steps_of_a_name_keep_their_places(store: Store) -> None:
    with attempt_of(store) as attempt:
        for argument in ("a", "b", "a"):
            with pytest.raises(Boom):
                attempt.step("page", failing, argument)
        for argument in ("b", "a", "c"):
            attempt.step("page", Counted(), argument)
    found = [(recorded(store, *place).step, recorded(store, *place).status) for place in PLACES]
    assert found == [
        ("page", "failed"), ("page", "failed"), ("page", "completed"),
        ("page~2", "failed"), ("page~2", "completed"), ("page~3", "completed"),
    ]  # fmt: skip


PLACES = [("convert/1", 1), ("convert/1", 2), ("convert/1", 3), ("convert/2", 1), ("convert/2", 2), ("convert/3", 1)]


@pytest.mark.promise(number=11)
def test_a_refused_call_has_started_nothing(store: Store) -> None:
    with attempt_of(store, fails=True) as attempt:
        assert attempt.step("page", int, "7") == 7
    again = Counted()
    with attempt_of(store) as attempt:
        for argument in ("8", "9"):
            with pytest.raises(InputsDiffer, match="step page of task convert"):
                attempt.step("page", again, argument)
        assert attempt.step("page", again, "7") == 7
        assert again.calls == 0
        assert attempt.step("page", again, "8") == ["8"]
    assert recorded(store, "convert/2").step == "page~2"


@pytest.mark.promise(number=11)
def test_an_uncertain_step_is_not_evaded_by_other_arguments(store: Store) -> None:
    with pytest.raises(Crash), attempt_of(store) as attempt, crash_at("step_complete:before"):
        attempt.step("charge", int, "7", once=True)
    expire_lease(store.session("night"))
    charge = Counted()
    with attempt_of(store) as attempt:
        for argument in ("7", "8", "7"):
            with pytest.raises(StepUncertain, match="step charge of task convert"):
                attempt.step("charge", charge, argument, once=True)
    assert charge.calls == 0


def test_a_failed_step_that_is_refused_again_keeps_its_place(store: Store) -> None:
    with attempt_of(store) as attempt:
        with pytest.raises(Boom):
            attempt.step("page", failing, 1)
        with pytest.raises(RuntimeError), refusing("step_begin:before"):
            attempt.step("page", failing, 1)
        attempt.step("page", Counted(), 2)
        attempt.step("page", Counted(), 1)
    assert recorded(store, "convert/1", 2).status == "completed"
    assert recorded(store, "convert/2").status == "completed"


def test_arguments_whose_names_are_no_texts_are_shown_as_they_are_stored() -> None:
    assert call_text('[[],{"$":"dict","v":[[1,2]]}]') == '[[],{"$":"dict","v":[[1,2]]}]'
    assert call_text('[[7],{"mode":"fast"}]') == '7, mode="fast"'
