"""`run.task` runs a function once per session, and compares its arguments with those of the first call."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Any, cast

import pytest
import sqlalchemy as sa

from tests.support.attempts import Broken, start
from tests.support.rows import query
from zrb_store import InputsDiffer, Run, Store, TaskCompleted, UnencodableValue, open_store, register_codec

pytestmark = [pytest.mark.long_on_postgresql, pytest.mark.usefixtures("sound")]


def test_a_step_is_run_once(store: Store) -> None:
    calls: list[int] = []

    def count(number: int) -> dict[str, int]:
        calls.append(number)
        return {"rows": number}

    for number in (1, 2, 3):
        run = start(store, "flow")
        assert run.number == number
        assert run.task("count", count, 5) == {"rows": 5}
        assert run.task("count", count, 5) == {"rows": 5}
    assert calls == [5]
    assert list(store.session("flow").xcom["count"]) == [{"rows": 5}]


def test_its_result_is_kept_though_it_was_taken(store: Store) -> None:
    run = start(store, "flow")
    run.task("count", lambda: 5)
    assert store.session("flow").xcom["count"].pop() == 5
    assert start(store, "flow").task("count", lambda: 6) == 5


def test_none_is_a_result(store: Store) -> None:
    run = start(store, "flow")
    assert run.task("nothing", lambda: None) is None
    assert run.task("nothing", lambda: pytest.fail("called again")) is None
    assert list(store.session("flow").xcom["nothing"]) == [None]


def test_one_that_failed_is_run_again(store: Store) -> None:
    queue = store.session("flow").xcom["q"]

    def work(fails: bool) -> int:
        queue.push(1)
        if fails:
            raise Broken
        return len(queue)

    run = start(store, "flow")
    for _ in range(2):
        with pytest.raises(Broken):
            run.task("work", work, True)
    assert run.task("work", work, False) == 1


@pytest.mark.on_sqlite
@pytest.mark.parametrize(
    ("args", "kwargs", "says"),
    [
        ((2,), {"b": 2, "c": [3]}, r"completed with other arguments: \[0\]\[0\]: 1 became 2"),
        ((1,), {"b": 3, "c": [3]}, r"\[1\]\.b: 2 became 3"),
        ((1,), {"b": 2, "c": []}, r"\[1\]\.c: \[3\] became \[\]"),
        ((1, 2), {"b": 2, "c": [3]}, "became"),
        ((1,), {"b": 2}, r"\[1\]\.c is gone"),
    ],
)
def test_other_arguments_are_refused(store: Store, args: Any, kwargs: Any, says: str) -> None:
    run = start(store, "flow")
    assert run.task("f", lambda a, b, c: a + b, 1, b=2, c=[3]) == 3
    with pytest.raises(InputsDiffer, match=says):
        start(store, "flow").task("f", lambda *_, **__: pytest.fail("called"), *args, **kwargs)


@pytest.mark.on_sqlite
def test_the_same_ones_in_another_order_are_not(store: Store) -> None:
    run = start(store, "flow")
    run.task("f", lambda a, b: None, a=1, b={"x": 1, "y": {2, 3}})
    run.task("f", lambda b, a: pytest.fail("called"), b={"y": {3, 2}, "x": 1}, a=1)


@pytest.mark.on_sqlite
def test_arguments_that_cannot_be_stored_are_not_compared(store: Store) -> None:
    run = start(store, "flow")
    assert run.task("f", lambda connection: 1, object()) == 1
    assert run.task("f", lambda connection: 2, object()) == 1
    assert run.task("f", lambda connection: 2, 5) == 1


def test_a_result_that_cannot_be_stored_fails_it(store: Store) -> None:
    run = start(store, "flow")
    with pytest.raises(UnencodableValue):
        run.task("f", object)
    assert query(store, "SELECT status, error_type FROM zrb_attempt") == [("failed", "UnencodableValue")]


def test_an_attempt_of_a_completed_task_is_refused(store: Store) -> None:
    run = start(store, "flow")
    run.task("load", lambda: 1)
    with pytest.raises(TaskCompleted, match="task load has completed in session flow"):
        run.attempt("load")


def test_a_step_given_back_is_run_again(store: Store) -> None:
    run = start(store, "flow")
    numbers = iter([1, 2])
    work: Callable[[Run], int] = lambda run: run.task("f", lambda: next(numbers))  # noqa: E731
    assert work(run) == 1
    done = run.completed("f")
    assert done is not None
    assert (run.result(done), done.name) == (1, "f#1")
    run.give_back(done, "again")
    assert list(store.session("flow").xcom["f"]) == []
    assert work(run) == 2
    assert list(store.session("flow").xcom["f"]) == [2]


@register_codec(name="test_run_task.Order")
@dataclass
class Order:
    """A dataclass that is used as an argument."""

    id: float
    seen_at: float = field(default=0, compare=False)


class Tags:
    """A class whose codec writes equal objects differently."""

    def __init__(self, tags: list[str]) -> None:
        self.tags = tags

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tags) and set(other.tags) == set(self.tags)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Tags({self.tags})"


register_codec(Tags, name="test_run_task.Tags", encode=lambda one: one.tags, decode=Tags)

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def only_with(value: Any) -> Any:
    """Return a function that must be called only with the first of two values."""
    return lambda got: value if got is value else pytest.fail(f"called with {got!r}")


@pytest.mark.on_sqlite
@pytest.mark.parametrize(
    ("one", "two"),
    [
        (1, 1.0),
        (1, True),
        (0, False),
        (1, Decimal(1)),
        (1, "1"),
        (1.0, Decimal(1)),
        ([1, 2], (1, 2)),
        ({1, 2}, frozenset({1, 2})),
        ({1}, {1.0}),
        ({1: "x"}, {True: "x"}),
        ({1: "x"}, {"1": "x"}),
        ({None: 1}, {None: 2}),
        ({"a": {"b": (1, [2])}}, {"a": {"b": (1, [2.0])}}),
        (OrderedDict([(1, 1), (2, 2)]), OrderedDict([(2, 2), (1, 1)])),
        (Order(1), Order(1.0)),
        (Order(1), Order(2)),
        (Order(1), {"id": 1, "seen_at": 0}),
        (Tags(["a"]), Tags(["b"])),
        (NOON, NOON.replace(tzinfo=None)),
        (datetime(2026, 11, 24), date(2026, 11, 24)),
        (PurePosixPath("a"), "a"),
        (b"a", "a"),
        (b"a", bytearray(b"a")),
        (math.nan, math.inf),
    ],
    ids=repr,
)
def test_values_of_other_type_or_value_are_other_arguments(store: Store, one: Any, two: Any) -> None:
    run = start(store, "flow")
    for number, (first, second) in enumerate([(one, two), (two, one)]):
        run.task(f"f{number}", only_with(first), first)
        with pytest.raises(InputsDiffer, match=f"f{number}#1 completed with other arguments: "):
            run.task(f"f{number}", only_with(first), second)


@pytest.mark.on_sqlite
@pytest.mark.parametrize(
    ("one", "two"),
    [
        (0.0, -0.0),
        (math.nan, float("nan")),
        (Decimal("1.0"), Decimal("1.00")),
        (NOON, NOON.astimezone(timezone(timedelta(hours=5)))),
        ({1: "x", 2: "y"}, {2: "y", 1: "x"}),
        ({"a": {3, 1, 2}}, {"a": {1, 2, 3}}),
        (Order(1, seen_at=1), Order(1, seen_at=2)),
        (Tags(["a", "b"]), Tags(["b", "a"])),
    ],
    ids=repr,
)
def test_equal_values_are_the_same_arguments_however_they_are_written(store: Store, one: Any, two: Any) -> None:
    run = start(store, "flow")
    run.task("f", only_with(one), one)
    run.task("f", only_with(one), two)


@pytest.mark.on_sqlite
def test_an_argument_that_cannot_be_stored_does_not_hide_the_others(store: Store) -> None:
    def load(day: int, lock: object, *, target: str, **more: object) -> str:
        return f"{day} to {target}"

    lock = threading.Lock()
    assert start(store, "flow").task("load", load, 1, lock, target="a", other=lock) == "1 to a"
    again = start(store, "flow")
    assert again.task("load", load, 1, threading.Lock(), target="a", other=threading.Lock()) == "1 to a"
    assert again.task("load", load, 1, "may be stored", target="a", other=None) == "1 to a"
    calls: list[tuple[Callable[[], object], str]] = [
        (lambda: again.task("load", load, 2, lock, target="a", other=lock), r"\[0\]\[0\]: 1 became 2; "),
        (lambda: again.task("load", load, 1, lock, target="b", other=lock), r"\[1\]\.target: 'a' became 'b'; "),
        (lambda: again.task("load", load, 1, lock, target="a"), r"\[1\]\.other is gone; "),
        (lambda: again.task("load", load, 1, lock, target="a", other=lock, x=1), r"\[1\]\.x is new; "),
        (lambda: again.task("load", cast(Any, load), 1, target="a", other=lock), r"\[0\]: \[1, .*\] became \[1\]; "),
    ]
    for call, says in calls:
        with pytest.raises(InputsDiffer, match=says):
            call()


@pytest.mark.on_sqlite
def test_an_argument_that_is_too_large_does_not_hide_the_others(store: Store) -> None:
    store.max_value = 1000
    start(store, "flow").task("f", lambda *_: 1, 1, "x" * 600, "y" * 600, 2)
    [[arguments]] = query(store, "SELECT arguments FROM zrb_attempt")
    assert len(arguments) < 1200
    run = start(store, "flow")
    assert run.task("f", lambda *_: pytest.fail("called"), 1, "x" * 600, "z" * 600, 2) == 1
    for args in ((1, "x" * 599, "y" * 600, 2), (1, "x" * 600, "y" * 600, 3)):
        with pytest.raises(InputsDiffer):
            run.task("f", lambda *_: pytest.fail("called"), *args)


@pytest.mark.on_sqlite
def test_an_argument_that_is_nested_too_deep_together_with_others_is_compared(store: Store) -> None:
    deep: Any = 1
    for _ in range(199):
        deep = [deep]
    run = start(store, "flow")
    run.task("f", lambda *_: 1, deep, 1)
    run.task("f", lambda *_: pytest.fail("called"), deep, 1)
    with pytest.raises(InputsDiffer, match=r"\[0\]\[1\]: 1 became 2; "):
        run.task("f", lambda *_: pytest.fail("called"), deep, 2)


@pytest.mark.on_sqlite
@pytest.mark.parametrize("name", ["$", "\ud83d\ude00", "a b", ""])
def test_odd_names_of_arguments(store: Store, name: str) -> None:
    run = start(store, "flow")
    odd: Any = {name: 1, "lock": threading.Lock()}
    run.task("f", lambda **_: 1, **odd)
    run.task("f", lambda **_: pytest.fail("called"), **odd)
    with pytest.raises(InputsDiffer):
        run.task("f", lambda **_: pytest.fail("called"), **{**odd, name: 2})


@pytest.mark.on_sqlite
def test_the_stored_form_of_arguments_is_the_same_for_ever(store: Store) -> None:
    start(store, "flow").task("f", lambda *_, **__: 1, "a.csv", (1, 2), day=date(2026, 11, 24))
    stored = '[["a.csv",{"$":"tuple","v":[1,2]}],{"day":{"$":"date","v":"2026-11-24"}}]'
    assert query(store, "SELECT arguments FROM zrb_attempt") == [(stored,)], "the stored form must be the same"
    run = start(store, "flow")
    with pytest.raises(InputsDiffer, match=r"\[0\]\[0\]: 'a.csv' became 'b.csv'; "):
        run.task("f", lambda *_, **__: pytest.fail("called"), "b.csv", (1, 2), day=date(2026, 11, 24))
    # As of a task that a person marked as completed, whose arguments are not known.
    store.database.execute(sa.text("UPDATE zrb_attempt SET arguments = NULL"))
    assert run.task("f", lambda *_, **__: pytest.fail("called"), "b.csv") == 1


@pytest.mark.on_sqlite
def test_a_long_argument_is_cut_in_the_message(store: Store) -> None:
    run = start(store, "flow")
    run.task("f", lambda _: 1, "x" * 100_000)
    with pytest.raises(InputsDiffer) as caught:
        run.task("f", lambda _: pytest.fail("called"), "y" * 100_000)
    assert len(str(caught.value)) < 800


def test_a_result_over_the_limit_names_the_limit(location: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZRB_STORE_MAX_VALUE", "1000")
    with open_store(location) as store, store.session("s").run() as run, run.attempt("load") as attempt:
        with pytest.warns(RuntimeWarning, match=r"\(ZRB_STORE_MAX_VALUE makes it storable\)$"):
            attempt.step("large", str.ljust, "x", 2000)
        with pytest.warns(RuntimeWarning, match=r"\(zrb_store.register_codec makes it storable\)$"):
            attempt.step("odd", object)
