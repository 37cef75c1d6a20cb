"""Steps known by their exact names, which begin anew, with all that followed, if what they rest on has changed."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.rows import faults, query
from zrb_store import StepUncertain, Store, ZrbStoreError
from zrb_store.attempt import Attempt
from zrb_store.attempt.exact_steps import ExactStep, open_exact
from zrb_store.attempt.steps import StoredResult
from zrb_store.queries import attempts
from zrb_store.queries.steps import NewStep, StepKey


@contextlib.contextmanager
def attempt_of(store: Store, task: str = "agent") -> Iterator[Attempt]:
    """Run one attempt, which fails, in a run of its own."""
    with store.session("s").run() as run:
        attempt = run.begin(task)
        yield attempt
        attempt.fail()


def ask(
    attempt: Attempt,
    name: str,
    question: str = "?",
    work: Callable[[], Any] = lambda: "answer",
    *,
    once: bool = False,
    **more: Any,
) -> tuple[Any, bool]:
    """Run a step by its exact name. Return its result, and whether it ran."""

    def change(before: str) -> str | None:
        if json.loads(before)[0] == [question]:
            return None
        return f"asked {question}"

    new = NewStep(name, json.dumps([[question], {}]), once)
    with open_exact(attempt, ExactStep(new, change, **more)) as step:
        if isinstance(step, StoredResult):
            return json.loads(step.result), False
        result = work()
        step.complete(result)
        return result, True


def statuses(store: Store, number: int) -> list[tuple[str, bool]]:
    """Return the status of each attempt of a step, and whether it was given back."""
    found = []
    for one in range(1, 9):
        record = attempts.by_name(store.database, "s", f"agent/{number}", one)
        if record is not None:
            found.append((record.status, record.given_back_at is not None))
    return found


def test_a_name_says_which_step_it_is(store: Store) -> None:
    with attempt_of(store) as attempt:
        assert ask(attempt, "model~2") == ("answer", True)
        assert ask(attempt, "model~2") == ("answer", False)  # no occurrence is counted
        assert ask(attempt, "model") == ("answer", True)
    with attempt_of(store) as attempt:
        assert [ask(attempt, name)[1] for name in ("model", "model~2", "model~3")] == [False, False, True]
    assert statuses(store, 1) == [("completed", False)]


@pytest.mark.promise(number=11)
def test_a_change_gives_back_what_followed(store: Store) -> None:
    queue = store.session("s").xcom["out"]
    store.session("other").xcom["in"].extend([1, 2])
    with attempt_of(store) as attempt:
        for number in (1, 2, 3):
            ask(attempt, f"model~{number}", work=functools.partial(queue.push, number))
        ask(attempt, "tool", work=store.session("other").xcom["in"].pop)
    with attempt_of(store, "bystander") as attempt:
        ask(attempt, "model")
    with attempt_of(store) as attempt:
        assert not ask(attempt, "model~1")[1]
        assert ask(attempt, "model~2", "what else?") == ("answer", True)
        assert list(queue) == [1]
        assert ask(attempt, "model~2", "what else?") == ("answer", False)
        assert ask(attempt, "model~3")[1]
        assert ask(attempt, "tool", work=store.session("other").xcom["in"].pop) == (1, True)
    assert statuses(store, 2) == [("completed", True), ("completed", False)]
    assert statuses(store, 4) == [("completed", True), ("completed", False)]
    assert list(store.session("other").xcom["in"]) == [2]
    record = attempts.by_name(store.database, "s", "agent/2", 2)
    assert record is not None
    assert json.loads(record.arguments or "") == [["what else?"], {}]
    with attempt_of(store, "bystander") as attempt:
        assert not ask(attempt, "model")[1]
    assert faults(store) == []


def test_the_reason_is_stored_with_the_values_that_come_back(store: Store) -> None:
    store.session("s").xcom["in"].push("a")
    with attempt_of(store) as attempt:
        ask(attempt, "model", work=store.session("s").xcom["in"].pop)
    with attempt_of(store) as attempt:
        ask(attempt, "model", "again?")
    assert [row[0] for row in query(store, "SELECT reason FROM zrb_return")] == ["asked again?"]


@pytest.mark.promise(number=11)
@pytest.mark.parametrize("ends", ["completed", "lost", "failed"])
def test_a_once_step_is_not_discarded(store: Store, ends: str) -> None:
    class Boom(Exception):
        pass

    def fail() -> None:
        raise Boom

    with attempt_of(store) as attempt:
        ask(attempt, "model")
        if ends == "completed":
            ask(attempt, "charge", once=True)
            ask(attempt, "model~2")
            with pytest.raises(StepUncertain, match=r"step charge of task agent .*asked twice"):
                ask(attempt, "charge", "twice", once=True)
        elif ends == "failed":
            with pytest.raises(Boom):
                ask(attempt, "charge", work=fail, once=True)
        else:  # it is open when the attempt ends
            open_exact(attempt, ExactStep(NewStep("charge", "[[], {}]", once=True), lambda _: None)).__enter__()
    with attempt_of(store) as attempt:
        if ends == "failed":
            assert ask(attempt, "model", "what else?")[1]
            return
        with pytest.raises(StepUncertain, match=r"step charge of task agent .*asked what else\?.*--repeat-once"):
            ask(attempt, "model", "what else?")
        assert ask(attempt, "model") == ("answer", False)
    assert statuses(store, 1) == [("completed", False)]


def test_it_may_begin_although_an_end_is_unknown(store: Store) -> None:
    with attempt_of(store) as attempt:
        open_exact(attempt, ExactStep(NewStep("charge", "[[], {}]", once=True), lambda _: None)).__enter__()
    with attempt_of(store) as attempt:
        with pytest.raises(StepUncertain):
            ask(attempt, "charge", once=True)
        assert ask(attempt, "charge", once=True, repeat=True, work=lambda: "unknown") == ("unknown", True)
        assert ask(attempt, "charge", once=True) == ("unknown", False)


@pytest.mark.promise(number=11)
def test_the_newest_try_of_a_once_step_decides_whether_it_may_have_happened(store: Store) -> None:
    with attempt_of(store) as attempt:
        ask(attempt, "model")
        open_exact(attempt, ExactStep(NewStep("charge", "[[], {}]", once=True), lambda _: None)).__enter__()
    with attempt_of(store) as attempt, pytest.raises(ZeroDivisionError):
        ask(attempt, "charge", once=True, repeat=True, work=lambda: 1 // 0)
    with attempt_of(store) as attempt:
        assert ask(attempt, "model", "what else?") == ("answer", True)
    assert statuses(store, 2) == [("interrupted", True), ("failed", True)]


def test_two_of_one_name_do_not_run_at_once(store: Store) -> None:
    with attempt_of(store) as attempt, ThreadPoolExecutor(1) as pool:

        def other() -> Any:
            return pool.submit(ask, attempt, "model").result()

        with pytest.raises(ZrbStoreError, match="is running"):
            ask(attempt, "model", work=other)


@pytest.mark.promise(number=11)
def test_what_a_person_has_kept_is_kept(store: Store) -> None:
    with attempt_of(store) as attempt:
        ask(attempt, "model")
        ask(attempt, "model~2")
    store.fork("s", from_task="agent", from_step="model~2", name="s2")
    with store.session("s2").run() as run:
        attempt = run.begin("agent")
        assert ask(attempt, "model", "another question") == ("answer", False)
        assert ask(attempt, "model~2", "another question") == ("answer", True)
        attempt.fail()


def ask_in_vain(attempt: Attempt, name: str, work: Callable[[], Any] = lambda: None, **more: Any) -> None:
    """Run a step whose result cannot be stored."""

    def result() -> object:
        work()
        return object()

    with pytest.warns(RuntimeWarning, match="its result is returned"):
        assert ask(attempt, name, work=result, **more)[1]


@pytest.mark.promise(number=11)
def test_what_this_attempt_did_on_the_way_stays(store: Store) -> None:
    """The result of a call could not be stored, so that it runs again before the question that rests on it."""
    queue = store.session("s").xcom["out"]
    for number in (1, 2):
        with attempt_of(store) as attempt:
            ask(attempt, "model")
            ask_in_vain(attempt, "tool", functools.partial(queue.push, number))
            assert ask(attempt, "model~2", f"question {number}")[1]
            assert list(queue) == [number]
    assert statuses(store, 2) == [("completed", True), ("completed", False)]
    assert faults(store) == []


@pytest.mark.promise(number=11)
def test_what_followed_a_result_that_is_not_stored_is_given_back_with_it(store: Store) -> None:
    queue = store.session("s").xcom["out"]
    with attempt_of(store) as attempt:
        ask_in_vain(attempt, "model", leads=True)
        ask(attempt, "tool 1", work=functools.partial(queue.push, 1))
        ask_in_vain(attempt, "model", leads=True, own=[StepKey("step", "tool 1")])  # the same attempt comes to it again
        assert list(queue) == []
        ask(attempt, "tool 2", work=functools.partial(queue.push, 2))
    with attempt_of(store) as attempt:
        assert ask(attempt, "model", leads=True)[1]
        assert list(queue) == []
        ask(attempt, "tool 3", work=functools.partial(queue.push, 3))
    with attempt_of(store) as attempt:
        assert not ask(attempt, "model", leads=True)[1]
    assert list(queue) == [3]
    assert faults(store) == []


@pytest.mark.promise(number=11)
def test_what_this_attempt_has_used_is_not_given_back_under_it(store: Store) -> None:
    """Another step begins again, which began before: those that this attempt has used rest on nothing of it."""
    queue = store.session("s").xcom["out"]
    with attempt_of(store) as attempt:
        ask(attempt, "other: model")
        ask(attempt, "tool", work=functools.partial(queue.push, 1), once=True)
        attempt.step("charge", queue.push, 2)
        ask(attempt, "late", work=functools.partial(queue.push, 3))
    with attempt_of(store) as attempt:
        assert not ask(attempt, "tool", once=True)[1]
        attempt.step("charge", queue.push, 2)
        assert ask(attempt, "other: model", "another question")[1]
        assert list(queue) == [1, 2]
    assert faults(store) == []


def test_a_once_step_after_a_result_that_is_not_stored(store: Store) -> None:
    with attempt_of(store) as attempt:
        ask_in_vain(attempt, "model", leads=True)
        ask(attempt, "charge", once=True)
    with attempt_of(store) as attempt:
        with pytest.raises(StepUncertain, match=r"the result of step model is not stored\): start the task over with"):
            ask(attempt, "model", leads=True)
        assert not ask(attempt, "charge", once=True)[1]
