"""A durable queue behaves like a deque and like zrb's own queue: results, contents, errors and callbacks."""

from __future__ import annotations

import copy
import operator
import pickle
from collections import deque
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest

from tests.queues.in_memory import ADVICE, ZRB_NAMES, InMemory
from zrb_store import Store, Xcom, open_store

CONTENTS: list[list[Any]] = [[], [1], [1, 2], [3, "a", 3, None, [1, {"b": 2}]], list(range(7))]
HUGE = 10**30

Operation = Callable[[Any], Any]


def on(function: Callable[..., Any], *arguments: Any) -> Operation:
    """Return an operation that calls `function(queue, *arguments)`."""
    return lambda queue: function(queue, *arguments)


def call(name: str, *arguments: Any) -> Operation:
    """Return an operation that calls `queue.name(*arguments)`."""
    return lambda queue: getattr(queue, name)(*arguments)


def in_place(function: Callable[..., Any], other: Any) -> Operation:
    """Return an augmented assignment, which must leave the name bound to the same queue."""

    def run(queue: Any) -> bool:
        return function(queue, other) is queue

    return run


READING: dict[str, Operation] = {
    "len": len,
    "bool": bool,
    "list": list,
    "reversed": lambda q: list(reversed(q)),
    "peek": call("peek"),
    "get": call("get"),
    "get with default": call("get", "none"),
    **{
        f"[{index!r}]": on(operator.getitem, index)
        for index in (0, 1, -1, -2, 6, -7, 7, -8, True, HUGE, -HUGE, 1.0, "a", slice(0, 1))
    },
    "in": lambda q: (3 in q, "z" in q, None in q, [1, {"b": 2}] in q),
    "count": lambda q: (q.count(3), q.count("z")),
    **{f"index {value!r}": call("index", value) for value in (3, "a", "z", None)},
    **{
        f"index from {bounds}": call("index", 3, *bounds)
        for bounds in ((1,), (0, 1), (-3,), (-2, -1), (2, HUGE), ("a",))
    },
    "maxlen": lambda q: q.maxlen,
    "repr": repr,
    "str": str,
    "+ deque": lambda q: list(q + deque([8])),
    "deque +": lambda q: list(deque([8]) + q),
    "+ itself": lambda q: list(q + q),
    "+ list": on(operator.add, [8]),
    "list +": lambda q: operator.add([8], q),
    **{f"* {times!r}": on(lambda q, n: list(q * n), times) for times in (0, 1, 3, -1, "a", 1.0, HUGE)},
    "3 *": lambda q: list(3 * q),
    **{
        f"{compare.__name__} {other!r}": on(compare, other)
        for compare in (operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge)
        for other in (deque(), deque([1]), deque([1, 2]), deque([3]), [1], 5, None)
    },
    "== itself": lambda q: q == q,
    "deque ==": lambda q: (deque([1, 2]) == q, deque([1, 2]) != q),
    "hash": hash,
}
CHANGES: dict[str, Operation] = {
    "append": call("append", 8),
    "push": call("push", 8),
    "appendleft": call("appendleft", 8),
    "extend": call("extend", [8, 9]),
    "extend by nothing": call("extend", []),
    "extend by a generator": lambda q: q.extend(n for n in (8, 9)),
    "extend by itself": lambda q: q.extend(q),
    "extend by 5": call("extend", 5),
    "extendleft": call("extendleft", [8, 9]),
    "extendleft by itself": lambda q: q.extendleft(q),
    "+=": in_place(operator.iadd, [8, 9]),
    "+= itself": lambda q: in_place(operator.iadd, q)(q),
    "+= 5": in_place(operator.iadd, 5),
    **{f"*= {times!r}": in_place(operator.imul, times) for times in (0, 1, 3, -2, "a", HUGE)},
    "pop": call("pop"),
    "popleft": call("popleft"),
    "popright": call("popright"),
    "pop twice": lambda q: (q.pop(), q.pop()),
    "clear": call("clear"),
    "set": call("set", 8),
    **{f"remove {value!r}": call("remove", value) for value in (3, "z", None, [1, {"b": 2}])},
    **{f"del [{index!r}]": on(operator.delitem, index) for index in (0, 1, 4, -1, -5, 5, -6)},
    **{f"[{index!r}] =": on(operator.setitem, index, 8) for index in (0, 1, 4, -1, -5, 5, -6)},
    **{f"insert {index!r}": call("insert", index, 8) for index in (0, 1, 3, 5, 9, -1, -4, -9, "a", HUGE)},
    **{f"rotate {steps!r}": call("rotate", steps) for steps in (0, 1, 2, 4, 9, -1, -3, -11, "a", 1.0, HUGE)},
    "rotate": call("rotate"),
    "reverse": call("reverse"),
    "several": lambda q: (q.extend([1, 2, 3]), q.rotate(), q.insert(1, 9), q.pop(), q.appendleft(q.popright()))[3],
}


def outcome(operation: Operation, queue: Any) -> Any:
    """Return the result or exception of an operation, the contents afterwards, and the callbacks that were called."""
    fired: list[str] = []
    queue.append_push_callback(lambda: fired.append("push"))
    queue.append_pop_callback(lambda: fired.append("pop"))
    try:
        result = operation(queue)
    except (IndexError, ValueError, TypeError, OverflowError, AttributeError) as error:
        result = (type(error), str(error).replace("InMemory", "Xcom"))
    return result, list(queue), fired


@pytest.mark.slow
@pytest.mark.parametrize("operations", [READING, CHANGES], ids=["reading", "changes"])
@pytest.mark.smoke
def test_every_operation_does_what_it_does_in_memory(store: Store, operations: dict[str, Operation]) -> None:
    xcom = store.session("s").xcom
    for contents in CONTENTS:
        for name, operation in operations.items():
            queue = xcom[f"{name} of {contents}"]
            queue.extend(contents)
            assert outcome(operation, queue) == outcome(operation, InMemory(contents)), (name, contents)


# The versions that `object` has are sufficient. `__reduce_ex__` refuses pickling.
NOT_NEEDED = {"__getattribute__", "__ne__", "__new__", "__reduce__", "__sizeof__"}


def test_every_name_of_a_deque_and_of_zrbs_queue_is_there() -> None:
    wanted = {*dir(deque), *ZRB_NAMES}
    assert wanted - {*dir(Xcom)} == set()
    # A method that deque defines must not come from `object`.
    own = {name for name in wanted if getattr(deque, name, None) is not getattr(object, name, None)}
    missing = {name for name in own if getattr(Xcom, name) is getattr(object, name, None)}
    assert missing == NOT_NEEDED


@pytest.mark.parametrize("copied", [copy.deepcopy, pickle.dumps])
@pytest.mark.on_sqlite
def test_a_durable_queue_cannot_be_pickled_or_deep_copied(store: Store, copied: Operation) -> None:
    with pytest.raises(TypeError, match="cannot be pickled or deep-copied: pickle list"):
        copied(store.session("s").xcom["q"])


@pytest.mark.on_sqlite
def test_it_has_no_bounds(store: Store) -> None:
    queue: Any = store.session("s").xcom["q"]
    assert queue.maxlen is None
    with pytest.raises(AttributeError):
        queue.maxlen = 3


def test_a_copy_is_a_plain_deque(store: Store) -> None:
    queue = store.session("s").xcom["q"]
    queue.extend([1, 2])
    for copied in (queue.copy(), copy.copy(queue)):
        assert copied == deque([1, 2])
        copied.append(3)
    assert list(queue) == [1, 2]


@pytest.mark.on_sqlite
def test_a_queue_is_a_type_and_matches_its_name(store: Store) -> None:
    assert operator.getitem(Xcom, int).__origin__ is Xcom  # type: ignore[call-overload]
    match store.session("s").xcom["q"]:
        case Xcom(name=name):
            assert name == "q"


def test_errors_of_an_empty_queue_are_those_of_zrb(store: Store) -> None:
    queue = store.session("s").xcom["q"]
    for take in (queue.pop, queue.popleft, queue.popright, queue.peek):
        with pytest.raises(IndexError) as caught:
            take()
        assert str(caught.value) == ADVICE
        assert type(caught.value) is IndexError


def test_two_queues_of_the_store_compare_as_deques(store: Store) -> None:
    one, two, other = (store.session("s").xcom[name] for name in ("one", "two", "other"))
    one.extend([1, 2])
    two.extend([1, 2])
    other.extend([1, 3])
    assert one == two
    assert one != other
    assert one != [1, 2]
    assert one == mock.ANY, "mock.ANY decides, as it does for a deque"
    assert one < other
    assert other > one
    assert one <= two <= other
    assert other >= one
    assert one + other == deque([1, 2, 1, 3])
    one += other
    assert list(one) == [1, 2, 1, 3]


def test_nan_is_found_by_identity_and_not_by_value(store: Store) -> None:
    queue = store.session("s").xcom["q"]
    nan = float("nan")
    queue.push(nan)
    assert nan not in queue  # a copy, read from the row; under zrb the very object is found
    with pytest.raises(ValueError, match="nan is not in deque"):
        queue.remove(nan)


def test_iteration_sees_the_queue_as_it_was_when_it_began(store: Store) -> None:
    queue = store.session("s").xcom["q"]
    queue.extend(range(2500))
    seen: list[int] = []
    for value in queue:
        if not seen:
            queue.rotate(10)
            queue.extend([-1, -2])
            queue.popright()
        if value % 500 == 0:
            queue.remove(value)
        seen.append(value)
    assert seen == list(range(2500))
    assert 500 not in queue


@pytest.mark.smoke
def test_queues_of_one_name_are_one_queue_everywhere(store: Store, location: str) -> None:
    with open_store(location) as other:
        one, two = store.session("s").xcom["q"], other.session("s").xcom["q"]
        assert list(two) == []
        one.push(1)
        assert two.peek() == 1
        two.push(2)
        assert [one.pop(), two.pop()] == [1, 2]
        assert len(one) == len(two) == 0


class TestCallbacks:
    @pytest.mark.parametrize("spelling", ["append", "add"])
    @pytest.mark.on_sqlite
    def test_both_spellings_of_callbacks_are_called(self, store: Store, spelling: str) -> None:
        fired = []
        queue = store.session("s").xcom["q"]
        getattr(queue, f"{spelling}_push_callback")(lambda: fired.append("push"))
        getattr(queue, f"{spelling}_pop_callback")(lambda: fired.append("pop"))
        queue.push(1)
        queue.pop()
        assert fired == ["push", "pop"]

    @pytest.mark.on_sqlite
    def test_in_the_order_of_registration_and_after_the_change(self, store: Store) -> None:
        seen = []
        queue = store.session("s").xcom["q"]
        queue.append_push_callback(lambda: seen.append(("first", list(queue))))
        queue.append_push_callback(lambda: seen.append(("second", list(queue))))
        queue.push(1)
        assert seen == [("first", [1]), ("second", [1])]

    @pytest.mark.on_sqlite
    def test_one_that_raises_undoes_nothing(self, store: Store) -> None:
        queue = store.session("s").xcom["q"]
        queue.append_push_callback(lambda: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            queue.push(1)
        assert list(queue) == [1]

    @pytest.mark.on_sqlite
    def test_a_refused_change_fires_none(self, store: Store) -> None:
        fired = []
        queue = store.session("s").xcom["q"]
        queue.append_push_callback(lambda: fired.append("push"))
        queue.append_pop_callback(lambda: fired.append("pop"))
        for refused in (lambda: queue.push(object()), queue.pop, lambda: queue.remove(1)):
            with pytest.raises((TypeError, IndexError, ValueError)):
                refused()
        assert fired == []

    def test_one_may_change_the_queue(self, store: Store) -> None:
        queue = store.session("s").xcom["q"]
        queue.append_push_callback(lambda: queue.popright() if len(queue) > 2 else None)
        queue.extend([1, 2])
        queue.push(3)
        assert list(queue) == [1, 2]
