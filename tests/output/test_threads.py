"""What several threads of an attempt print, and what a forked child does with it."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
import sqlalchemy as sa

from tests.output.pieces import lines_of
from tests.support.forks import fork
from tests.support.postgres import DEADLINE, wait_until
from zrb_store import Attempt, AttemptClosed, Store, settings
from zrb_store.db.transaction import Transaction
from zrb_store.runtime import output
from zrb_store.runtime.output import Output


def test_a_wake_that_comes_as_the_writer_stops_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    writer, stored = output.Writer(), threading.Event()
    first, late = mock.Mock(), mock.Mock(store=stored.set)

    def wait(condition: threading.Condition, seconds: float) -> bool:
        if not stored.is_set():
            writer.wake(late)
        return False  # the time was over before

    monkeypatch.setattr(output, "clock", SimpleNamespace(wait=wait, sleep=lambda seconds: None))
    writer.wake(first)
    assert stored.wait(DEADLINE)


@pytest.mark.promise(number=12)
@pytest.mark.on_sqlite
def test_no_log_line_is_lost_between_threads(store: Store) -> None:
    with store.session("s").run() as run, run.attempt("load") as attempt:

        def work(thread: int, attempt: Attempt = attempt) -> None:
            for number in range(300):
                attempt.log(f"{thread} {number}")
                if number % 50 == 0 and attempt.output is not None:
                    attempt.output.store()

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    found = [line.removeprefix("log: ").split() for line in lines_of(store, "load#1")]
    for number in range(4):
        assert [int(count) for thread, count in found if int(thread) == number] == list(range(300))
    total = store.database.execute(sa.text("SELECT max(start + size) FROM zrb_output"))[0][0]
    assert total == sum(len(" ".join(parts)) + 1 for parts in found)


@pytest.mark.on_sqlite
def test_no_line_is_lost_if_two_threads_print_first(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    both = threading.Barrier(2)
    size = settings.size

    def slow(variable: str) -> int:
        with contextlib.suppress(threading.BrokenBarrierError):
            both.wait(1)
        return size(variable)

    with store.session("s").run() as run, run.attempt("load") as attempt:
        with monkeypatch.context() as slowed:
            slowed.setattr(settings, "size", slow)
            threads = [threading.Thread(target=attempt.log, args=(str(number),)) for number in range(2)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        # Before the thread that stores can do so.
        attempt.complete()
    assert sorted(lines_of(store, "load#1")) == ["log: 0", "log: 1"]


def test_output_that_no_thread_can_store_now_fails_no_task(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit of the number of processes is full for a moment. What is printed is stored with what comes next."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(output, "INTERVAL", 0.0)
    with store.session("s").run() as run, run.attempt("load") as attempt:
        monkeypatch.setattr(output, "writer", output.Writer())
        attempt._output = Output(store.database, attempt.id, attempt.full_name, 4000, None)
        note = attempt._output.noting(lambda text: None, lambda texts: (["print"] * len(texts), texts))
        with monkeypatch.context() as full:
            full.setattr(threading.Thread, "start", refuse)
            attempt.log("one")
            for _ in range(2000):
                note("a lot of text\n")
        attempt.log("last")
        wait_until(lambda: "log: last" in lines_of(store, "load#1"), lambda: "nothing is stored before the end")
    assert "print: a lot of text" in lines_of(store, "load#1")


@pytest.mark.promise(number=12)
def test_a_signal_handler_that_prints_first_while_its_thread_does(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with store.session("s").run() as run, run.attempt("load") as attempt:
        make = Output.__init__

        def interrupted(*args: Any) -> None:
            monkeypatch.setattr(Output, "__init__", make)
            attempt.log("from the handler")
            make(*args)

        monkeypatch.setattr(Output, "__init__", interrupted)
        attempt.log("from the task")
    assert lines_of(store, "load#1") == ["log: from the handler", "log: from the task"]


@pytest.mark.promise(number=12)
def test_what_a_forked_child_prints_first_does_no_harm(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "INTERVAL", 0.0)

    def work() -> None:
        attempt.log("from the child")
        assert attempt.output is None

    with store.session("s").run() as run, run.attempt("load") as attempt:
        _, status = os.waitpid(fork(work), 0)
        assert os.waitstatus_to_exitcode(status) == 0
        attempt.log("from the parent")
    assert lines_of(store, "load#1") == ["log: from the parent"]


@pytest.mark.slow
@pytest.mark.systems
@pytest.mark.promise(number=12)
def test_a_child_that_is_forked_while_output_is_stored_does_not_wait_for_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored, goes_on = threading.Event(), threading.Event()
    with store.session("s").run() as run, run.attempt("load") as attempt:
        transact = store.database.transact

        def slow(work: Callable[[Transaction], bool], *, in_background: bool) -> bool:
            result = transact(work, in_background=in_background)
            stored.set()
            goes_on.wait(DEADLINE)
            return result

        def work() -> None:
            signal.alarm(int(DEADLINE))  # ends the child if it waits
            assert attempt.output is not None
            attempt.log("x" * 1_000_000)
            assert attempt.output.last_line("log") is None
            attempt.output.store()
            with pytest.raises(AttemptClosed):
                attempt.fail(ValueError("the child gives up"))

        with monkeypatch.context() as slowed:
            slowed.setattr(store.database, "transact", slow)
            attempt.log("from the parent")
            assert stored.wait(DEADLINE)
        _, status = os.waitpid(fork(work), 0)
        goes_on.set()
        assert os.waitstatus_to_exitcode(status) == 0
        attempt.complete()
    assert lines_of(store, "load#1") == ["log: from the parent"]
