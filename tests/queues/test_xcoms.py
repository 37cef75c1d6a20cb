"""The queues of a session by name."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.programs import require_module
from zrb_store import InvalidArgument, Store, open_store
from zrb_store.queries import sessions

pytestmark = pytest.mark.long_on_postgresql


def test_reading_a_missing_queue_makes_nothing(store: Store) -> None:
    xcom = store.session("s").xcom
    queue = xcom["q"]
    assert "q" not in xcom
    assert xcom.get("q") is None
    assert xcom.get("q", 5) == 5
    assert (len(queue), list(queue), queue.get(), 1 in queue) == (0, [], None, False)
    for nothing in (queue.clear, queue.reverse, queue.rotate):
        nothing()
    for refused in (queue.pop, queue.peek, lambda: queue.remove(1), lambda: queue.__delitem__(0)):
        with pytest.raises((IndexError, ValueError)):
            refused()
    assert list(xcom) == []
    assert store.sessions() == []


def test_names_come_in_the_order_of_their_first_push(store: Store) -> None:
    xcom = store.session("s").xcom
    for name in ("b", "a", "b", "c"):
        xcom[name].push(1)
    store.session("other").xcom["d"].push(1)
    assert list(xcom) == ["b", "a", "c"]
    assert len(xcom) == 3
    assert "a" in xcom
    assert "d" not in xcom
    assert {name: list(queue) for name, queue in xcom.items()} == {"b": [1, 1], "a": [1], "c": [1]}
    queue = xcom.get("a")
    assert queue is not None
    assert queue.pop() == 1
    assert "a" in xcom


def test_any_text_is_the_name_of_a_queue(store: Store) -> None:
    names = ["", " ", "a/b#1", "Ünïcödé 🎉", "'; DROP TABLE zrb_value; --", "%s", ":x", "x" * 2000]
    xcom = store.session("s").xcom
    for name in names:
        xcom[name].push(name)
    assert list(xcom) == names
    assert [xcom[name].pop() for name in names] == names


@pytest.mark.on_sqlite
@pytest.mark.parametrize("name", ["a\0b", "\ud800", 5, None, b"q"])
def test_names_that_no_database_holds_are_refused_with_a_reason(store: Store, name: Any) -> None:
    with pytest.raises(InvalidArgument, match="cannot name a queue: use a text without NUL and lone surrogates"):
        store.session("s").xcom[name]


def test_names_that_no_index_holds_are_refused_with_a_reason(store: Store) -> None:
    """An index of PostgreSQL has a limit. SQLite has the same, so that stores can be copied between databases."""
    for name in ("x" * 2001, "🎉" * 501):
        with pytest.raises(InvalidArgument, match="cannot name a queue: it has more than 2,000 bytes"):
            store.session("s").xcom[name]


LOOKS: list[Callable[[Any], object]] = [
    len,
    list,
    lambda q: q.peek(),
    lambda q: q.get(),
    lambda q: q[0],
    lambda q: q.pop(),
]
CHANGES: list[Callable[[Any], object]] = [
    lambda q: q.push("x"),
    lambda q: q.set("x"),
    lambda q: q.extend("x"),
]


def test_a_session_that_was_removed_and_made_again(store: Store, location: str) -> None:
    """Every method finds the new queue, although this object has cached the id of the old one."""
    with open_store(location) as other:
        for look in LOOKS:
            queue = store.session("s").xcom["q"]
            queue.push("old")
            remove(other)
            assert len(queue) == 0
            other.session("s").xcom["q"].push("new")
            assert look(queue) in ("new", ["new"], 1)
            for change in CHANGES:
                remove(other)
                change(queue)
                assert list(queue) == ["x"]


def remove(store: Store) -> None:
    def work(transaction: Any) -> None:
        session = sessions.find(transaction, "s")
        assert session is not None
        transaction.driver.execute(f"DELETE FROM zrb_session WHERE id = {session.id}")

    store.database.transact(work)


def test_values_of_a_class_without_eq_are_found_by_what_is_stored(store: Store) -> None:
    """Each reading gives another object, as of zrb's CmdResult."""
    result = functools.partial(require_module("zrb.cmd.cmd_result").CmdResult, error="", display="")
    queue = store.session("s").xcom["q"]
    one, two = result("one"), result("two")
    queue.extend([one, two, [one, {"two": two}], one])
    first, pair = queue.peek(), list(queue)[2]
    assert first != queue[0]
    assert (first in queue, pair in queue, result("three") in queue) == (True, True, False)
    assert (queue.index(first), queue.index(queue[1]), queue.index(first, 1), queue.index(pair)) == (0, 1, 3, 2)
    assert (queue.count(first), queue.count([one, {"two": one}])) == (2, 0)
    queue.remove(first)
    assert [str(value) for value in list(queue)[::2]] == ["two", "one"]
    with pytest.raises(ValueError, match="is not in deque"):
        queue.index(result("three"))
    with pytest.raises(ValueError, match="is not in deque"):
        queue.index(first, 0, 2)
    queue.append(float("nan"))
    assert float("nan") not in queue, "a class with an __eq__ decides by itself"
