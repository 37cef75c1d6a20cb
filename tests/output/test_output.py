"""What an attempt prints and logs is kept with it: stored within a second and at the end, the last part of it only."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.output.pieces import lines_of, stored_pieces
from tests.support.findings import doctor_findings
from tests.support.postgres import wait_until
from tests.support.rows import query
from tests.support.sessions import show
from zrb_store import InvalidArgument, OutputHandler, Store, StoreUnavailable, open_store
from zrb_store.operations.sessions import fork, remove_sessions
from zrb_store.runtime.output import Output, Writer
from zrb_store.testing import expire_lease


@pytest.mark.promise(number=12)
@pytest.mark.parametrize("fails", [False, True])
def test_what_was_logged_is_stored_with_the_end_of_the_attempt(store: Store, location: str, fails: bool) -> None:
    with contextlib.suppress(ZeroDivisionError), store.session("s").run() as run, run.attempt("load") as attempt:
        attempt.log("reading")
        attempt.log("two\nlines", stream="warning")
        if fails:
            1 / 0  # noqa: B018
    assert lines_of(store, "load#1") == ["log: reading", "warning: two", "warning: lines"]
    (shown,) = show(store.database, "s")["tasks"][0]["attempts"]
    assert shown["output"] == {"bytes": len("reading\ntwo\nlines\n"), "truncated": False}
    assert query(store, "SELECT piece, start, size FROM zrb_output") == [(1, 0, 18)]
    assert doctor_findings(location) == []


@pytest.mark.promise(number=12)
def test_the_last_piece_costs_no_transaction_of_its_own(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with store.session("s").run() as run, run.attempt("load") as attempt:
        attempt.log("said")
        names: list[str] = []
        transact = store.database.transact

        def counting(work: Callable[..., object], name: str = "", **others: Any) -> object:
            names.append(name)
            return transact(work, name, **others)

        monkeypatch.setattr(store.database, "transact", counting)
        attempt.complete()
        assert names == ["complete"]


@pytest.mark.promise(number=12)
@pytest.mark.on_sqlite
def test_a_silent_attempt_has_no_thread_and_no_row(store: Store) -> None:
    before = set(threading.enumerate())
    with store.session("s").run() as run, run.attempt("load") as attempt:
        assert "zrb-store-output" not in {thread.name for thread in set(threading.enumerate()) - before}
        assert attempt.output is not None
    assert stored_pieces(store) == 0
    assert show(store.database, "s")["tasks"][0]["attempts"][0]["output"] is None


@pytest.mark.slow
@pytest.mark.promise(number=12)
def test_lines_are_stored_within_a_second_and_not_for_each_line(store: Store) -> None:
    with store.session("s").run() as run, run.attempt("load") as attempt:
        for number in range(100):
            attempt.log(f"line {number}")
        wait_until(lambda: stored_pieces(store) > 0, lambda: "nothing is stored")
        assert len(lines_of(store, "load#1")) == 100
        attempt.log("more")
        wait_until(lambda: stored_pieces(store) == 2, lambda: "no second piece is stored")
        assert query(store, "SELECT piece, start FROM zrb_output ORDER BY piece")[1] == (2, 790)
        attempt.log("the end")
    assert lines_of(store, "load#1")[100:] == ["log: more", "log: the end"]


@pytest.mark.long_on_postgresql
@pytest.mark.slow
@pytest.mark.promise(number=12)
def test_only_the_end_is_kept(store: Store, location: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZRB_STORE_OUTPUT_LIMIT", "1000")
    with store.session("s").run() as run, run.attempt("load") as attempt:
        output = attempt.output
        assert output is not None
        for number in range(200):
            attempt.log(f"line {number:03}")
            if number % 7 == 0:
                output.store()
                assert doctor_findings(location) == []
                kept = query(store, "SELECT sum(size) FROM zrb_output")[0][0]
                assert kept <= 1250
    found = lines_of(store, "load#1")
    assert found == [f"log: line {number:03}" for number in range(200 - len(found), 200)]
    assert 1000 <= 9 * len(found) <= 1250
    assert show(store.database, "s")["tasks"][0]["attempts"][0]["output"] == {"bytes": 1800, "truncated": True}
    assert doctor_findings(location) == []


def test_more_than_the_limit_at_once(store: Store, location: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZRB_STORE_OUTPUT_LIMIT", "1000")
    with store.session("s").run() as run, run.attempt("load") as attempt:
        output = attempt.output
        assert output is not None
        for start in (0, 10_000):
            for number in range(start, start + 10_000):
                attempt.log(f"line {number:05}")
            output.store()
            assert lines_of(store, "load#1")[-1] == f"log: line {start + 9999:05}"
    found = lines_of(store, "load#1")
    assert found == [f"log: line {number:05}" for number in range(20_000 - len(found), 20_000)]
    assert 900 <= 11 * len(found) <= 1000
    assert show(store.database, "s")["tasks"][0]["attempts"][0]["output"] == {"bytes": 220_000, "truncated": True}
    assert doctor_findings(location) == []


def test_a_line_that_alone_is_too_long_is_counted_whole(store: Store, location: str) -> None:
    with store.session("s").run() as run, run.attempt("load") as attempt:
        attempt.log("before")
        attempt.log("x" * 70_000)
    (shown,) = show(store.database, "s")["tasks"][0]["attempts"]
    assert shown["output"] == {"bytes": len("before\n") + 70_001, "truncated": True}
    (line,) = lines_of(store, "load#1")
    assert line.startswith("log: [...] x")
    assert doctor_findings(location) == []


@pytest.mark.on_sqlite
def test_none_is_kept_if_nobody_wants_it(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZRB_STORE_OUTPUT_LIMIT", "0")
    with store.session("s").run() as run, run.attempt("load") as attempt:
        attempt.log("said")
    assert stored_pieces(store) == 0


@pytest.mark.parametrize("text", ["64KiB", "-1", "1.5", "9999999999"])
@pytest.mark.on_sqlite
def test_a_limit_that_is_no_number_is_refused(location: str, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("ZRB_STORE_OUTPUT_LIMIT", text)
    with pytest.raises(InvalidArgument, match="ZRB_STORE_OUTPUT_LIMIT is "):
        open_store(location)


@pytest.mark.promise(number=12)
def test_a_run_that_lost_its_lease_writes_no_output(store: Store) -> None:
    session = store.session("s")
    run = session.run().start()
    attempt = run.begin("load")
    attempt.log("before")
    assert attempt.output is not None
    attempt.output.store()
    expire_lease(session)
    with store.session("s").run():
        attempt.log("after")
        attempt.output.store()
        attempt.log("later")
        attempt.output.store()
    assert lines_of(store, "load#1") == ["log: before"]


def test_an_attempt_that_has_ended_prints_nothing_more(store: Store) -> None:
    with store.session("s").run() as run:
        attempt = run.begin("load")
        attempt.log("before")
        attempt.complete()
        attempt.log("after")
        assert attempt.output is not None
        attempt.output.store()
    assert lines_of(store, "load#1") == ["log: before"]


def test_a_completion_that_was_refused_loses_no_output(store: Store) -> None:
    from zrb_store import UnencodableValue

    with store.session("s").run() as run, run.attempt("load") as attempt:
        attempt.log("one")
        with pytest.raises(UnencodableValue):
            attempt.complete(object())
        attempt.log("two")
    assert lines_of(store, "load#1") == ["log: one", "log: two"]


class TestHandler:
    """`zrb_store.OutputHandler`."""

    @pytest.fixture
    def logger(self) -> Iterator[logging.Logger]:
        logger = logging.getLogger("tests.output")
        logger.propagate = False
        logger.setLevel(logging.DEBUG)
        yield logger
        logger.handlers.clear()

    @pytest.mark.on_sqlite
    def test_messages_belong_to_the_running_attempt(self, store: Store, logger: logging.Logger) -> None:
        logger.addHandler(OutputHandler(level="INFO"))
        logger.error("outside")
        with store.session("s").run() as run:
            with run.attempt("load") as attempt:
                logger.debug("too fine")
                logger.info("count %d", 3)
                attempt.step("page", logger.warning, "in a step")
                try:
                    1 / 0  # noqa: B018
                except ZeroDivisionError:
                    logger.exception("bad")
            with run.attempt("report"):
                logger.critical("other")
        found = lines_of(store, "load#1")
        assert found[:3] == ["info: count 3", "warning: in a step", "error: bad"]
        assert found[-1] == "error: ZeroDivisionError: division by zero"
        assert lines_of(store, "report#1") == ["critical: other"]
        assert lines_of(store, "load/1#1") == []

    @pytest.mark.on_sqlite
    def test_an_attempt_may_be_named_for_threads(self, store: Store, logger: logging.Logger) -> None:
        with store.session("s").run() as run, run.attempt("load") as attempt:
            logger.addHandler(OutputHandler(attempt))
            thread = threading.Thread(target=logger.info, args=("from a thread",))
            thread.start()
            thread.join()
        assert lines_of(store, "load#1") == ["info: from a thread"]


def test_a_check_that_is_opened_again_adds_to_its_output(store: Store, location: str) -> None:
    with store.session("s").run() as run:
        for text in ("first", "second"):
            attempt = run.begin("up?", kind="check")
            attempt.log(text)
            attempt.complete()
    assert lines_of(store, "up?#1") == ["log: first", "log: second"]
    assert doctor_findings(location) == []


@pytest.mark.promise(number=12)
def test_output_is_copied_and_deleted_with_its_attempt(store: Store, location: str) -> None:
    with store.session("s").run() as run:
        with run.attempt("load") as attempt:
            attempt.log("loaded")
        with run.attempt("report") as attempt:
            attempt.log("reported")
    fork(store.database, "s", "report", "again")
    assert lines_of(store, "load#1", "again") == ["log: loaded"]
    assert stored_pieces(store) == 3
    remove_sessions(store.database, "s")
    assert stored_pieces(store) == 1
    assert lines_of(store, "load#1", "again") == ["log: loaded"]
    assert doctor_findings(location) == []


@pytest.mark.on_sqlite
def test_secrets_in_output_are_not_stored(store: Store) -> None:
    with store.session("s").run() as run, run.attempt("load") as attempt:
        attempt.log("connecting to postgresql://etl:geheim@db/shop")
    assert lines_of(store, "load#1") == ["log: connecting to postgresql://etl:***@db/shop"]
    assert "geheim" not in str(query(store, "SELECT data FROM zrb_output"))


@pytest.mark.long_on_postgresql
@pytest.mark.promise(number=12)
@pytest.mark.slow
def test_after_kill_9_all_but_the_last_second_is_there(store: Store, location: str) -> None:
    program = """
        import itertools, time, zrb_store
        with zrb_store.open_store() as store, store.session("s").run() as run, run.attempt("load") as attempt:
            for number in itertools.count():
                attempt.log(f"{number} {time.time()}")
                print(number, flush=True)
                time.sleep(0.01)
    """
    url = store.database.url.render_as_string(hide_password=False)
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        env={**os.environ, "ZRB_STORE_URL": url},
        stdout=subprocess.PIPE,
    )
    try:
        wait_until(lambda: stored_pieces(store) >= 2, lambda: "two pieces are not stored")
        noted = stored_pieces(store)
        seen_at = time.time()
        # What is said from now on is stored while the attempt goes on, a second later or two.
        wait_until(lambda: stored_pieces(store) > noted + 1, lambda: "nothing more is stored")
    finally:
        process.send_signal(signal.SIGKILL)
        killed_at = time.time()
        process.communicate()
    found = [line.split()[1:] for line in lines_of(store, "load#1")]
    assert [int(number) for number, _ in found] == list(range(len(found)))
    assert float(found[-1][1]) > seen_at
    assert len(query(store, "SELECT piece FROM zrb_output")) <= killed_at - float(found[0][1]) + 1


def test_the_thread_ends_when_nobody_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    from zrb_store.runtime import output as module

    monkeypatch.setattr(module, "INTERVAL", 0.01)
    monkeypatch.setattr(module, "_IDLE", 0.01)
    writer = Writer()
    stored: list[object] = []

    def has_ended(count: int) -> bool:
        return len(stored) == count and writer._thread is None

    class Said(Output):
        def __init__(self) -> None:
            """Say nothing that needs a store."""

        def store(self) -> None:
            stored.append(self)
            if len(stored) == 1:
                raise ValueError("a fault of one output must not stop the others")

    for count in (1, 2):
        writer.wake(Said())
        wait_until(functools.partial(has_ended, count), lambda: "the thread does not end")


@pytest.mark.promise(number=12)
def test_lines_wait_for_a_store_that_cannot_be_reached(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with store.session("s").run() as run, run.attempt("load") as attempt:
        output = attempt.output
        assert output is not None
        with monkeypatch.context() as broken:

            def refuse(work: object, **options: object) -> None:
                raise StoreUnavailable("the store cannot be reached")

            broken.setattr(store.database, "transact", refuse)
            for text in ("one", "two"):
                attempt.log(text)
                output.store()
        assert stored_pieces(store) == 0
        attempt.log("three")
    assert lines_of(store, "load#1") == ["log: one", "log: two", "log: three"]
    warnings = [each.getMessage() for each in caplog.records if "output of" in each.getMessage()]
    assert warnings == ["the output of s/load#1 could not be stored yet: the store cannot be reached"]


@pytest.mark.parametrize("before", [0, 1])
def test_lines_are_stored_once_if_the_answer_of_their_storing_was_lost(
    store: Store, monkeypatch: pytest.MonkeyPatch, before: int
) -> None:
    with store.session("s").run() as run, run.attempt("load") as attempt:
        output = attempt.output
        assert output is not None
        for number in range(before):
            attempt.log(f"before {number}")
            output.store()
        with monkeypatch.context() as broken:
            transact = store.database.transact

            def lose_the_answer(work: Any, *args: Any, **options: Any) -> None:
                transact(work, *args, **options)
                raise StoreUnavailable("the server does not answer")

            broken.setattr(store.database, "transact", lose_the_answer)
            attempt.log("one")
            output.store()
        assert stored_pieces(store) == before + 1
        attempt.log("two")
        output.store()
        attempt.log("three")
    said = [f"log: before {number}" for number in range(before)]
    assert lines_of(store, "load#1") == [*said, "log: one", "log: two", "log: three"]
