"""`report --format perfetto`: a session as a trace."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import stepping, trace_events
from tests.commands import Commands
from tests.sessions import attempt_record, run_record
from tests.test_doctor import fill_with_history
from tests.trace_events import Event
from zrb_store import Store
from zrb_store.inspect.perfetto import events, open_trace
from zrb_store.inspect.show import Attempt, Step, Task, open_session
from zrb_store.inspect.trace import Span
from zrb_store.queries.show import StepCounts
from zrb_store.records import AttemptRecord
from zrb_store.testing import expire_lease

pytestmark = pytest.mark.on_sqlite


def trace_of(store: Store, name: str) -> list[Event]:
    with open_trace(store.database, name) as pieces:
        return trace_events.parse("".join(pieces))


def tracks(trace: list[Event]) -> dict[str, list[str]]:
    """Return the names of the spans on each track, each track named PROCESS/TRACK."""
    names = {(each["pid"], each.get("tid")): each["args"]["name"] for each in trace if each["name"].endswith("_name")}
    found: dict[str, list[str]] = {}
    for each in trace:
        if each["ph"] == "X":
            found.setdefault(f"{names[each['pid'], None]}/{names[each['pid'], each['tid']]}", []).append(each["name"])
    return found


def arrows(trace: list[Event]) -> list[tuple[str, str, str]]:
    """Return each arrow: its queue, and the innermost spans in which it begins and ends."""

    def inside(end: Event) -> str:
        around = [
            (-each["ts"], each["dur"], each["name"])
            for each in trace
            if each["ph"] == "X"
            and (each["pid"], each["tid"]) == (end["pid"], end["tid"])
            and each["ts"] <= end["ts"] < each["ts"] + each["dur"]
        ]
        assert any(each["ph"] == "i" and all(each[key] == end[key] for key in ("pid", "tid", "ts")) for each in trace)
        return str(min(around)[2])

    begins = {each["id"]: each for each in trace if each["ph"] == "s"}
    return sorted((each["name"], inside(begins[each["id"]]), inside(each)) for each in trace if each["ph"] == "f")


def test_runs_are_processes_and_tasks_are_tracks(store: Store, filled: Store) -> None:
    trace = trace_of(store, "etl-25")
    assert tracks(trace) == {
        "run 1 (completed)/run": ["run 1"],
        "run 1 (completed)/extract": ["extract#1"],
        "run 1 (completed)/load": ["load#1 (failed)", "load#2"],
        "run 1 (completed)/report": ["report#1"],
    }
    assert arrows(trace) == [("rows", "extract#1", "load#1 (failed)"), ("rows", "extract#1", "load#2")]
    (failed,) = (each for each in trace if each["name"] == "load#1 (failed)")
    assert failed["args"] == {"status": "failed", "error": "Broken: no column 'price'\nin row 3"}
    with open_session(store.database, "etl-25") as document:
        (run,) = document.runs
    (span,) = (each for each in trace if each.get("cat") == "run")
    assert (span["ts"], span["ts"] + span["dur"]) == (run.started_at, run.ended_at)


def test_steps_lie_in_their_attempt(store: Store) -> None:
    stepping.night(store)
    trace = trace_of(store, "night")
    assert tracks(trace)["run 1 (failed)/convert"] == [
        *("convert#1 (failed)", "page 1", "charge", "mail (failed)", "mail (failed)", "notify")
    ]


def test_steps_at_the_same_time_have_further_tracks(store: Store) -> None:
    both_run = threading.Barrier(3, timeout=600)
    with store.session("s").run() as run, run.attempt("t") as attempt:

        def work(name: str) -> None:
            attempt.step(name, both_run.wait)

        threads = [threading.Thread(target=work, args=(name,)) for name in "abc"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    found = tracks(trace_of(store, "s"))
    assert sorted(len(names) for name, names in found.items() if "/run" not in name) == [1, 1, 2]
    assert {"run 1 (completed)/t: steps", "run 1 (completed)/t: steps (2)"} < found.keys()


SPANS = st.lists(
    st.tuples(st.sampled_from([None, 1, 2]), st.integers(1, 30), st.integers(0, 10)).map(
        lambda drawn: (drawn[0], Span(drawn[1], drawn[1] + drawn[2]))
    ),
    max_size=12,
)


@pytest.mark.promise(number=14)
@given(attempts=SPANS, steps=SPANS)
def test_spans_that_overlap_have_tracks_of_their_own(
    attempts: list[tuple[int | None, Span]], steps: list[tuple[int | None, Span]]
) -> None:
    def records(task: str, drawn: list[tuple[int | None, Span]]) -> list[AttemptRecord]:
        return [
            attempt_record(task=task, number=number, run=run, started_at=span.start, ended_at=span.end)
            for number, (run, span) in enumerate(drawn, 1)
        ]

    runs = [(run_record(number), Span(1, 50)) for number in (1, 2)]
    own = [Attempt(record) for record in records("t", attempts)]
    counts = StepCounts("t", 1, 1, 1, 0, 0, 0, 0, 0)
    task = Task("t", "completed", True, None, own, counts, [Step(records("t/1", steps), "completed", None)])
    drawn = list(events(runs, [task], [], lambda attempt: Span(attempt.started_at, attempt.ended_at or 0)))
    trace_events.check(drawn)
    assert sum(each["ph"] == "X" for each in drawn) == 2 + len(attempts) + len(steps)


def test_a_run_that_died_ends_where_it_was_last_seen(store: Store) -> None:
    session = store.session("dead")
    run = session.run().start()
    run.begin("load")
    expire_lease(session)
    trace = trace_of(store, "dead")
    assert tracks(trace) == {"run 1 (lost)/run": ["run 1"], "run 1 (lost)/load": ["load#1 (lost)"]}
    assert {each["args"]["status"] for each in trace if each["ph"] == "X"} == {"lost"}
    with contextlib.suppress(Exception):
        run.end("failed")


def test_what_is_settled_by_hand_belongs_to_no_run(store: Store) -> None:
    fill_with_history(store)
    assert tracks(trace_of(store, "etl"))["outside runs/watch"] == ["watch#2"]


@pytest.mark.parametrize("to_file", [False, True])
def test_the_command(command: Commands, filled: Store, tmp_path: Path, to_file: bool) -> None:
    file = tmp_path / "trace.json"
    result = command("report", "etl-25", "--format", "perfetto", *(["-o", str(file)] if to_file else []))
    assert result.code == 0, result
    text = file.read_text() if to_file else result.out
    assert trace_events.parse(text) == trace_of(filled, "etl-25")
    assert (result.out == "") == to_file


def test_a_trace_is_not_opened_in_a_browser(command: Commands, filled: Store) -> None:
    result = command("report", "etl-25", "--format", "perfetto", "--open")
    assert (result.code, "ui.perfetto.dev" in result.err) == (2, True)


def test_hostile_names_and_errors_stay_text(store: Store) -> None:
    bad = '</script>"\\\u2028\x1b[31m\U0001f600'
    with contextlib.suppress(ValueError), store.session("s").run() as run, run.attempt(bad) as attempt:
        attempt.xcom[bad].push(1)
        attempt.xcom[bad].pop()
        raise ValueError(bad)
    trace = trace_of(store, "s")
    assert f"run 1 (failed)/{bad}" in tracks(trace)
    assert arrows(trace) == [(bad, f"{bad}#1 (failed)", f"{bad}#1 (failed)")]
