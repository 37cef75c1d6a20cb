"""Attempts: what belongs to them, how they end, and that nothing is written after their end."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Generator
from typing import Any

import pytest

from tests.support.attempts import Broken, acting_as, failing, start
from tests.support.rows import all_rows, faults, query, states
from zrb_store import (
    Attempt,
    AttemptClosed,
    InvalidArgument,
    LeaseLost,
    Run,
    Store,
    UnencodableValue,
    ValueTooLarge,
    ZrbStoreError,
    codec,
    masking,
    open_store,
    step,
)
from zrb_store.masking import TRACEBACK_LIMIT, error_text

WRITES: dict[str, Callable[[Any], object]] = {
    "push": lambda q: q.push(1),
    "appendleft": lambda q: q.appendleft(1),
    "pop": lambda q: q.pop(),
    "popright": lambda q: q.popright(),
    "extend": lambda q: q.extend([1]),
    "set": lambda q: q.set(1),
    "clear": lambda q: q.clear(),
    "remove": lambda q: q.remove("a"),
    "del": lambda q: q.__delitem__(0),
    "assign": lambda q: q.__setitem__(0, 1),
    "insert": lambda q: q.insert(0, 1),
    "rotate": lambda q: q.rotate(),
    "reverse": lambda q: q.reverse(),
    "+=": lambda q: q.__iadd__([1]),
    "*=": lambda q: q.__imul__(2),
}


def refused(store: Store, attempt: Attempt, error: type[ZrbStoreError], message: str) -> None:
    """Check that every write of the attempt is refused, to existing and to new queues, and changes no row."""
    shared = store.session("shared").xcom["q"]
    before = all_rows(store)
    for write in WRITES.values():
        with acting_as(attempt), pytest.raises(error, match=message):
            write(shared)
    for new in (store.session("new").xcom["q"], attempt.xcom["new"]):
        for write in (WRITES["push"], WRITES["extend"], WRITES["set"]):
            with acting_as(attempt), pytest.raises(error, match=message):
                write(new)
    with pytest.raises(error, match=message):
        attempt.complete(1)
    with pytest.raises(error, match=message):
        attempt.complete(queue="new")
    with pytest.raises(error, match=message):
        attempt.fail(Broken())
    assert all_rows(store) == before


@pytest.fixture
def shared(store: Store) -> Any:
    """A queue that any session may use."""
    queue = store.session("shared").xcom["q"]
    queue.extend(["a", "b", "c"])
    return queue


class TestEnds:
    @pytest.mark.promise(number=2)
    @pytest.mark.smoke
    def test_completing_pushes_the_result(self, store: Store) -> None:
        session = store.session("flow")
        with session.run() as run:
            with run.attempt("load") as attempt:
                attempt.complete({"rows": 2})
            assert list(session.xcom["load"]) == [{"rows": 2}]
            with run.attempt("report") as attempt:
                attempt.complete(None, queue="elsewhere")
            assert list(session.xcom["elsewhere"]) == [None]
            assert "report" not in session.xcom
        assert query(store, "SELECT status FROM zrb_attempt") == [("completed",)] * 2

    def test_leaving_it_completes_it_and_pushes_nothing(self, store: Store) -> None:
        session = store.session("flow")
        with session.run() as run, run.attempt("load"):
            pass
        assert [tuple(row) for row in query(store, "SELECT status, result_seq FROM zrb_attempt")] == [
            ("completed", None)
        ]
        assert list(session.xcom) == []

    @pytest.mark.parametrize(
        ("error", "status"),
        [(Broken("no"), "failed"), (KeyboardInterrupt(), "interrupted"), (GeneratorExit(), "interrupted")],
    )
    @pytest.mark.smoke
    def test_an_exception_fails_it(self, store: Store, error: BaseException, status: str) -> None:
        run = start(store, "flow")
        with pytest.raises(type(error)), run.attempt("load"):
            raise error
        assert query(store, "SELECT status, error_type FROM zrb_attempt") == [(status, type(error).__name__)]

    def test_an_error_without_a_text_is_kept_too(self, store: Store) -> None:
        class Mute(Exception):
            def __str__(self) -> str:
                return self.missing  # type: ignore[attr-defined,no-any-return]

        with pytest.raises(Mute), store.session("s").run() as run, run.attempt("t"):
            raise Mute
        [(status, message, traceback)] = query(store, "SELECT status, error_message, error_traceback FROM zrb_attempt")
        assert (status, message) == ("failed", "<exception str() failed>")
        assert "raise Mute" in traceback

    @pytest.mark.smoke
    def test_the_error_is_kept_with_its_traceback_up_to_16_kib(self, store: Store) -> None:
        run = start(store, "flow")

        def deep(depth: int) -> None:
            if depth:
                deep(depth - 1)
            raise Broken("x" * 20000 + "\0\ud800 end")

        with pytest.raises(Broken), run.attempt("load"):
            deep(100)
        [[message, traceback]] = query(store, "SELECT error_message, error_traceback FROM zrb_attempt")
        assert message.startswith("xxx")
        assert len(message) == len(traceback) == 16 * 1024
        assert traceback.endswith("x\\0\\ud800 end\n")

    @pytest.mark.parametrize("char", ["x", "é", "世", "😀"])
    @pytest.mark.parametrize("shift", range(4))
    def test_the_limit_counts_bytes_and_cuts_no_character(self, char: str, shift: int) -> None:
        kind, message, text = error_text(ValueError("y" * shift + char * TRACEBACK_LIMIT + "z" * shift))
        assert kind == "ValueError"
        assert message is not None
        assert text is not None
        for kept in (message, text):
            assert TRACEBACK_LIMIT - 4 < len(kept.encode()) <= TRACEBACK_LIMIT
        assert set(message.removeprefix("y" * shift)) == {char}
        assert text.startswith(f"[...]\n{char}")
        assert text.endswith(f"{char}{'z' * shift}\n")

    @pytest.mark.slow
    def test_no_half_of_a_secret_survives_the_cut(self) -> None:
        masking.remember("ABCDEFGHIJ")
        for size in range(TRACEBACK_LIMIT - 400, TRACEBACK_LIMIT + 40):
            parts = error_text(ValueError("ABCDEFGHIJ" + "y" * size))
            assert "***" in "".join(part or "" for part in parts)
            assert "J" not in "".join(part or "" for part in parts)

    def test_a_result_that_cannot_be_stored_leaves_it_running(self, store: Store, shared: Any) -> None:
        store.max_value = 1000
        attempt = store.session("flow").run().start().begin("load")
        with pytest.raises(UnencodableValue, match=r"\$\.thing"):
            attempt.complete({"thing": object()})
        with pytest.raises(ValueTooLarge):
            attempt.complete("x" * 2000)
        with acting_as(attempt):
            assert shared.pop() == "a"
        attempt.complete("small")
        assert list(store.session("flow").xcom["load"]) == ["small"]

    @pytest.mark.promise(number=2)
    def test_a_lenient_result_is_not_restorable(self, store: Store) -> None:
        run = start(store, "flow")
        with run.attempt("load") as attempt:
            attempt.complete(codec.encode(object(), lenient=True))
        done = run.completed("load")
        assert done is not None
        assert not done.restorable

    def test_its_numbers_and_names(self, store: Store) -> None:
        run = start(store, "flow")
        names = []
        for task in ("load", "load", "report", "load"):
            attempt = run.begin(task)
            attempt.fail(Broken())
            names.append((attempt.name, attempt.token))
        assert names == [(name, f"flow/{name}@1") for name in ("load#1", "load#2", "report#1", "load#3")]
        again = start(store, "flow").begin("load")
        assert (again.name, again.token) == ("load#4", "flow/load#4@2")

    @pytest.mark.parametrize("task", ["", "a/b", "a#1", "Ünïcödé", "x@3"])
    def test_names_of_tasks_are_free(self, store: Store, task: str) -> None:
        run = start(store, "flow")
        with run.attempt(task) as attempt:
            attempt.complete(1)
        assert run.completed(task) is not None

    def test_names_that_no_database_holds(self, store: Store) -> None:
        run = start(store, "flow")
        for name in ("a\0b", "\ud800"):
            with pytest.raises(InvalidArgument, match="cannot name a task"):
                run.attempt(name)


ENDS: dict[str, tuple[Callable[[Run, Attempt], object], str]] = {
    "it completed": (lambda run, attempt: attempt.complete("result"), "completed"),
    "it failed": (lambda run, attempt: attempt.fail(Broken()), "failed"),
    "it was interrupted": (lambda run, attempt: attempt.fail(Broken(), "interrupted"), "interrupted"),
    "the next attempt began": (lambda run, attempt: run.begin("load"), "lost"),
    "its run ended": (lambda run, attempt: run.end("failed"), "interrupted"),
}


class TestRefusals:
    @pytest.mark.promise(number=5)
    @pytest.mark.parametrize("way", ENDS)
    def test_an_attempt_that_ended_can_no_longer_write(self, store: Store, shared: Any, way: str) -> None:
        end, status = ENDS[way]
        run = start(store, "flow")
        attempt = run.begin("load")
        end(run, attempt)
        refused(store, attempt, AttemptClosed, f"flow/load#1 is {status}: it can no longer write")

    @pytest.mark.promise(number=5)
    def test_after_a_take_over(self, store: Store, shared: Any) -> None:
        attempt = start(store, "flow").begin("load")
        start(store, "flow")
        refused(store, attempt, LeaseLost, "session flow was taken over by run 2: flow/load#1 can no longer write")

    @pytest.mark.promise(number=5)
    def test_by_its_fence_alone(self, store: Store, shared: Any) -> None:
        """A write is refused when the session has a newer run, even if the attempt's own row is unchanged."""
        attempt = start(store, "flow").begin("load")
        store.database.transact(lambda t: t.driver.execute("UPDATE zrb_session SET fence = 2 WHERE name = 'flow'"))
        refused(store, attempt, LeaseLost, "session flow was taken over by run 2: flow/load#1 can no longer write")

    def test_a_run_that_was_taken_over(self, store: Store) -> None:
        run = start(store, "flow")
        with run.attempt("load"):
            pass
        done = run.completed("load")
        assert done is not None
        start(store, "flow")
        before = all_rows(store)
        writes: list[Callable[[], object]] = [
            lambda: run.begin("report"),
            lambda: run.begin("is it up?", kind="check"),
            lambda: run.attempt("report"),
            lambda: run.attempt("load"),  # which has completed
            lambda: run.task("report", lambda: 1),
            lambda: run.give_back(done, "again"),
            lambda: run.note_tasks({"load": "not started"}),
            lambda: run.end("completed"),
        ]
        for write in writes:
            run.lost = False  # so that each looks at the store
            with pytest.raises(LeaseLost, match="taken over by another process: run 1 can no longer write"):
                write()
        assert all_rows(store) == before
        assert run.lost

    def test_after_its_session_was_removed(self, store: Store, shared: Any) -> None:
        attempt = start(store, "flow").begin("load")
        store.database.transact(lambda t: t.driver.execute("DELETE FROM zrb_session WHERE name = 'flow'"))
        refused(store, attempt, AttemptClosed, "flow/load#1 was removed")

    def test_reading_is_always_allowed(self, store: Store, shared: Any) -> None:
        attempt = start(store, "flow").begin("load")
        attempt.complete("result")
        with acting_as(attempt):
            assert (len(shared), shared.peek(), shared.get(), list(shared)) == (3, "a", "c", ["a", "b", "c"])
            assert attempt.xcom["load"].peek() == "result"
            assert list(attempt.xcom["nothing"]) == []

    def test_the_context_manager_refuses_too(self, store: Store, shared: Any) -> None:
        """An attempt whose run was taken over must not leave its block as if it had completed."""
        run = start(store, "flow")
        with pytest.raises(LeaseLost), run.attempt("load"):
            start(store, "flow")

    def test_the_reason_of_a_failure_is_not_hidden_by_a_refusal(self, store: Store) -> None:
        run = start(store, "flow")

        def work() -> None:
            with run.attempt("load"):
                start(store, "flow")
                raise Broken("the reason")

        with pytest.raises(Broken, match="the reason"):
            work()


class TestWhoOwnsWhat:
    def test_attempts_do_not_nest(self, store: Store) -> None:
        run = start(store, "flow")
        other = start(store, "other")
        with run.attempt("load"):
            for nested in (run, other):
                with pytest.raises(ZrbStoreError, match="report cannot begin inside another attempt"):
                    nested.attempt("report")
                with pytest.raises(ZrbStoreError, match="attempts do not nest"):
                    nested.task("report", lambda: 1)
        with run.attempt("report"):
            pass

    def test_its_own_queues_in_any_thread_and_the_sessions_where_the_context_is(
        self, store: Store, shared: Any
    ) -> None:
        session = store.session("flow")
        run = session.run().start()
        attempt = run.begin("load")
        with acting_as(attempt):
            context = contextvars.copy_context()
        jobs: list[Callable[[], object]] = [
            lambda: attempt.xcom["q"].push("bound"),
            lambda: context.run(session.xcom["q"].push, "in the context"),
            lambda: session.xcom["q"].push("outside, hence final"),
        ]
        for job in jobs:
            thread = threading.Thread(target=job)
            thread.start()
            thread.join()
        start(store, "flow")
        assert states(store, "flow") == [
            ("bound", "retracted"),
            ("in the context", "retracted"),
            ("outside, hence final", "live"),
        ]

    def test_another_store_object_of_the_same_database(self, store: Store, location: str, shared: Any) -> None:
        run = start(store, "flow")
        with open_store(location) as other:
            queue = other.session("shared").xcom["q"]
            with acting_as(run.begin("load")) as attempt:
                queue.pop()
                assert list(queue) == ["b", "c"]
                attempt.fail()
            assert list(other.session("shared").xcom["q"]) == ["a", "b", "c"]

    def test_another_database_is_not_part_of_it(self, store: Store, sqlite_template: Any, tmp_path: Any) -> None:
        (tmp_path / "other.db").write_bytes(sqlite_template.read_bytes())
        run = start(store, "flow")
        with open_store(tmp_path / "other.db") as other:
            queue = other.session("shared").xcom["q"]
            failing(run, "load", lambda: queue.push("final"))
            start(store, "flow")
            assert list(queue) == ["final"]
            assert faults(other) == []


Work = Callable[[Store, Run], Generator[Any, None, None]]


def in_an_attempt(store: Store, run: Run) -> Generator[None, None, None]:
    with run.attempt("load"):
        store.session("inbox").xcom["files"].pop()
        yield


def in_a_step(store: Store, run: Run) -> Generator[Any, None, None]:
    async def take() -> None:
        store.session("inbox").xcom["files"].pop()
        await asyncio.sleep(0)

    async def work() -> None:
        with run.attempt("load"):
            await step("take", take)

    yield from work().__await__()


def in_a_delivery(store: Store, run: Run) -> Generator[None, None, None]:
    for delivery in run.consume(store.session("inbox").xcom["files"]):
        with delivery:
            yield


@pytest.mark.parametrize("work", [in_an_attempt, in_a_step, in_a_delivery])
def test_code_that_is_closed_in_another_context_gives_back_what_it_took(store: Store, work: Work) -> None:
    files = store.session("inbox").xcom["files"]
    files.push("a.csv")
    with store.session("night").run() as run:
        working = work(store, run)
        contextvars.copy_context().run(next, working)
        assert list(files) == []
        working.close()
        assert list(files) == ["a.csv"]
