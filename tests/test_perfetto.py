"""`report --format perfetto`: a session as a trace."""

from __future__ import annotations

import contextlib
import re
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import stepping, trace_events
from tests.commands import Commands
from tests.sessions import show
from tests.test_doctor import fill_with_history
from tests.trace_events import Event
from zrb_store import Store
from zrb_store.inspect.perfetto import events, open_trace
from zrb_store.inspect.perfetto.places import Track
from zrb_store.inspect.perfetto.values import lives, marks
from zrb_store.inspect.timeline import Span, micros
from zrb_store.records import iso
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
    (run,) = show(store.database, "etl-25")["runs"]
    (span,) = (each for each in trace if each.get("cat") == "run")
    assert (span["ts"], span["ts"] + span["dur"]) == (micros(run["started_at"]), micros(run["ended_at"]))


def test_steps_lie_in_their_attempt(store: Store) -> None:
    stepping.night(store)
    trace = trace_of(store, "night")
    assert tracks(trace)["run 1 (failed)/convert"] == [
        *("convert#1 (failed)", "page 1", "charge", "mail (failed)", "mail (failed)", "notify")
    ]
    assert [each["args"]["value"] for each in trace if each["ph"] == "i"] == ["night/done#1"]


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
    def shapes(drawn: list[tuple[int | None, Span]]) -> list[dict[str, Any]]:
        return [
            {"number": number, "run": run, "span": span, "status": "completed", "error": None}
            for number, (run, span) in enumerate(drawn, 1)
        ]

    runs = [
        {"number": number, "outcome": None, "origin": "cli", "host": "h", "pid": 1, "started_at": None}
        for number in (1, 2)
    ]
    step = {"id": "t/1", "name": "step", "attempts": shapes(steps)}
    tree = {"runs": runs, "tasks": [{"task": "t", "attempts": shapes(attempts), "steps": [step]}], "queues": {}}
    spans = {1: Span(1, 50), 2: Span(1, 50)}
    drawn = list(events(tree, spans, lambda attempt: attempt["span"]))
    trace_events.check(drawn)
    assert sum(each["ph"] == "X" for each in drawn) == 2 + len(attempts) + len(steps)


@pytest.mark.promise(number=14)
def test_the_curve_of_a_queue_is_its_length_at_each_moment(store: Store) -> None:
    fill_with_history(store)
    stepping.night(store)
    compared = 0
    for record in store.sessions():
        for each in trace_of(store, record.name):
            if each["ph"] == "C":
                shown = show(store.database, record.name, at=iso_exact(each["ts"]))
                assert len(shown["queues"][each["name"]]["live"]) == each["args"]["live"], (record.name, each)
                compared += 1
    assert compared > 20


def iso_exact(moment: int) -> str:
    text = iso(moment)
    assert text is not None
    return text


@pytest.mark.promise(number=14)
def test_every_push_and_every_take_is_marked(store: Store) -> None:
    fill_with_history(store)
    for record in store.sessions():
        marked: Counter[str] = Counter()
        for each in trace_of(store, record.name):
            if each["ph"] == "i":
                found = re.fullmatch(r".* \((\d+)\)", each["name"])
                assert ("value" in each["args"]) == (found is None)
                marked[each["cat"]] += 1 if found is None else int(found[1])
        values = [value for each in show(store.database, record.name)["queues"].values() for value in each["values"]]
        returns = [each for value in values for each in value["returns"]]
        states = Counter(value["state"] for value in values)
        requeued = sum(each["deliveries"] == 0 for each in returns)
        expected = {
            "push": len(values),
            "take": states["taken"] + len(returns) - requeued,
            "give back": len(returns) - requeued,
            "requeue": requeued,
            "remove": states["removed"],
            "die": states["dead"],
            "retract": states["retracted"],
        }
        assert marked == Counter(expected), record.name


def test_values_that_are_pushed_together_have_one_mark(store: Store) -> None:
    store.session("inbox").xcom["files"].extend(range(1000))
    found = [each for each in trace_of(store, "inbox") if each["ph"] == "i"]
    assert [(each["name"], each["args"]) for each in found] == [
        ("push files (1,000)", {"first": "inbox/files#1", "last": "inbox/files#1000"})
    ]


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


@pytest.mark.parametrize(
    ("ended_at", "away", "expected"),
    [
        (None, [], [(10, None)]),
        (30, [], [(10, 30)]),
        (30, [(12, 15), (20, 22)], [(10, 12), (15, 20), (22, 30)]),
        (None, [(12, 15)], [(10, 12), (15, None)]),
        (12, [(12, 15)], [(10, 12)]),  # it came back, and was retracted
        (15, [(12, 15)], [(10, 12)]),  # it died as it came back
        (None, [(10, 15)], [(15, None)]),
        (10, [], []),
    ],
)
def test_when_a_value_was_in_its_queue(
    ended_at: int | None, away: list[tuple[int, int]], expected: list[tuple[int, int | None]]
) -> None:
    returns = [{"taken_at": iso(taken), "returned_at": iso(returned)} for taken, returned in away]
    assert list(lives({"pushed_at": iso(10), "ended_at": iso(ended_at), "returns": returns})) == expected


def test_a_queue_is_read_value_by_value() -> None:
    """Marks of the first values are there before the last ones are read."""
    read = 0

    def values() -> Iterator[dict[str, Any]]:
        nonlocal read
        for read in range(1, 1001):
            yield {
                "id": f"s/q#{read}",
                "type": "int",
                "size": 1,
                "state": "live",
                "returns": [],
                "pushed_at": iso(read),
                "pushed_by": None,
                "ended_at": None,
                "taken_by": None,
            }

    found = marks("q", Track(1, 2), values(), {})
    assert [next(found)["args"]["value"] for _ in range(3)] == ["s/q#1", "s/q#2", "s/q#3"]
    assert read == 4


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
        raise ValueError(bad)
    trace = trace_of(store, "s")
    assert f"run 1 (failed)/{bad}" in tracks(trace)
    assert {each["name"] for each in trace if each["ph"] == "C"} == {bad}
