"""`stats`: how often each task ran and completed, how long it took, and its last failure."""

from __future__ import annotations

import contextlib
import itertools
import math
import random
import statistics
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from prometheus_client import parser

from tests.support.attempts import acting_as
from tests.support.commands import Commands
from tests.support.holders import hold_a_value
from tests.support.processes import Child
from tests.support.rows import query, stop_renewals
from tests.support.runners import hold_a_run
from tests.support.sessions import Broken, parse, parse_lines
from zrb_store import Store
from zrb_store.queries.lease import worked_until
from zrb_store.records import iso
from zrb_store.run import RunSpec
from zrb_store.watch.periods import missed, period_of
from zrb_store.watch.stats import recent_runs

pytestmark = pytest.mark.long_on_postgresql

HOUR = 3_600_000_000
_numbers = itertools.count(1)


def ran(store: Store, status: str = "completed", seconds: float = 1.0, *, hours_ago: float = 0.0, **of: Any) -> str:
    """Let a run end in some way, as if it had taken so long, and return the name of its session."""
    name = of.pop("name", f"s{next(_numbers)}")
    run = store.session(name).prepare(RunSpec(**{"task": "load", "project": "/srv/etl", "again": True, **of})).start()
    if status == "failed":
        with contextlib.suppress(Broken), run.attempt(f"clean {run.number}"):
            raise Broken(f"in {name}")
    run.end(status)
    ago = int(hours_ago * HOUR)
    store.database.execute(
        sa.text(
            f"UPDATE zrb_run SET started_at = started_at - {ago}, "
            f"ended_at = started_at - {ago} + {int(seconds * 1_000_000)} WHERE id = {run.id} RETURNING 1"
        )
    )
    return str(name)


def shown(command: Commands, *args: str) -> list[Any]:
    found: list[Any] = parse("stats", command.ok("stats", "--format", "json", *args))
    return found


def test_stats_without_runs_say_so(command: Commands, store: Store) -> None:
    assert command.ok("stats") == "no runs yet\n"
    assert command.ok("stats", "load") == "no runs of the main task load\n"
    assert shown(command) == []
    store.session("inbox").xcom["q"].push(1)
    assert shown(command) == [], "queues alone are no runs"


def test_a_task_that_nobody_started_by_itself(command: Commands, store: Store) -> None:
    ran(store, task="report")
    assert command.ok("stats", "load") == "no runs of the main task load; there are runs of report\n"
    assert command.ok("stats", "reprot") == "no runs of the main task reprot; did you mean report?\n"
    for number in range(6):
        ran(store, task=f"t{number}")
    named = "report, t0, t1, t2, t3, and 2 more"
    assert (
        command.ok("stats", "load", "--since", "30d") == f"no runs of the main task load; there are runs of {named}\n"
    )
    assert shown(command, "load") == []


@pytest.mark.on_sqlite
def test_stats_are_a_table_with_a_row_per_task(command: Commands, store: Store) -> None:
    for seconds in (1, 2, 3):
        ran(store, seconds=seconds)
    name = ran(store, "failed")
    [last] = shown(command)
    time = last["last_failure"]["at"][:19].replace("T", " ")
    assert command.ok("stats").splitlines() == [
        "TASK  PROJECT  RUNS  COMPLETED  MEDIAN   95 %  HISTORY  LAST FAILURE",
        f"load  etl         4   3 (75 %)   2.0 s  3.0 s  ===x     {time}Z {name}: failed, clean 1: Broken: in {name}",
        "",
        "= completed   x failed",
    ]


def test_all_that_is_known_of_a_task(command: Commands, store: Store) -> None:
    ran(store, seconds=4)
    ran(store, "interrupted")
    name = ran(store, "failed")
    ran(store, seconds=2)
    [of_load] = shown(command)
    assert of_load == {
        "project": "/srv/etl",
        "task": "load",
        "runs": 4,
        "running": 0,
        "completed": 2,
        "failed": 1,
        "interrupted": 1,
        "lost": 0,
        "waits": 0,
        "waited_seconds": 0,
        "completed_share": 0.5,
        "median_seconds": 3.0,
        "p95_seconds": 4.0,
        "last_completed_at": of_load["last_completed_at"],
        "last_failure": {
            "session": name,
            "status": "failed",
            "at": of_load["last_failure"]["at"],
            "error": {"task": "clean 1", "type": "Broken", "message": f"in {name}", "others": 0},
        },
        "history": of_load["history"],
        "tokens": None,
    }
    assert parse_lines("task_stats", command.ok("stats", "--format", "jsonl")) == [of_load]


def test_each_run_of_a_session_counts_but_they_are_one_occurrence(command: Commands, store: Store) -> None:
    """A task takes as long as all its runs together, until it completes; a completed session may run again."""
    ran(store, "failed", 3, name="one")
    ran(store, "interrupted", 2, name="one")
    ran(store, "completed", 1, name="one")
    ran(store, "completed", 4, name="one")
    ran(store, "failed", 9, name="two")
    [of_load] = shown(command)
    assert (of_load["runs"], of_load["completed_share"]) == (5, 0.4)
    assert (of_load["median_seconds"], of_load["p95_seconds"]) == (5, 6)
    last = [(one["session"], one["status"], one["runs"], one["seconds"]) for one in of_load["history"]]
    assert last == [("one", "completed", 3, 6), ("one", "completed", 1, 4), ("two", "failed", 1, 9)]
    assert "  +=x  " in command.ok("stats")
    assert "= completed   + completed by a later run   x failed" in command.ok("stats")


def test_when_a_task_was_due_and_did_not_run(command: Commands, store: Store) -> None:
    today = date.today()
    days = [f"load-{today - timedelta(days=ago)}" for ago in (6, 5, 4, 3, 2, 1, 0)]
    for day in (*days[:2], "byhand", *days[4:5]):
        ran(store, name=day)
    [of_load] = shown(command)
    last = [(one["session"], one["status"], one["runs"]) for one in of_load["history"]]
    did, did_not = (("completed", 1), ("missed", 0))
    assert last == [
        *((day, *did) for day in (*days[:2], "byhand")),
        *((day, *did_not) for day in days[2:4]),
        (days[4], *did),
        (days[5], *did_not),
    ]
    assert of_load["runs"] == 4
    assert "  ===__=_  " in command.ok("stats")
    assert "= completed   _ due, did not run" in command.ok("stats")


WEEKDAYS = [f"2026-11-{day:02}" for day in range(2, 31) if date(2026, 11, day).weekday() < 5]


@pytest.mark.parametrize(
    ("ran_in", "now", "absent"),
    [
        ([], "2026-11-30", []),
        (["2026-11-28"], "2026-11-28", []),
        (["2026-11-26"], "2026-11-29", ["2026-11-27", "2026-11-28"]),
        (WEEKDAYS, "2026-12-01", ["2026-11-07", "2026-11-08"]),
        ([day for day in WEEKDAYS if day != "2026-11-18"], "2026-12-01", ["2026-11-07", "2026-11-08", "2026-11-18"]),
        (["2026-W47", "2026-W50"], "2027-01-01", ["2026-W48", "2026-W49", "2026-W51", "2026-W52"]),
        (["2026-11-24T03+0000", "2026-11-24T06+0000"], "2026-11-24", ["2026-11-24T04+0000", "2026-11-24T05+0000"]),
        (["2026-02-30", "2026-W60", "2026-11-24T25+0000", "of2026-11-24byhand"], "2026-11-30", []),
    ],
)
def test_missed_periods_are_found_by_names(in_utc: None, ran_in: list[str], now: str, absent: list[str]) -> None:
    moment = datetime.fromisoformat(f"{now}T07:00+00:00").timestamp()
    found = [each for name in ran_in if (each := period_of(f"load-{name}")) is not None]
    assert [each.session for each in missed(found, int(moment * 1e6))] == [f"load-{name}" for name in absent]


@pytest.mark.on_sqlite
@pytest.mark.parametrize("count", [1, 2, 3, 19, 20, 21, 100])
def test_median_and_95th_percentile(command: Commands, store: Store, count: int) -> None:
    numbers = random.Random(count)
    seconds = [numbers.randrange(1, 1000) / 8 for _ in range(count)]
    fill(store, seconds)
    ran(store, "failed", 99999)
    [of_load] = shown(command)
    assert of_load["median_seconds"] == pytest.approx(statistics.median(seconds), abs=1e-6)
    assert of_load["p95_seconds"] == sorted(seconds)[math.ceil(0.95 * count) - 1]


def fill(store: Store, seconds: Sequence[float]) -> None:
    """Copy a completed run of task load, once for each duration."""
    ran(store, seconds=seconds[0])
    columns = "session_id, origin, host, pid, started_at, started_tick, lease_expires_at, ended_tick, status"
    for number, one in enumerate(seconds[1:], 2):
        store.database.execute(
            sa.text(
                f"INSERT INTO zrb_run (number, ended_at, {columns}) SELECT {number}, started_at + {int(one * 1e6)}, "
                f"{columns} FROM zrb_run WHERE number = 1 RETURNING 1"
            )
        )


def test_tasks_and_projects_are_kept_apart(command: Commands, store: Store) -> None:
    ran(store, seconds=1)
    ran(store, seconds=2, project="/srv/shop")
    ran(store, seconds=3, project=None)
    ran(store, seconds=4, task="report")
    found = [(one["task"], one["project"], one["median_seconds"]) for one in shown(command)]
    assert found == [("load", None, 3), ("load", "/srv/etl", 1), ("load", "/srv/shop", 2), ("report", "/srv/etl", 4)]
    assert [one["median_seconds"] for one in shown(command, "report")] == [4]


def test_since_leaves_out_older_runs(command: Commands, store: Store) -> None:
    ran(store, seconds=9, hours_ago=3)
    ran(store, "failed", hours_ago=3)
    ran(store, seconds=1)
    [recent] = shown(command, "--since", "2h")
    assert (recent["runs"], recent["median_seconds"], recent["last_failure"]) == (1, 1, None)
    [of_load] = shown(command, "--since", "4h")
    assert (of_load["runs"], of_load["median_seconds"]) == (3, 5)


def test_the_last_failure_is_the_newest_and_its_error_is_its_own(command: Commands, store: Store) -> None:
    ran(store, "failed", name="one")
    ran(store, "interrupted", name="one")
    [of_load] = shown(command)
    failure = of_load["last_failure"]
    assert (failure["status"], failure["error"]) == ("interrupted", None)


def test_what_runs_and_what_died(command: Commands, store: Store, location: str) -> None:
    with Child(hold_a_run, location, "night") as child:
        child.receive()
        [of_main] = shown(command)
        assert (of_main["runs"], of_main["running"], of_main["completed_share"]) == (1, 1, None)
        child.kill()
        [of_main] = shown(command)
    assert (of_main["running"], of_main["lost"], of_main["completed_share"]) == (0, 1, 0.0)
    assert of_main["last_failure"]["status"] == "lost"
    with store.session("night").run(task="main"):
        pass
    [of_main] = shown(command)
    assert (of_main["runs"], of_main["lost"], of_main["completed"]) == (2, 1, 1)


@pytest.mark.promise(number=10)
def test_a_run_that_died_ends_at_its_last_sign_of_life(command: Commands, store: Store) -> None:
    """That is what its attempts did last, if it renewed its lease before; whoever found it dead came later."""
    run = store.session("night").run(task="main").start()
    with acting_as(run.begin("load")) as attempt:
        attempt.step("page 1", len, "abc")
    stop_renewals(store)
    sql = "UPDATE zrb_run SET lease_expires_at = 1, suspected_at = 1, boot_id = 'another machine' RETURNING 1"
    store.database.execute(sa.text(sql))
    [[seen]] = query(store, "SELECT ended_at FROM zrb_attempt WHERE step = 'page 1'")
    [of_main] = shown(command)
    [alert] = parse("check", command("check", "--format", "json").out)
    assert (of_main["last_failure"]["at"], alert["at"]) == (iso(seen), iso(seen))
    with store.session("night").run(task="main") as again, again.attempt("load"):
        pass
    [of_main] = shown(command)
    assert of_main["last_failure"]["at"] == iso(seen)
    [[lost, _]] = recent_runs(store.database).values()
    assert (lost.run.status, worked_until(lost.run, None)) == ("lost", seen)


def test_who_reclaims_a_dead_run_is_no_run(command: Commands, store: Store, location: str, inbox: Any) -> None:
    with Child(hold_a_value, location, "worker") as child:
        child.receive()
        child.kill()
    assert inbox.pop() == "a"
    assert sum(one["runs"] for one in shown(command)) == 1


@pytest.mark.slow
@pytest.mark.on_sqlite
@pytest.mark.parametrize(("completed", "shown"), [(999, "99 %"), (1, "1 %"), (1000, "100 %")])
def test_a_share_is_100_percent_only_if_all_completed(
    command: Commands, store: Store, completed: int, shown: str
) -> None:
    fill(store, [1.0] * 1000)
    store.database.execute(sa.text(f"UPDATE zrb_run SET status = 'failed' WHERE number > {completed} RETURNING 1"))
    assert f"({shown})" in command.ok("stats")


@pytest.mark.on_sqlite
class TestPrometheus:
    def families(self, command: Commands, *args: str) -> dict[str, Any]:
        text = command.ok("stats", "--format", "prometheus", *args)
        return {family.name: family for family in parser.text_string_to_metric_families(text)}

    def test_the_official_parser_reads_it(self, command: Commands, store: Store) -> None:
        for seconds in (1, 2):
            ran(store, seconds=seconds)
        ran(store, "failed")
        [of_load] = shown(command)
        families = self.families(command)
        labels = {"project": "/srv/etl", "task": "load"}

        def samples(family: str) -> dict[tuple[str, str | None], float]:
            found = {}
            for sample in families[family].samples:
                more = {name: text for name, text in sample.labels.items() if name not in labels}
                assert sample.labels == {**labels, **more}
                found[sample.name.removeprefix(family), next(iter(more.values()), None)] = sample.value
            return found

        assert {name: family.type for name, family in families.items()} == {
            "zrb_store_runs": "gauge",
            "zrb_store_waited_seconds": "gauge",
            "zrb_store_run_duration_seconds": "summary",
            "zrb_store_last_completed_timestamp_seconds": "gauge",
            "zrb_store_last_failure_timestamp_seconds": "gauge",
            "zrb_store_agent_tokens": "gauge",
            "zrb_store_agent_cost_usd": "gauge",
            "zrb_store_agent_unpriced_answers": "gauge",
        }
        assert all(family.documentation for family in families.values())
        assert samples("zrb_store_runs") == {
            ("", "completed"): 2,
            ("", "failed"): 1,
            ("", "interrupted"): 0,
            ("", "lost"): 0,
            ("", "running"): 0,
        }
        assert samples("zrb_store_run_duration_seconds") == {
            ("", "0.5"): 1.5,
            ("", "0.95"): 2,
            ("_sum", None): 3,
            ("_count", None): 2,
        }
        [when] = samples("zrb_store_last_failure_timestamp_seconds").values()
        assert datetime.fromisoformat(of_load["last_failure"]["at"]).timestamp() == pytest.approx(when, abs=1e-3)

    def test_labels_may_have_any_text(self, command: Commands, store: Store) -> None:
        names = ['a "b"', "back\\slash", "\\", "two words, {x=1}", "Zürich", "\\n"]
        for name in names:
            ran(store, task=name)
        families = self.families(command)
        assert {sample.labels["task"] for sample in families["zrb_store_runs"].samples} == set(names)

    def test_control_characters_are_shown_as_escapes(self, command: Commands, store: Store) -> None:
        ran(store, task="two\nlines\x1b[31m")
        [sample, *_] = self.families(command)["zrb_store_runs"].samples
        assert sample.labels["task"] == "two\\nlines\\x1b[31m"

    def test_there_may_be_nothing(self, command: Commands, store: Store) -> None:
        assert all(not family.samples for family in self.families(command).values())
