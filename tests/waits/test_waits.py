"""A run waits without a process (guarantees.md, promise 18)."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.waits import approve, parked, set_deadlines, start
from zrb_store import (
    AttemptClosed,
    InputsDiffer,
    InvalidArgument,
    SessionCompleted,
    SessionWaiting,
    Store,
    Waiting,
    ZrbStoreError,
    open_store,
    step,
    wait,
)
from zrb_store.attempt import Attempt, record_command
from zrb_store.db import transaction
from zrb_store.inspect import advice
from zrb_store.process import process_started
from zrb_store.queries import attempts, waits
from zrb_store.queries.steps import NewStep
from zrb_store.records import AttemptRecord
from zrb_store.run import RunSpec
from zrb_store.testing import Crash, crash_at, expire_lease

pytestmark = [pytest.mark.promise(number=18), pytest.mark.usefixtures("sound")]


def statuses(store: Store) -> list[str]:
    """Return the status of the session and of its attempts."""
    session = store.session("shop").record()
    return [session.status, *(each.status for each in attempts.of_session(store.database, session.id))]


def recorded(store: Store, task: str, number: int = 1) -> AttemptRecord:
    found = attempts.by_name(store.database, "shop", task, number)
    assert found is not None
    return found


@pytest.mark.parametrize("answer_comes", ["before", "after"])
def test_an_answer_is_taken_once_and_stands(store: Store, answer_comes: str) -> None:
    queue, done = store.session("shop").xcom["approve"], store.session("shop").xcom["done"]
    calls: list[str] = []

    def refund(_: object) -> str:
        step("plan", calls.append, "plan")
        store.session("shop").xcom["outside"].push("given back if it parks")
        done.push(answer := approve())
        return str(answer)

    if answer_comes == "before":
        queue.push("yes")
    else:
        assert start(store, refund) is None
        assert statuses(store) == ["waiting", "waiting"]
        with pytest.raises(
            SessionWaiting, match=r"waits for approve, 2 d left: Refund 120\?; `zrb-store push shop app"
        ):
            start(store, refund)
        assert store.session("shop").record().fence == 1
        queue.push("yes")
    queue.push("for somebody else")
    with pytest.raises(Crash), crash_at("complete:inside"):
        start(store, refund)
    expire_lease(store.session("shop"))
    assert start(store, refund) == "yes"
    assert (list(queue), list(done), calls) == (["for somebody else"], ["yes"], ["plan"])
    assert list(store.session("shop").xcom["outside"]) == ["given back if it parks"]
    assert store.session("shop").status == "completed"


def test_what_a_parked_attempt_did_is_given_back(store: Store) -> None:
    session, other = store.session("shop"), store.session("inbox")
    session.xcom["in"].push("order")

    def refund(attempt: Attempt) -> None:
        session.xcom["in"].pop()
        other.xcom["sent"].push("at once")
        attempt.log("asking")
        approve()

    start(store, refund)
    assert list(other.xcom["sent"]) == []
    assert list(session.xcom["in"]) == []
    session.xcom["approve"].push("no")
    with session.run():
        assert list(session.xcom["in"]) == ["order"]


@pytest.mark.parametrize("ends", ["completes", "raises", "says nothing"])
def test_who_catches_it_can_write_no_more(store: Store, ends: str) -> None:
    queue = store.session("shop").xcom["out"]
    with store.session("shop").run() as run:
        with contextlib.suppress(Waiting), run.attempt("refund") as attempt:
            try:
                approve()
            except BaseException:  # noqa: BLE001 - as careless code does
                with pytest.raises(AttemptClosed, match="is waiting"):
                    queue.push("late")
                with pytest.raises(AttemptClosed):
                    approve()
            if ends == "completes":
                attempt.complete("done")
            if ends == "raises":
                raise ValueError
        assert run.task("other", int, "7") == 7
    assert statuses(store) == ["waiting", "waiting", "completed"]


def test_a_session_in_which_a_task_failed_too_has_failed(store: Store) -> None:
    with store.session("shop").run() as run:
        with contextlib.suppress(Waiting):
            run.task("refund", approve)
        with contextlib.suppress(ValueError):
            run.task("fails", int, "x")
    assert store.session("shop").status == "failed"
    with pytest.raises(SystemExit) as exit_, store.session("shop").run() as run:  # noqa: PT012 - its end raises
        run.task("fails", int, "8")
        run.task("refund", approve)
    assert (exit_.value.code, store.session("shop").status) == (75, "waiting")


def test_coroutines_and_their_threads_await_a_wait(store: Store) -> None:
    store.session("shop").xcom["approve"].push("yes")

    async def refund(attempt: Attempt) -> list[object]:
        return [await wait("approve"), approve2(), await wait("approve")]

    def approve2() -> object:
        store.session("shop").xcom["approve"].push("again")
        return wait("approve")

    async def both(attempt: Attempt) -> object:
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(0))
            group.create_task(asyncio.to_thread(refund_in_thread, attempt))
        return None

    def refund_in_thread(attempt: Attempt) -> object:
        return asyncio.run(refund(attempt))

    start(store, lambda attempt: asyncio.run(both(attempt)))
    assert statuses(store) == ["waiting", "waiting"]
    assert [recorded(store, f"refund/{number}").step for number in (1, 2, 3)] == [
        "wait approve",
        "wait approve~2",
        "wait approve~3",
    ]


def test_a_deadline_counts_from_the_first_time(store: Store) -> None:
    outcomes: list[str] = []

    def refund(_: object) -> object:
        try:
            return approve()
        except TimeoutError as error:
            outcomes.append(str(error))
            return wait("approve", timeout="3h", say="Last reminder")

    start(store, refund)
    [first] = parked(store)
    store.session("shop").xcom["approve"].push("dropped")
    with pytest.raises(Crash), crash_at("wait:inside"):
        start(store, refund)
    store.session("shop").xcom["approve"].pop()
    expire_lease(store.session("shop"))
    start(store, refund)
    [again] = parked(store)
    assert (again.deadline, again.since) == (first.deadline, first.since)
    set_deadlines(store, timedelta(hours=3))
    start(store, refund)
    assert [text.partition(" until")[0] for text in outcomes] == ["no value came to queue shop/approve"]
    [second] = parked(store)
    assert second.text() == "for approve, 3 h left: Last reminder"
    store.session("shop").xcom["approve"].push("yes, late")
    assert start(store, refund) == "yes, late"


def test_a_timeout_stands_once_the_task_went_another_way(store: Store) -> None:
    def refund(_: object) -> object:
        try:
            return wait("approve", timeout=0)
        except TimeoutError:
            step("cancel", int, 1)
            raise ValueError from None

    queue = store.session("shop").xcom["approve"]
    for _ in range(2):
        with pytest.raises(ValueError, match=r"^$"):
            start(store, refund)
        queue.push("late")
    assert list(queue) == ["late", "late"]
    assert recorded(store, "refund/1", 2).error_type == "TimeoutError"


def test_a_late_answer_does_not_bypass_the_next_question(store: Store) -> None:
    def refund(_: object) -> object:
        try:
            return wait("approve", timeout=0)
        except TimeoutError:
            return wait("escalate")

    assert start(store, refund) is None
    store.session("shop").xcom["approve"].push("late")
    store.session("shop").xcom["escalate"].push("yes")
    assert start(store, refund) == "yes"


def test_a_program_exits_whether_it_parks_or_finds_the_session_waiting(store: Store) -> None:
    for _ in range(2):
        with pytest.raises(Waiting) as exit_, store.session("shop").run() as run:
            run.task("refund", approve)
        assert isinstance(exit_.value, SystemExit)
        assert exit_.value.code == 75
    assert store.session("shop").record().fence == 1


def test_an_answer_is_not_that_of_another_question(store: Store) -> None:
    def ask(*questions: str) -> list[object]:
        return [wait("approve", say=f"Item {item}?", name=f"item {item}") for item in questions]

    store.session("shop").xcom["approve"].extend(["yes to a", "yes to b"])
    with pytest.raises(Crash), crash_at("complete:before"):
        start(store, lambda _: ask("a"))
    expire_lease(store.session("shop"))
    with pytest.raises(
        InputsDiffer, match=r"item a of .* has the answer to 'Item a\?' of approve, and now asks 'Item b\?'"
    ):
        start(store, lambda _: wait("approve", say="Item b?", name="item a"))
    assert start(store, lambda _: ask("b", "a")) == ["yes to b", "yes to a"]


def test_a_value_that_will_be_given_back_is_no_answer(store: Store) -> None:
    with store.session("shop").run() as run:
        for task, queue, pushed in (("b", "qb", []), ("a", "qa", ["undone"])):
            with contextlib.suppress(Waiting), run.attempt(task) as attempt:
                attempt.xcom["qb"].extend(pushed)
                wait(queue)
    with pytest.raises(
        SessionWaiting, match=r"shop waits for qb and for qa; `.* qb '\"yes\"'` or `.* qa '\"yes\"'` answers$"
    ):
        start(store)
    store.session("shop").xcom["qa"].push("yes")
    assert advice.waiting("shop", parked(store)).endswith("; start it again")


def test_what_it_says_is_one_line_without_secrets(store: Store) -> None:
    with pytest.raises(SystemExit) as exit_, store.session("shop").run() as run:
        run.task("refund", wait, "a\nb", say="see postgresql://shop:secret@host/db")
    assert (len(str(exit_.value).splitlines()), "secret" in str(exit_.value)) == (1, False)


def test_two_that_wait_at_once_are_told_apart(store: Store, location: str) -> None:
    def first(point: str) -> None:
        if point == "wait:before":
            transaction.set_callback(None)
            with open_store(location) as other:
                for task in ("refund/1", "refund"):
                    other.database.transact(lambda t, task=task: waits.park(t, recorded(store, task).id))  # type: ignore[misc]

    transaction.set_callback(first)
    with contextlib.suppress(AttemptClosed):
        start(store)
    assert statuses(store)[1:] == ["waiting"]


def test_it_waits_for_a_time(store: Store) -> None:
    tomorrow = datetime.now(UTC) + timedelta(days=1)

    def remind(_: object) -> str:
        assert wait(until=tomorrow) is None
        assert wait(until=timedelta(seconds=-0.0)) is None
        assert wait(until=datetime(1969, 7, 20, tzinfo=UTC)) is None
        return "done"

    start(store, remind)
    with pytest.raises(SessionWaiting, match=r"shop waits until .* 24 h left$"):
        start(store, remind)
    set_deadlines(store, timedelta(seconds=1))
    assert start(store, remind) == "done"


OTHER = NewStep("s", "[[],{}]")
REFUSED: dict[str, tuple[Callable[[Store, Attempt], object], str]] = {
    "step": (lambda store, attempt: step("ask", approve), "steps do not nest"),
    "a value of another session": (
        lambda store, attempt: (store.session("inbox").xcom["in"].pop(), approve()),
        "took a value of session inbox, which another process would take meanwhile: take it in a step",
    ),
    "a running step": (
        lambda store, attempt: (attempt.steps.begin(OTHER.key, OTHER, None), approve()),
        "its step s is running: let it end first",
    ),
    "nothing": (lambda store, attempt: wait(), "wait for one thing"),
    "no name": (lambda store, attempt: wait(""), "wait for one thing"),
    "a number": (lambda store, attempt: wait(until=5), "is a datetime or a timedelta"),  # type: ignore[arg-type]
    "a time of no clock": (lambda store, attempt: wait(until=datetime.max.replace(tzinfo=UTC)), "is out of range"),
    "a bad timeout": (lambda store, attempt: wait("approve", timeout="soon"), "is not a length of time"),
    "a name": (lambda store, attempt: wait("a~2"), "cannot name a step"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_wait_is_refused_where_none_can_be(store: Store, case: str) -> None:
    call, message = REFUSED[case]
    store.session("inbox").xcom["in"].push(1)
    shop = store.session("shop")
    with pytest.raises(ZrbStoreError, match=message), shop.run() as run, run.attempt("refund") as attempt:
        call(store, attempt)
    assert statuses(store) == ["failed", "failed"]


def test_a_step_of_its_name_is_no_wait(store: Store) -> None:
    def refund(attempt: Attempt) -> object:
        return [attempt.step("wait approve", int, 7), approve(), attempt.step("wait approve", int, 8)]

    assert start(store, refund) is None
    store.session("shop").xcom["approve"].push("yes")
    assert start(store, refund) == [7, "yes", 8]


def test_it_is_refused_in_what_cannot_go_on(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        store.session("shop").prepare(RunSpec(parent="boss/main#1")) as run,
        run.attempt("refund"),
        pytest.raises(ZrbStoreError, match="boss/main#1 started this session"),
    ):
        approve()
    with store.session("night").run() as run:
        store.session("inbox").xcom["in"].push(1)
        for delivery in run.consume(store.session("inbox").xcom["in"]):
            with delivery, pytest.raises((ZrbStoreError, InvalidArgument), match="a delivery is given back whole"):
                approve()
        for kind in ("check", "server"):
            attempt = run.begin(kind, kind=kind)
            with attempt, pytest.raises(ZrbStoreError, match="is ended with its session: wait in a task before it"):
                approve()
        with run.attempt("forked") as attempt:
            monkeypatch.setattr(attempt, "_pid", -1)
            with pytest.raises(AttemptClosed, match="not its forked child"):
                approve()
            monkeypatch.undo()


def test_starting_over_asks_anew(store: Store) -> None:
    from zrb_store.inspect.resume import decide, reruns
    from zrb_store.inspect.workflow import Node, Workflow
    from zrb_store.run import RunSpec
    from zrb_store.run.run import Run

    queue = store.session("shop").xcom["approve"]

    def from_refund() -> None:
        run = Run(store.session("shop").xcom, RunSpec(again=True))
        flow = Workflow([Node("refund")], "refund")
        run.choose_reruns = lambda _, known: reruns(decide(flow, known, "refund"), known)
        with contextlib.suppress(Waiting), run, run.attempt("refund") as attempt:
            attempt.complete(approve())

    queue.push("yes")
    assert start(store, approve) == "yes"
    queue.push("no")
    from_refund()
    assert store.session("shop").status == "completed"
    assert list(queue) == []
    from_refund()  # the old answers do not answer it
    assert store.session("shop").status == "waiting"
    set_deadlines(store, timedelta(hours=1))
    queue.push("yes, to the old question")
    from_refund()
    [waiting] = parked(store)
    assert waiting.text() == "for approve, 2 d left: Refund 120?"


def test_a_person_may_answer_by_mark(store: Store) -> None:
    from zrb_store import codec
    from zrb_store.operations.mark import mark_step

    start(store, approve)
    mark_step(store.database, "shop", "refund", "wait approve", completed=True, result=codec.encode("yes"))
    assert start(store, approve) == "yes"


def test_parking_ends_the_command_of_a_step_that_has_begun_meanwhile(store: Store) -> None:
    """As in a script, of which one process waits while another one begins a step."""

    def refund(attempt: Attempt) -> object:
        def begin_step(point: str) -> None:
            if point == "wait:before":
                begun = attempt.steps.begin(OTHER.key, OTHER, None)
                assert begun is not None
                record_command(begun, command.pid, process_started(command.pid))

        previous = transaction.set_callback(begin_step)
        try:
            return approve()
        finally:
            transaction.set_callback(previous)

    with subprocess.Popen(["sleep", "600"], start_new_session=True) as command:
        try:
            start(store, refund)
            assert command.wait(120) == -signal.SIGKILL
        finally:
            command.kill()
    assert recorded(store, "refund/2").status == "interrupted"


POINTS = [f"{change}:{place}" for change in ("wait", "end") for place in ("before", "inside", "after")]


@pytest.mark.parametrize("point", POINTS)
def test_a_death_while_it_parks_loses_nothing(store: Store, point: str) -> None:
    session, answers = store.session("shop"), []

    def run(*, dies: bool) -> None:
        dying = crash_at(point) if dies else contextlib.nullcontext()
        with contextlib.suppress(Waiting, SessionWaiting, SessionCompleted, Crash), dying, session.run() as run:
            answers.append(run.task("refund", approve))
        expire_lease(session)

    for dies in (True, False):
        run(dies=dies)
    assert (session.status, answers) == ("waiting", [])
    session.xcom["approve"].extend(["yes", "for somebody else"])
    for dies in (True, False):
        run(dies=dies)
    assert (session.status, list(session.xcom["approve"])) == ("completed", ["for somebody else"])
    assert set(answers) == {"yes"}
