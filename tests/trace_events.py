"""Checks of a trace against the description of its format: Google's Trace Event Format, as Perfetto reads it."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

Event = dict[str, Any]

# The fields of each kind of event that zrb-store writes.
FIELDS = {
    "M": {"ph", "name", "pid", "args"},
    "X": {"ph", "name", "cat", "pid", "tid", "ts", "dur", "args"},
    "i": {"ph", "s", "name", "cat", "pid", "tid", "ts", "args"},
    "s": {"ph", "name", "cat", "id", "pid", "tid", "ts"},
    "f": {"ph", "name", "cat", "id", "pid", "tid", "ts", "bp"},
}
NAMES = {"process_name": str, "process_sort_index": int, "thread_name": str, "thread_sort_index": int}


def parse(text: str) -> list[Event]:
    """Return the events of a trace, which is checked."""
    assert text.isascii()
    trace = json.loads(text)
    assert trace.keys() == {"displayTimeUnit", "otherData", "traceEvents"}
    events: list[Event] = trace["traceEvents"]
    check(events)
    return events


def check(events: list[Event]) -> None:
    """Check the events of a trace."""
    for event in events:
        check_fields(event)
    check_names(events)
    check_nesting(events)
    check_flows(events)


def check_fields(event: Event) -> None:
    allowed = FIELDS[event["ph"]]
    assert allowed <= event.keys() <= allowed | {"cname", "tid"}, event
    for name in {"pid", "tid", "ts", "dur", "id"} & event.keys():
        assert type(event[name]) is int, event
        assert event[name] > 0, event
    if event["ph"] == "M":
        (content,) = event["args"].values()
        assert type(content) is NAMES[event["name"]], event
    if event["ph"] == "i":
        assert event["s"] == "t"


def check_names(events: list[Event]) -> None:
    """Each process and each track is named once, and a track belongs to one process."""
    named = [(event["name"], event["pid"], event.get("tid")) for event in events if event["ph"] == "M"]
    assert len(named) == len(set(named))
    processes = {pid for name, pid, _ in named if name == "process_name"}
    tracks = {(pid, tid) for name, pid, tid in named if name == "thread_name"}
    assert len({tid for _, tid in tracks} | processes) == len(tracks) + len(processes)
    used = {(event["pid"], event.get("tid")) for event in events if event["ph"] != "M"}
    assert {pid for pid, _ in used} <= processes
    assert {(pid, tid) for pid, tid in used if tid is not None} <= tracks


def spans(events: list[Event]) -> dict[tuple[int, int], list[tuple[int, int]]]:
    """Return the spans on each track, those that begin first first, and the outer one before the inner."""
    found = defaultdict(list)
    for event in events:
        if event["ph"] == "X":
            found[event["pid"], event["tid"]].append((event["ts"], event["ts"] + event["dur"]))
    return {track: sorted(each, key=lambda span: (span[0], -span[1])) for track, each in found.items()}


def check_nesting(events: list[Event]) -> None:
    """On one track, spans follow each other, or one lies in the other."""
    for track, each in spans(events).items():
        open_until: list[int] = []
        for start, end in each:
            while open_until and open_until[-1] <= start:
                open_until.pop()
            assert not open_until or end <= open_until[-1], (track, start, end)
            open_until.append(end)


def check_flows(events: list[Event]) -> None:
    """An arrow begins and ends within spans, and does not go back in time."""
    on_tracks = spans(events)
    ends = {phase: {event["id"]: event for event in events if event["ph"] == phase} for phase in "sf"}
    assert ends["s"].keys() == ends["f"].keys()
    assert len(ends["s"]) == sum(event["ph"] == "s" for event in events)
    for begins, arrives in zip(ends["s"].values(), ends["f"].values(), strict=True):
        assert (begins["id"], begins["name"]) == (arrives["id"], arrives["name"])
        assert begins["ts"] <= arrives["ts"]
        for event in (begins, arrives):
            assert any(start <= event["ts"] < end for start, end in on_tracks[event["pid"], event["tid"]]), event
