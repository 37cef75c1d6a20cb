"""`show --at`: a session at an earlier time, reconstructed from its rows alone."""

from __future__ import annotations

import contextlib
import random
import time
from typing import Any

import pytest

from tests.support.attempts import start
from tests.support.commands import Commands
from tests.support.sessions import Broken, parse, show
from zrb_store import Store
from zrb_store.queries.clock import now_micros
from zrb_store.records import iso

pytestmark = pytest.mark.long_on_postgresql


@pytest.mark.slow
def test_show_at_the_moments_of_an_attempt(command: Commands, filled: Store) -> None:
    def rows(moment: str, queue: str = "rows") -> list[object]:
        document = parse("show", command.ok("show", "etl-24", "--at", moment, "--format", "json"))
        live: list[object] = document["queues"][queue]["live"]
        return live

    assert rows("before:extract#1") == []
    assert rows("after:extract#1") == rows("before:load#1") == [1, {"id": 2}]
    assert rows("after:load#1") == [{"id": 2}]
    assert rows("before:load#2") == [1, {"id": 2}]  # what the first attempt took has been given back
    assert rows("after:load#2") == [{"id": 2}]
    assert rows("before:load#1", "loaded") == []
    assert rows("after:load#1", "loaded") == rows("after:load#2", "loaded") == [{"$": "tuple", "v": [1, 2]}]
    assert rows("before:load#2", "loaded") == []


def test_show_at_an_earlier_time_shows_the_session_of_that_time(command: Commands, filled: Store) -> None:
    now = parse("show", command.ok("show", "etl-24", "--format", "json"))
    started = now["tasks"][1]["attempts"][0]["started_at"]
    then = parse("show", command.ok("show", "etl-24", "--at", started, "--format", "json"))
    assert (then["status"], then["ended_at"]) == ("running", None)
    assert (then["runs"][0]["ended_at"], then["runs"][0]["status"]) == (None, None)
    assert [(one["task"], one["status"]) for one in then["tasks"]][:2] == [
        ("extract", "completed"),
        ("load", "running"),
    ]
    assert len(then["tasks"][1]["attempts"]) == 1
    taken = now["queues"]["rows"]["values"][0]["returns"][0]["taken_at"]
    then = parse("show", command.ok("show", "etl-24", "--at", taken, "--format", "json"))
    first = then["queues"]["rows"]["values"][0]
    assert (first["state"], first["taken_by"], first["returns"]) == ("taken", "load#1", [])
    assert parse("show", command.ok("show", "etl-24", "--at", now["ended_at"], "--format", "json")) == now
    text = command.ok("show", "etl-24", "--at", "before:load#1")
    assert "As of    before:load#1" in text
    assert "Resume" not in text


def test_just_before_an_attempt_its_task_waits(command: Commands, filled: Store) -> None:
    def tasks(moment: str) -> list[tuple[str, str, int]]:
        document = parse("show", command.ok("show", "etl-24", "--at", moment, "--format", "json"))
        return [(one["task"], one["status"], len(one["attempts"])) for one in document["tasks"]]

    waiting = [
        ("extract", "not started", 0),
        ("load", "not started", 0),
        ("report", "not started", 0),
        ("notify", "skipped", 0),
    ]
    assert tasks("before:extract#1") == waiting
    done = ("extract", "completed", 1)
    assert tasks("before:load#1") == [done, *waiting[1:]]
    assert tasks("before:load#2") == [done, ("load", "failed", 1), *waiting[2:]]
    rows = [line.split() for line in command.ok("show", "etl-24", "--at", "before:load#1").splitlines()]
    assert ["load", "not", "started", "-", "-", "-"] in rows


def test_a_task_that_was_not_known_yet_waits_too(command: Commands, store: Store) -> None:
    with store.session("s").run() as run:
        run.task("one", lambda: 1)
        run.task("two", lambda: 2)
    document = parse("show", command.ok("show", "s", "--at", "before:two#1", "--format", "json"))
    assert [(one["task"], one["status"]) for one in document["tasks"]] == [("one", "completed"), ("two", "not started")]
    document = parse("show", command.ok("show", "s", "--at", "before:one#1", "--format", "json"))
    assert [(one["task"], one["status"]) for one in document["tasks"]] == [("one", "not started")]


@pytest.mark.parametrize(
    ("moment", "code"),
    [("yesterday", 2), ("before:load", 2), ("before:load#9", 3), ("after:nothing#1", 3), ("1999-01-01", 3)],
)
@pytest.mark.on_sqlite
def test_a_moment_that_does_not_exist_is_refused(command: Commands, filled: Store, moment: str, code: int) -> None:
    assert command("show", "etl-24", "--at", moment).code == code


def test_a_moment_without_a_zone_is_local(command: Commands, filled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    document = parse("show", command.ok("show", "etl-24", "--format", "json"))
    utc = document["ended_at"].removesuffix("Z")
    with monkeypatch.context() as patched:
        patched.setenv("TZ", "XYZ-5")  # in a time zone five hours ahead of UTC, the same digits mean an earlier moment
        time.tzset()
        assert command("show", "etl-24", "--at", utc).code == 3
        assert parse("show", command.ok("show", "etl-24", "--at", f"{utc}Z", "--format", "json")) == document
    time.tzset()


def test_a_removed_value_was_no_orphan_before_its_pusher_was_given_back(store: Store) -> None:
    run = store.session("s").run().start()
    queue = run.begin("t").xcom["q"]
    queue.push(1)
    store.session("s").xcom["q"].clear()
    before = now_micros(store.database)
    run.end("failed")
    start(store, "s")
    (then,) = show(store.database, "s", at=iso(before))["queues"]["q"]["values"]
    (now,) = show(store.database, "s")["queues"]["q"]["values"]
    assert (then["state"], then["orphaned"]) == ("removed", False)
    assert (now["state"], now["orphaned"]) == ("removed", True)


def disturb(queue: Any, chance: random.Random) -> None:
    """Change a queue in a random way."""
    with contextlib.suppress(IndexError):
        chance.choice(
            [
                lambda: queue.push(chance.randrange(100)),
                lambda: queue.extend([1, 2, 3]),
                lambda: queue.appendleft(chance.randrange(100)),
                queue.pop,
                queue.popright,
                lambda: queue.insert(1, "inserted"),
                queue.rotate,
                queue.reverse,
                lambda: queue.set("only"),
                queue.clear,
            ]
        )()


@pytest.mark.slow
@pytest.mark.promise(number=3)
@pytest.mark.parametrize("seed", range(4))
def test_every_earlier_state_of_the_queues_can_be_seen(store: Store, seed: int) -> None:
    chance = random.Random(seed)
    session = store.session("s")
    seen: list[tuple[int, dict[str, list[Any]]]] = []

    def look() -> None:
        live = {name: list(session.xcom[name]) for name in ("a", "b")}
        seen.append((now_micros(store.database), live))

    with session.run() as run:
        for number in range(8):
            task = f"t{number % 3}"
            if run.completed(task):
                disturb(session.xcom["a"], chance)
                look()
                continue
            with contextlib.suppress(Broken), run.attempt(task) as attempt:
                for _ in range(4):
                    disturb(attempt.xcom[chance.choice("ab")], chance)
                    look()
                if chance.random() < 0.7:
                    raise Broken
        look()
        standing = run.completed("t0")
        if standing is not None:
            run.give_back(standing, "asked for")
            look()
    for moment, live in seen:
        document = show(store.database, "s", at=iso(moment))
        then = {name: document["queues"].get(name, {"live": []})["live"] for name in ("a", "b")}
        assert then == live
        for contents in document["queues"].values():
            assert [one["value"] for one in contents["values"] if one["state"] == "live"] == contents["live"]
            assert all(one["taken_at"] is None or one["taken_at"] <= iso(moment) for one in contents["values"])


def test_the_moment_after_an_attempt_that_still_runs_is_now(command: Commands, store: Store) -> None:
    with store.session("s").run() as run, run.attempt("load") as attempt:
        attempt.xcom["rows"].push(1)
        assert "Queue rows: 1 live" in command.ok("show", "s", "--at", "after:load#1")
