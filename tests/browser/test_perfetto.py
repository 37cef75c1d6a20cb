"""Perfetto's own trace processor reads a trace as it is meant."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests import trace_events
from tests.browser import perfetto
from tests.browser.perfetto import query
from zrb_store import Store, open_store
from zrb_store.inspect.perfetto import open_trace


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store with a session that failed and was resumed."""
    with open_store(tmp_path / "store.db") as store:
        with contextlib.suppress(ValueError), store.session("etl").run() as run:
            with run.attempt("extract") as attempt:
                attempt.xcom["rows"].extend([1, 2])
            with run.attempt("load") as attempt:
                attempt.step("one", attempt.xcom["rows"].pop)
                attempt.xcom["rows"].pop()
                raise ValueError("no column")
        with store.session("etl").run() as run, run.attempt("load") as attempt:
            attempt.step("one", attempt.xcom["rows"].pop)
            attempt.step("two", attempt.xcom["rows"].pop)
        yield store


@pytest.fixture
def trace(store: Store) -> str:
    with open_trace(store.database, "etl") as pieces:
        return "".join(pieces)


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page of a program that is not ours: it may ask for more, and print what it likes."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    yield context.new_page()
    context.close()


@pytest.mark.slow
def test_perfettos_trace_processor(store: Store, trace: str, page: Page) -> None:
    events = trace_events.parse(trace)
    with perfetto.served(trace.encode()) as address:
        perfetto.open_trace(page, address)
        faults = query(page, "SELECT name, value FROM stats WHERE severity IN ('error', 'data_loss') AND value > 0")
        assert faults == []
        processes = query(page, "SELECT pid, name FROM process WHERE name IS NOT NULL ORDER BY pid")
        assert [each["name"] for each in processes] == ["run 1 (failed)", "run 2 (completed)"]
        slices = query(
            page,
            "SELECT s.name, s.ts, s.dur, s.depth, s.category, t.name AS track, p.pid FROM slice s "
            "JOIN thread_track ON thread_track.id = s.track_id JOIN thread t USING (utid) JOIN process p USING (upid)",
        )
        # Marks are spans of no length.
        assert sorted((each["name"], each["pid"], each["ts"], each["dur"]) for each in slices) == sorted(
            (each["name"], each["pid"], each["ts"] * 1000, each.get("dur", 0) * 1000)
            for each in events
            if each["ph"] in "Xi"
        )
        assert {each["depth"] for each in slices if each["category"] in ("run", "attempt")} == {0}
        assert {each["depth"] for each in slices if each["category"] == "step"} == {1}
        assert {each["track"] for each in slices if each["pid"] == 1} == {"run", "extract", "load"}
        flows = query(
            page,
            "SELECT source.name AS source, a.name AS pushed, target.name AS target, b.name AS taken FROM flow "
            "JOIN slice a ON a.id = slice_out JOIN slice source ON source.id = a.parent_id "
            "JOIN slice b ON b.id = slice_in JOIN slice target ON target.id = b.parent_id ORDER BY b.ts",
        )
        assert [tuple(each.values()) for each in flows] == [
            ("extract#1", "push rows", "one", "take rows"),
            ("extract#1", "push rows", "load#1 (failed)", "take rows"),  # given back
            ("extract#1", "push rows", "two", "take rows"),
        ]
        expect(page).to_have_title("trace.json (1 MB) - Perfetto UI")
