"""What an attempt did to any queue is undone if the attempt does not complete (guarantees.md, promise 1)."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.attempts import Broken, acting_as, failing, start
from tests.support.rows import query, seqs, states
from zrb_store import Attempt, Store

pytestmark = pytest.mark.usefixtures("sound")

Do = Callable[[Any], object]


OPERATIONS: dict[str, Do] = {
    "pop": lambda q: q.pop(),
    "pop all": lambda q: [q.pop() for _ in range(4)],
    "popleft": lambda q: q.popleft(),
    "popright": lambda q: q.popright(),
    "remove": lambda q: q.remove(3),
    "del first": lambda q: q.__delitem__(0),
    "del middle": lambda q: q.__delitem__(2),
    "set": lambda q: q.set(9),
    "clear": lambda q: q.clear(),
    "assign first": lambda q: q.__setitem__(0, 9),
    "assign middle": lambda q: q.__setitem__(2, 9),
    "assign last": lambda q: q.__setitem__(-1, 9),
    "rotate right": lambda q: q.rotate(1),
    "rotate left": lambda q: q.rotate(-1),
    "rotate far": lambda q: q.rotate(11),
    "reverse": lambda q: q.reverse(),
    "insert first": lambda q: q.insert(0, 9),
    "insert second": lambda q: q.insert(1, 9),
    "insert third": lambda q: q.insert(3, 9),
    "insert last": lambda q: q.insert(99, 9),
    "push": lambda q: q.push(9),
    "appendleft": lambda q: q.appendleft(9),
    "extend": lambda q: q.extend([8, 9]),
    "extendleft": lambda q: q.extendleft([8, 9]),
    "+=": lambda q: q.__iadd__([9]),
    "*=": lambda q: q.__imul__(3),
    "*= 0": lambda q: q.__imul__(0),
    "push and pop it": lambda q: (q.appendleft(9), q.pop()),
    "everything": lambda q: (q.rotate(), q.pop(), q.insert(1, 9), q.reverse(), q.push(q.pop()), q.set(5), q.clear()),
}


@pytest.mark.slow
@pytest.mark.promise(number=1)
@pytest.mark.parametrize("end", ["fails", "dies", "is given back later"])
def test_each_operation_is_undone(store: Store, end: str) -> None:
    """The queue has the same contents as before, at the same places."""
    for name, do in OPERATIONS.items():
        flow = name.translate({ord(each): "-" for each in " +*="})
        queue: Any = store.session("shared").xcom[name]
        queue.extend([1, 2, 3, 4])
        before = seqs(store, "shared", name)
        run = start(store, f"of.{flow}")
        if end == "fails":
            failing(run, "task", lambda: do(queue))  # noqa: B023
            run.begin("task")
        elif end == "dies":
            with acting_as(run.begin("task")):
                do(queue)
            run = start(store, f"of.{flow}")
        else:
            with run.attempt("task"):
                do(queue)
            done = run.completed("task")
            assert done is not None
            run.give_back(done, "again")
            assert run.completed("task") is None
        assert (name, list(queue), seqs(store, "shared", name)) == (name, [1, 2, 3, 4], before)


@pytest.mark.promise(number=1)
def test_the_example_of_promise_1(store: Store) -> None:
    session = store.session("flow")
    queue = session.xcom["q"]
    queue.extend([1, 2, 3])
    with session.run() as run:

        def work() -> None:
            assert queue.pop() == 1
            queue.push(9)

        failing(run, "task", work)
        assert list(queue) == [2, 3, 9]  # given back by the next attempt; a fallback still sees it, as on stock zrb
        with run.attempt("fallback"):
            assert list(queue) == [2, 3, 9]
        with run.attempt("task"):
            assert list(queue) == [1, 2, 3]
            work()
    assert list(queue) == [2, 3, 9]


@pytest.mark.promise(number=1)
def test_only_the_attempts_of_that_task_are_given_back_within_a_run(store: Store) -> None:
    queue: Any = store.session("flow").xcom["q"]
    run = start(store, "flow")
    failing(run, "one", lambda: queue.push("one"))
    failing(run, "two", lambda: queue.push("two"))
    run.begin("one")
    assert list(queue) == ["two"]
    start(store, "flow")
    assert list(queue) == []


def test_completed_attempts_stand_in_the_next_run(store: Store) -> None:
    queue: Any = store.session("shared").xcom["q"]
    queue.extend([1, 2])
    run = start(store, "flow")
    with run.attempt("one"):
        queue.push(queue.pop() * 10)
    failing(run, "two", queue.clear)
    start(store, "flow")
    assert list(queue) == [2, 10]


@pytest.mark.promise(number=1)
def test_what_is_done_outside_any_attempt_is_final(store: Store) -> None:
    queue: Any = store.session("flow").xcom["q"]
    queue.extend([1, 2])
    run = start(store, "flow")
    failing(run, "task", queue.pop)
    queue.push(3)
    assert queue.pop() == 2
    start(store, "flow")
    assert list(queue) == [1, 3]


@pytest.mark.promise(number=1)
def test_a_returned_value_goes_to_its_old_place(store: Store) -> None:
    """It comes before newer values that were pushed meanwhile, and after values that were put at the front."""
    queue: Any = store.session("shared").xcom["q"]
    queue.extend([1, 2, 3])
    run = start(store, "flow")
    failing(run, "task", lambda: (queue.remove(2), queue.pop()))
    queue.push(4)
    queue.appendleft(0)
    run.begin("task")
    assert list(queue) == [0, 1, 2, 3, 4]


@pytest.mark.promise(number=4)
def test_a_returned_value_may_follow_a_younger_one_that_was_taken_meanwhile(store: Store) -> None:
    queue: Any = store.session("flow").xcom["q"]
    queue.extend([1, 2])
    run = start(store, "flow")
    failing(run, "task", lambda: queue.pop())
    assert queue.pop() == 2
    run.begin("task")
    assert queue.pop() == 1


def test_a_queue_emptied_by_others_does_not_stop_the_giving_back(store: Store) -> None:
    queue: Any = store.session("flow").xcom["q"]
    run = start(store, "flow")
    failing(run, "task", lambda: queue.extend([1, 2, 3]))
    assert queue.pop() == 1
    queue.clear()
    run.begin("task")
    assert states(store, "flow") == [(1, "taken+"), (2, "removed+"), (3, "removed+")]
    assert list(queue) == []


@pytest.mark.promise(number=1)
def test_several_unfinished_attempts_of_one_session_newest_first(store: Store) -> None:
    """The order matters, since an attempt may take values that an earlier attempt moved."""
    queue: Any = store.session("flow").xcom["q"]
    queue.extend([1, 2, 3])
    run = start(store, "flow")
    failing(run, "one", lambda: queue.rotate(-1))
    failing(run, "two", queue.reverse)
    failing(run, "three", lambda: (queue.pop(), queue.set(7)))
    start(store, "flow")
    assert list(queue) == [1, 2, 3]
    returns = query(store, "SELECT a.task FROM zrb_return r JOIN zrb_attempt a ON a.id = r.taken_by ORDER BY r.id")
    assert [task for task, _ in itertools.groupby(task for (task,) in returns)] == ["three", "two", "one"]


def test_a_value_that_moved_and_was_taken_by_another(store: Store) -> None:
    """The copy stays with its taker, and the original comes back too, so that two attempts see one value."""
    queue: Any = store.session("flow").xcom["q"]
    queue.extend([1, 2])
    run = start(store, "flow")
    failing(run, "task", lambda: queue.rotate(1))
    assert queue.pop() == 2
    run.begin("task")
    assert list(queue) == [1, 2]


@pytest.mark.promise(number=4)
def test_several_workers_on_one_inbox(store: Store) -> None:
    """One of three workers dies. The next worker gets its file before later files, and no file goes to two workers."""
    inbox = store.session("inbox").xcom["q"]
    inbox.extend(["a.csv", "b.csv", "c.csv", "d.csv"])
    taken = {}
    attempts = {}
    for worker in ("one", "two", "three"):
        attempts[worker] = start(store, worker).begin("load")
        with acting_as(attempts[worker]):
            taken[worker] = inbox.pop()
            store.session(worker).xcom["loaded"].push(taken[worker])
    assert taken == {"one": "a.csv", "two": "b.csv", "three": "c.csv"}
    attempts["one"].complete("done")
    start(store, "two")
    assert list(inbox) == ["b.csv", "d.csv"]
    assert list(store.session("two").xcom["loaded"]) == []
    with acting_as(attempts["three"]):
        assert inbox.pop() == "b.csv"
    attempts["three"].complete("done")
    assert list(inbox) == ["d.csv"]
    assert list(store.session("three").xcom["loaded"]) == ["c.csv"]


@pytest.mark.promise(number=3)
def test_each_return_is_kept_with_who_when_and_why(store: Store) -> None:
    """The row of a value and its returns contain its history (guarantees.md, promise 3)."""
    queue: Any = store.session("shared").xcom["q"]
    queue.push("v")
    run = start(store, "flow")
    failing(run, "task", queue.pop)
    with acting_as(run.begin("task")):
        queue.pop()
    run = start(store, "flow")
    with run.attempt("task"):
        queue.pop()
    done = run.completed("task")
    assert done is not None
    run.give_back(done, "named by --from")
    with contextlib.suppress(KeyboardInterrupt), run.attempt("task"):
        queue.pop()
        raise KeyboardInterrupt
    run.begin("task")
    returns = query(
        store,
        "SELECT a.number, r.reason, r.taken_at, r.returned_at FROM zrb_return r "
        "JOIN zrb_attempt a ON a.id = r.taken_by ORDER BY r.id",
    )
    assert [(number, reason) for number, reason, _, _ in returns] == [
        (1, "failed"),
        (2, "lost"),
        (3, "named by --from"),
        (4, "interrupted"),
    ]
    moments = [moment for _, _, taken, returned in returns for moment in (taken, returned)]
    assert moments == sorted(moments)
    assert len(set(moments)) == 8
    assert list(queue) == ["v"]


@pytest.mark.promise(number=3)
def test_a_number_is_never_used_again(store: Store) -> None:
    """Not even the seq of a retracted, taken or removed value, at either end of the queue."""
    queue: Any = store.session("shared").xcom["q"]
    run = start(store, "flow")
    for _ in range(3):
        failing(run, "task", lambda: (queue.extend([1, 2]), queue.extendleft([3, 4]), queue.rotate(), queue.pop()))
    run.begin("task")
    queue.push("last")
    queue.appendleft("first")
    assert list(queue) == ["first", "last"]
    numbers = [seq for (seq,) in query(store, "SELECT seq FROM zrb_value")]
    assert len(numbers) == len(set(numbers)) == 3 * 5 + 2
    assert seqs(store, "shared") == [min(numbers), max(numbers)]


def test_a_failing_check_is_given_back_before_it_is_asked_again(store: Store) -> None:
    """A check keeps a single row, but what each of its attempts did is undone."""
    queue: Any = store.session("flow").xcom["q"]
    queue.extend([1, 2])
    run = start(store, "flow")
    for _ in range(3):
        attempt = run.begin("is it up?", kind="check")
        with acting_as(attempt):
            assert queue.pop() == 1
        attempt.fail(Broken())
    with acting_as(run.begin("is it up?", kind="check")):
        assert list(queue) == [1, 2]
    assert [tuple(row) for row in query(store, "SELECT number, status FROM zrb_attempt")] == [(1, "running")]


def test_an_attempt_that_did_nothing(store: Store) -> None:
    run = start(store, "flow")
    failing(run, "task", lambda: None)
    run.begin("task")
    assert query(store, "SELECT count(*) FROM zrb_return")[0][0] == 0


# -- attempts that took what another attempt pushed


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
