"""What becomes a span, and where it lies in its trace."""

from __future__ import annotations

import threading

import pytest

from tests.traces.conftest import Traced
from zrb_store import Waiting, step, wait
from zrb_store.testing import Crash, crash_at, expire_lease


def fail() -> None:
    raise ValueError("no column 'price'")


def test_a_resume_is_a_trace_of_its_own_and_counts_what_comes_from_the_store(traced: Traced) -> None:
    store = traced.store

    def load(is_mended: bool) -> int:
        for page in (1, 2):
            step(f"page {page}", len, "rows")
        if not is_mended:
            step("prices", fail)
        return 12

    def etl(is_mended: bool) -> None:
        with store.session("etl").run(task="etl") as run:
            run.task("extract", len, "abc")
            with run.attempt("load"):
                load(is_mended)

    with pytest.raises(ValueError, match="price"):
        etl(False)
    etl(True)
    assert traced.seen.tree == (
        "run etl: failed\n"
        "  task extract #1: completed\n"
        "  task load #1: failed\n"
        "    step page 1 #1: completed\n"
        "    step page 2 #1: completed\n"
        "    step prices #1: failed\n"
        "run etl: completed, 1 task from the store <- run etl\n"
        "  task load #2: completed, 2 steps from the store\n"
    )
    assert store.session("etl").record().traceparent is not None
    found = {name.removeprefix("zrb_store."): of for name, of in traced.seen.named("step prices").attributes.items()}
    of_step = {"session": "etl", "task": "load", "step": "prices", "attempt": 1, "fence": 1, "kind": "step"}
    assert found == {**of_step, "status": "failed", "error.type": "ValueError"}


def test_a_workflow_that_dies_twice(traced: Traced) -> None:
    """The spans of a process that is killed are lost (test_programs.py): this one ends them."""
    session = traced.store.session("etl")

    def load() -> None:
        for page in (1, 2, 3):
            step(f"page {page}", len, "rows")

    def etl() -> None:
        with session.run(task="etl") as run:
            run.task("extract", len, "abc")
            run.task("load", load)

    for _ in range(2):
        with pytest.raises(Crash), crash_at("step_begin:after", visit=2):
            etl()
        expire_lease(session)
    etl()
    assert traced.seen.tree == (
        "run etl: interrupted\n"
        "  task extract #1: completed\n"
        "  task load #1: interrupted\n"
        "    step page 1 #1: completed\n"
        "run etl: interrupted, 1 task from the store <- run etl\n"
        "  task load #2: interrupted, 1 step from the store\n"
        "    step page 2 #2: completed\n"
        "run etl: completed, 1 task from the store <- run etl\n"
        "  task load #3: completed, 2 steps from the store\n"
        "    step page 3 #2: completed\n"
    )


def test_a_fork_is_linked_to_the_session_that_it_comes_from(traced: Traced) -> None:
    with traced.store.session("etl").run(task="etl") as run:
        run.task("extract", len, "abc")
        run.task("load", len, "abc")
    with traced.store.fork("etl", from_task="load", name="again").run(task="etl") as run:
        run.task("extract", len, "abc")
        run.task("load", len, "abc")
    assert traced.seen.tree == (
        "run etl: completed\n"
        "  task extract #1: completed\n"
        "  task load #1: completed\n"
        "run etl: completed, 1 task from the store <- run etl\n"
        "  task load #1: completed\n"
    )
    first, second = [each for each in traced.seen.spans if each.name == "run etl"]
    assert second.links == (first.id,)
    assert second.trace != first.trace
    assert second.attributes["zrb_store.session"] == "again"


def test_a_delivery_is_linked_to_the_push_of_its_value(traced: Traced) -> None:
    inbox = traced.store.session("inbox").xcom["files"]
    with traced.store.session("producer").run(task="produce") as run, run.attempt("scan") as attempt:
        inbox.push("a.csv")
        attempt.step("list", inbox.push, "b.csv")
        inbox.extend(["c.csv"])
    with traced.store.session("worker").run(task="work") as run:
        for delivery in run.consume(inbox):
            with delivery as name:
                assert name != "b.csv"
    assert traced.seen.tree == (
        "run produce: completed\n"
        "  task scan #1: completed\n"
        "    step list #1: completed\n"
        "run work: failed\n"
        "process files #1: completed <- task scan, run work\n"
        "process files #2: failed <- step list, run work\n"
        "process files #3: completed <- task scan, run work\n"
    )
    [failed] = [each for each in traced.seen.spans if each.is_error and each.name == "process files"]
    assert failed.kind == "CONSUMER"
    assert failed.attributes["messaging.system"] == "zrb_store"
    assert failed.attributes["messaging.destination.name"] == "inbox/files"
    assert failed.attributes["messaging.message.id"] == "inbox/files#2"
    assert failed.attributes["error.type"] == "AssertionError"


def test_a_batch_is_linked_to_every_push(traced: Traced) -> None:
    inbox = traced.store.session("inbox").xcom["files"]
    for number in range(2):
        with traced.store.session(f"producer {number}".replace(" ", "-")).run(task=f"produce {number}") as run:
            run.task("push", inbox.push, number)
    with traced.store.session("worker").run(task="work") as run:
        for delivery in run.consume(inbox, batch=10):
            with delivery:
                pass
    batch = traced.seen.named("process files")
    assert len(batch.links) == 3
    assert batch.attributes["messaging.batch.message_count"] == 2


def test_a_wait_is_no_span_of_days(traced: Traced) -> None:
    session = traced.store.session("refund")

    def ask() -> None:
        with session.run(task="refund") as run, run.attempt("ask"):
            assert wait("approve") == "yes"

    with pytest.raises(Waiting):
        ask()
    with traced.store.session("desk").run(task="desk") as run:
        run.task("answer", session.xcom["approve"].push, "yes")
    ask()
    assert traced.seen.tree == (
        "run refund: waiting\n"
        "  task ask #1: waiting\n"
        "    wait approve #1: waiting\n"
        "run desk: completed\n"
        "  task answer #1: completed\n"
        "run refund: completed <- run refund\n"
        "  task ask #2: completed\n"
        "    wait approve #2: completed <- task answer\n"
    )
    assert not any(each.is_error for each in traced.seen.spans)


def test_spans_of_others_lie_inside_of_ours(traced: Traced) -> None:
    tracer = traced.provider.get_tracer("the application")
    with traced.store.session("etl").run(task="etl") as run:
        with tracer.start_as_current_span("before"):
            pass
        with run.attempt("load") as attempt:
            with tracer.start_as_current_span("SELECT"):
                attempt.step("in a query", len, "abc")
            thread = threading.Thread(target=attempt.step, args=("in a thread without a context", len, "abc"))
            thread.start()
            thread.join()

            def query() -> None:
                with tracer.start_as_current_span("INSERT"):
                    pass

            attempt.step("write", query)
        with tracer.start_as_current_span("after"):
            pass
    assert traced.seen.tree == (
        "run etl: completed\n"
        "  before\n"
        "  task load #1: completed\n"
        "    SELECT\n"
        "      step in a query #1: completed\n"
        "    step in a thread without a context #1: completed\n"
        "    step write #1: completed\n"
        "      INSERT\n"
        "  after\n"
    )


def test_a_run_lies_inside_the_span_that_starts_it(traced: Traced) -> None:
    tracer = traced.provider.get_tracer("the application")
    with tracer.start_as_current_span("GET /etl"), traced.store.session("etl").run(task="etl"):
        traced.store.session("inbox").xcom["q"].push(1)
    with tracer.start_as_current_span("POST /inbox"):
        traced.store.session("inbox").xcom["q"].push(2)
    assert traced.seen.tree == "GET /etl\n  run etl: completed\nPOST /inbox\n"
    with traced.store.session("worker").run(task="work") as run:
        for delivery in run.consume(traced.store.session("inbox").xcom["q"]):
            with delivery:
                pass
    linked = [traced.seen.tree.splitlines()[-2:]]
    assert linked == [
        ["process q #1: completed <- run etl, run work", "process q #2: completed <- POST /inbox, run work"]
    ]


def test_a_refused_run_is_no_span(traced: Traced) -> None:
    with traced.store.session("etl").run(task="etl"):
        pass
    before = traced.store.session("etl").record().traceparent
    with pytest.raises(Exception, match="has completed"):
        traced.store.session("etl").run(task="etl").start()
    assert traced.seen.tree == "run etl: completed\n"
    assert traced.store.session("etl").record().traceparent == before


@pytest.mark.promise(number=9)
def test_errors_are_masked_as_they_are_stored(traced: Traced) -> None:
    def connect() -> None:
        raise ConnectionError("postgresql://shop:geheim@db/shop: password=geheim refused")

    with pytest.raises(ConnectionError), traced.store.session("etl").run(task="etl") as run:
        run.task("load", connect)
    found = traced.seen.named("task load")
    assert found.message == "postgresql://shop:***@db/shop: password=*** refused"
    [event] = found.events
    assert event["exception.type"] == "ConnectionError"
    assert event["exception.message"] == found.message
    assert event["exception.stacktrace"].endswith(f"ConnectionError: {found.message}\n")
    assert "geheim" not in str(traced.seen.spans)


@pytest.mark.promise(number=9)
def test_values_are_exported_only_if_that_is_asked_for_and_masked(traced: Traced) -> None:
    inbox = traced.store.session("inbox").xcom["q"]

    def work(name: str) -> None:
        with traced.store.session(name).run(task="etl") as run:
            with run.attempt("load") as attempt:
                attempt.step("page", dict, url="https://shop:geheim@host/orders", token="abcdef")
                inbox.push("visible")
            for delivery in run.consume(inbox):
                with delivery:
                    pass

    work("private")
    assert "visible" not in str(traced.seen.spans)
    assert "orders" not in str(traced.seen.spans)
    traced.export(with_values=True)
    work("open")
    page = next(each for each in traced.seen.spans if "zrb_store.arguments" in each.attributes)
    assert page.name == "step page"
    assert "https://shop:***@host/orders" in page.attributes["zrb_store.arguments"]
    assert "https://shop:***@host/orders" in page.attributes["zrb_store.result"]
    assert "abcdef" not in str(traced.seen.spans)
    assert any(each.attributes.get("zrb_store.data") == '"visible"' for each in traced.seen.spans)
    assert "geheim" not in str(traced.seen.spans)
