"""A time that a table printed can be given back to `show --at`, and means that moment."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.support.commands import Commands
from tests.support.rows import allow_damage
from tests.support.sessions import fill_folder
from tests.support.terminals import MAIN, plain, shown_on_terminal
from zrb_store import Store, cli, open_store
from zrb_store.db.tables import attempt, run, session
from zrb_store.local_time import rounded
from zrb_store.render.format import TimeFormat

pytestmark = pytest.mark.on_sqlite

BERLIN = "CET-1CEST,M3.5.0,M10.5.0/3"  # the clock is put back on 2025-10-26 at 03:00 CEST, which is 01:00 UTC
START = int(datetime(2025, 10, 25, 23, 30, 0, 400_000, tzinfo=UTC).timestamp() * 1_000_000)
# Seconds after the start: on the same day, twice at 02:30 in Berlin, on the next day, and in the next year.
SECONDS = (0, 30, 3600, 7200, 86_400, 100 * 86_400)


@pytest.fixture
def folder(sqlite_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a filled SQLite store, which ZRB_STORE_URL names."""
    folder = tmp_path / "store"
    fill_folder(folder, sqlite_template)
    monkeypatch.setenv("ZRB_STORE_URL", str(folder / "store.db"))
    return folder


@pytest.fixture
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The local time zone, as in `TZ=...`, until the test has ended."""
    with monkeypatch.context() as patched:
        patched.setenv("TZ", request.param)
        time.tzset()
        yield request.param
    time.tzset()


def spread(store: Store) -> None:
    """Run a session `s` whose tasks t0, t1... each took 0.2 seconds, and started so many seconds after its start."""
    with store.session("s").run() as started:
        for number, _ in enumerate(SECONDS):
            started.task(f"t{number}", lambda: None)
    allow_damage(store)
    store.database.execute(sa.update(session).values(created_at=START, ended_at=START + 10**15))
    store.database.execute(sa.update(run).values(started_at=START, ended_at=START + 10**15))
    for number, seconds in enumerate(SECONDS):
        at = START + seconds * 1_000_000
        own = sa.update(attempt).where(attempt.c.task == f"t{number}")
        store.database.execute(own.values(started_at=at, ended_at=at + 200_000))


def printed_times(text: str) -> list[str]:
    """Return what the column STARTED of the table of attempts says of each attempt."""
    rows = [re.split(r"  +", line.strip()) for line in text.splitlines()]
    place = next(row.index("STARTED") for row in rows if row[0] == "ATTEMPT")
    return [row[place] for row in rows if re.fullmatch(r"t\d#1", row[0]) and len(row) > place]


def seen(at: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return which tasks had completed at a moment, as `show --at` says."""
    assert cli.run(["show", "s", "--at", at, "--format", "json"]) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert {task["status"] for task in document["tasks"]} == {"completed"}
    return [task["task"] for task in document["tasks"]]


@pytest.mark.slow
@pytest.mark.parametrize("zone", [BERLIN, "XYZ-5", "<-0330>3:30", "<+0545>-5:45"], indirect=True)
def test_each_time_on_a_terminal_means_that_moment(folder: Path, zone: str, capsys: pytest.CaptureFixture[str]) -> None:
    with open_store(folder / "store.db") as store:
        spread(store)
    printed = printed_times(plain(shown_on_terminal(["show", "s"], columns=120).decode()))
    assert len(set(printed)) == len(SECONDS)
    for number, shown in enumerate(printed):
        assert seen(shown, capsys) == [f"t{each}" for each in range(number + 1)], shown
    if zone == BERLIN:
        assert printed == [
            "01:30:00 CEST",
            "01:30:30 CEST",
            "02:30:00 CEST",
            "02:30:00 CET",
            "10-27 00:30:00 CET",
            "2026-02-03 00:30:00 CET",
        ]


@pytest.mark.slow
def test_each_time_in_a_pipe_means_that_moment(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with open_store(folder / "store.db") as store:
        spread(store)
    printed = printed_times(subprocess.check_output([*MAIN, "show", "s"], text=True))
    assert printed[:2] == ["23:30:00Z", "23:30:30Z"]
    assert printed[2:4] == ["10-26 00:30:00Z", "10-26 01:30:00Z"]
    for number, shown in enumerate(printed):
        assert seen(shown, capsys) == [f"t{each}" for each in range(number + 1)], shown


@pytest.mark.parametrize("zone", [BERLIN], indirect=True)
@pytest.mark.parametrize(
    ("moment", "tasks"),
    [
        ("01:30:00", 1),
        ("01:30:00.3 CEST", 0),  # the start is at .4
        ("01:30:00.4 cest", 0),  # all of this tenth of a second: the first task ends at .6
        ("01:30:00,6", 1),
        ("01:30", 2),  # the whole minute
        ("10-27 00:30", 5),
        ("2025-10-26", 4),  # the whole day
        ("10-26", 4),
        ("2025-10-26T00:30:00Z", 3),
        ("2025-10-26 00:30:00 UTC", 3),
        ("2025-10-25T21:00:00.599999-03:30", 2),  # the third task ends at .6
        ("2025-10-26T02:30:00 CEST", 3),
        ("2026-01-01 00:00", 5),
    ],
)
def test_a_time_means_the_end_of_what_was_given(
    command: Commands, store: Store, zone: str, moment: str, tasks: int
) -> None:
    spread(store)
    result = command("show", "s", "--at", moment, "--format", "json")
    if moment.startswith("01:30:00.3"):
        assert (result.code, "it was created later" in result.err) == (3, True)
    else:
        done = [task["task"] for task in json.loads(result.out)["tasks"] if task["status"] == "completed"]
        assert len(done) == tasks


@pytest.mark.parametrize("zone", [BERLIN], indirect=True)
@pytest.mark.parametrize(
    ("moment", "said"),
    [
        ("02:30:00", "'02:30:00' occurred twice, because the clock here was put back: add CEST or CET"),
        ("2026-03-29 02:30", "'2026-03-29 02:30' does not exist: the clock here was put forward past it"),
        ("01:30:00 PST", "the zone of this place, which was CEST then: give an offset such as +01:00"),
        ("01:30:00 CET", "the zone of this place, which was CEST then: give an offset such as +01:00"),
        ("2026-02-30", "'2026-02-30' is not a moment: use a time as printed, e.g. 2026-11-24 03:12:45"),
        ("25:00:00", "is not a moment"),
        ("14:03:22+99:99", "is not a moment"),
        ("0001-01-01", "is not a moment"),
        ("", "is not a moment"),
        ("yesterday", "is not a moment"),
    ],
)
def test_what_is_ambiguous_or_unknown_is_refused(
    command: Commands, store: Store, zone: str, moment: str, said: str
) -> None:
    spread(store)
    result = command("show", "s", "--at", moment)
    assert (result.code, result.out) == (2, "")
    assert said in result.err


@pytest.mark.parametrize("zone", [BERLIN], indirect=True)
def test_without_tz_only_a_time_that_is_shown_twice_names_its_zone(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def at(time: str) -> int:
        return int(datetime.fromisoformat(time).timestamp()) * 1_000_000

    # A context of its own: `zone` ends before `monkeypatch`, which would set TZ for all tests that follow.
    with monkeypatch.context() as patched:
        patched.setattr("sys.stdout.isatty", lambda: True)
        patched.delenv("TZ")  # the zone of this process stays as it is: nothing calls tzset
        times = TimeFormat(at("2025-10-26T00:00:00Z"))
        assert times.brief(at("2025-10-26T00:30:00Z")) == "02:30:00 CEST"
        assert times.brief(at("2025-10-26T01:30:00Z")) == "02:30:00 CET"
        assert times.brief(at("2025-10-26T02:30:00Z")) == "03:30:00"
        assert times.full(at("2025-10-26T02:30:00Z")) == "2025-10-26 03:30:00"


@pytest.mark.parametrize("zone", [BERLIN], indirect=True)
@pytest.mark.parametrize(
    ("since", "created"),
    [
        ("midnight", 1),
        ("2025-10-27", 1),
        ("10-27", 1),
        ("00:00", 1),
        ("2025-10-26T23:00:00Z", 1),
        ("10-26 23:00", 2),
        ("2025-10-26", 3),  # on that day the clocks were put back
        ("03:31", "'03:31' is in the future"),
        ("11-01", "'11-01' is in the future"),
        ("soon", "'soon' is neither a length of time, e.g. 90m, 1.5h or 2d, nor a time, e.g. 2026-11-24, "),
        ("02-30", "'02-30' is neither"),
        ("10-26 02:30", "'10-26 02:30' occurred twice"),
    ],
)
def test_since_a_time_means_its_beginning(
    zone: str, command: Commands, store: Store, monkeypatch: pytest.MonkeyPatch, since: str, created: int | str
) -> None:
    monkeypatch.setattr("zrb_store.local_time._now", lambda: datetime.fromisoformat("2025-10-27T03:30+01:00"))
    for number, at in enumerate(("2025-10-25T22:00Z", "2025-10-26T22:00Z", "2025-10-26T23:00Z")):
        store.session(f"s{number}").xcom["q"].push(1)
        micros = int(datetime.fromisoformat(at).timestamp()) * 1_000_000
        store.database.execute(sa.update(session).where(session.c.name == f"s{number}").values(created_at=micros))
    listed = command("list", "--since", since, "--format", "value")
    if isinstance(created, int):
        assert (listed.code, len(listed.out.split())) == (0, created)
    else:
        assert (listed.code, created in listed.err) == (2, True)


@pytest.mark.parametrize(("seconds", "text"), [(30, "30 s"), (240, "4 min"), (7200, "2 h"), (200_000, "2 d")])
def test_a_length_of_time_is_rounded_to_its_unit(seconds: int, text: str) -> None:
    assert rounded(seconds * 1_000_000) == text
