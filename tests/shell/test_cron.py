"""`zrb-store run` as cron starts it: in silence, with retries, and a session for each day."""

from __future__ import annotations

import os
import signal
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from tests.support.commands import Commands
from tests.support.postgres import wait_until
from tests.support.programs import require
from tests.support.rows import faults, query
from tests.support.scripts import Scripts, finished
from zrb_store import InvalidArgument, Store
from zrb_store.attempt.retries import Retries
from zrb_store.local_time import period_name

pytestmark = pytest.mark.slow
ON_SQLITE = pytest.mark.parametrize("location", ["sqlite"], indirect=True)


@pytest.fixture
def scripts(location: str, tmp_path: Path) -> Scripts:
    return Scripts(tmp_path, location)


@ON_SQLITE
def test_quiet_unless_it_fails(store: Store, scripts: Scripts) -> None:
    """As chronic: a failed run prints all, a completed one nothing, now and later."""
    scripts.write("script.sh", "echo one; echo two >&2; echo three; [ -e fixed ] || exit 3")
    failed = scripts.night("-q")
    assert (failed.code, failed.out) == (3, "")
    *printed, ours = failed.err.splitlines()
    assert sorted(printed) == ["one", "three", "two"]
    assert ours == "zrb-store: session night failed: sh exited with 3: two; `zrb-store resume night` continues it"
    scripts.write("fixed", "")
    assert scripts.night("-q") == (0, "", "")
    assert scripts.night("-q") == (0, "", "")
    assert scripts.night() == (0, "one\nthree\n", "")
    scripts.write("script.sh", "echo one; zrb-store step two -- false; true")
    hidden = scripts.run("zrb-store", "run", "hidden", "-q", "--", "sh", "script.sh")
    assert (hidden.code, hidden.err.splitlines()[0]) == (0, "one")
    assert "session hidden has completed, although a step failed: step two" in hidden.err


@ON_SQLITE
def test_quiet_while_an_earlier_start_runs_or_waits(store: Store, scripts: Scripts) -> None:
    """Cron starts a job each hour: that it has not ended yet is no failure."""
    scripts.write("script.sh", "touch ready; while [ ! -e go ]; do sleep 0.02; done; zrb-store wait approve --say ok?")
    running = scripts.start("zrb-store", "run", "night", "--", "sh", "script.sh")
    wait_until((scripts.folder / "ready").exists, lambda: "it does not start")
    assert scripts.run("zrb-store", "run", "night", "-q", "--", "sh", "script.sh") == (75, "", "")
    assert "is being run by pid" in scripts.run("zrb-store", "run", "night", "--", "sh", "script.sh").err
    scripts.write("go", "")
    assert finished(running).code == 75
    assert scripts.run("zrb-store", "run", "night", "-q", "--", "sh", "script.sh") == (75, "", "")
    assert "ok?" in scripts.run("zrb-store", "run", "night", "--", "sh", "script.sh").err


@ON_SQLITE
def test_what_is_held_is_printed_if_a_signal_ends_the_run(scripts: Scripts) -> None:
    lost = scripts.start("zrb-store", "run", "night", "-q", "--", "sh", "-c", "echo one; touch ready; sleep 1000")
    wait_until((scripts.folder / "ready").exists, lambda: "it does not start")
    os.kill(lost.pid, signal.SIGTERM)
    ended = finished(lost)
    assert (ended.code, ended.err.splitlines()[0]) == (143, "one")


def test_each_retry_is_an_attempt_and_keeps_steps(store: Store, scripts: Scripts) -> None:
    """Each is an attempt of the run; completed steps are not repeated."""
    scripts.write(
        "script.sh", "zrb-store step once -- sh -c 'echo step >>ran'; echo try | tee -a ran; [ $(wc -l <ran) = 4 ]"
    )
    done = scripts.night("--retries", "3", "--retry-after", "0.1s")
    assert (done.code, done.out) == (0, "try\n" * 3)
    assert done.err == "zrb-store: session night: sh exited with 1; it is tried again in 0.1 s\n" * 2
    assert scripts.lines("ran") == ["step", "try", "try", "try"]
    attempts = query(store, "SELECT number, status FROM zrb_attempt WHERE step_of IS NULL ORDER BY id")
    assert [tuple(row) for row in attempts] == [(1, "failed"), (2, "failed"), (3, "completed")]
    assert query(store, "SELECT count(*) FROM zrb_run")[0][0] == 1
    scripts.write("script.sh", "echo try; exit 5")
    words = ("zrb-store", "run", "quiet", "-q", "--retries", "1", "--retry-after", "0.1s", "--", "sh", "script.sh")
    quiet = scripts.run(*words)
    assert (quiet.code, quiet.out, quiet.err.splitlines()[:2]) == (5, "", ["try", "try"])
    assert faults(store) == []


@ON_SQLITE
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_between_two_tries(store: Store, scripts: Scripts, number: signal.Signals) -> None:
    scripts.write("script.sh", "exit 5")
    words = ("zrb-store", "run", "night", "--retries", "1", "--retry-after", "1h", "--", "sh", "script.sh")
    running = scripts.start(*words)
    failed = "SELECT 1 FROM zrb_attempt WHERE status = 'failed'"
    wait_until(lambda: bool(query(store, failed)), lambda: "it does not fail")
    os.kill(running.pid, number)
    ended = finished(running)
    assert ended.code == (143 if number == signal.SIGTERM else -signal.SIGINT)
    assert "session night was interrupted; `zrb-store resume night` continues it" in ended.err
    assert store.session("night").status == "interrupted"


def test_pauses_between_retries_grow_to_a_minute() -> None:
    assert [Retries.of(3, None).pause(each) for each in (1, 2, 3, 4)] == [1, 2, 4, None]
    assert Retries(100).pause(50) == 60
    assert [Retries.of(3, [timedelta(seconds=10), 60]).pause(each) for each in (1, 2, 3, 4)] == [10, 60, 60, None]
    for count, after in ((-1, None), (True, None), (1, "10s")):
        with pytest.raises(InvalidArgument):
            Retries.of(count, after)  # type: ignore[arg-type]


@ON_SQLITE
def test_a_session_for_each_day(store: Store, scripts: Scripts, command: Commands) -> None:
    scripts.write("script.sh", "echo ran >>ran")
    words = ("zrb-store", "run", "backup", "--every", "day", "-q", "--", "sh", "script.sh")
    before = datetime.now().astimezone()
    assert [scripts.run(*words), scripts.run(*words)] == [(0, "", "")] * 2
    days = {f"backup-{each:%Y-%m-%d}" for each in (before, datetime.now().astimezone())}
    found = [(session.name, session.task) for session in store.sessions()]
    assert {name for name, _ in found} <= days
    assert {task for _, task in found} == {"backup"}
    assert scripts.lines("ran") == ["ran"] * len(found)
    command.ok("last", "backup", "--any-project")


def test_the_name_of_a_period_is_of_its_local_time() -> None:
    summer, winter = (timezone(timedelta(hours=hours)) for hours in (2, 1))
    twice = [datetime(2026, 10, 25, 2, 30, tzinfo=zone) for zone in (summer, winter)]
    assert [period_name("hour", each) for each in twice] == ["2026-10-25T02+0200", "2026-10-25T02+0100"]
    assert [period_name(every, datetime(2027, 1, 1)) for every in ("day", "week")] == ["2027-01-01", "2026-W53"]


@ON_SQLITE
def test_functions_that_bash_exports_reach_commands(store: Store, scripts: Scripts) -> None:
    """Although they pass through sh, which is dash on Debian."""
    require("bash")
    scripts.write(
        "script.sh", "zrb-store step greet -- bash -c 'greet step'; greet script; env | grep -c '^ODD.NAME=x='"
    )
    scripts.write(
        "outer.sh",
        'greet() { echo "hello $1"; }\nexport -f greet\n'
        "env ODD.NAME='x=y' zrb-store run night -- bash script.sh\n"
        "zrb-store push inbox files 1\nzrb-store consume inbox files -q -- bash -c 'greet delivery'\n",
    )
    done = scripts.run("bash", "outer.sh")
    assert (done.code, done.out) == (0, "hello step\nhello script\n1\nhello delivery\n"), done.err


@ON_SQLITE
def test_a_step_that_runs_again_says_so(store: Store, scripts: Scripts, command: Commands) -> None:
    scripts.write("script.sh", "zrb-store step dump --produces dump.sql -- sh -c 'echo 1 >dump.sql'\n[ -e fixed ]\n")
    assert scripts.night().code == 1
    scripts.write("dump.sql", "2\n")
    scripts.write("fixed", "")
    done = scripts.night()
    path = scripts.folder / "dump.sql"
    assert done == (0, "", f"zrb-store: step dump runs again, as will the steps after it: {path} has changed\n")
    assert f"dump (2 attempts, again: {path} has changed)" in " ".join(command.ok("show", "night", "--full").split())


@ON_SQLITE
def test_a_product_that_the_shell_empties_is_refused(scripts: Scripts) -> None:
    scripts.write("script.sh", "zrb-store step dump --produces dump.sql -- echo 1 >dump.sql")
    refused = scripts.night()
    assert refused.code == 125
    assert "step dump --produces dump.sql, but its stdout goes to that file, which the shell empties" in refused.err
    assert "`-- sh -c '... > dump.sql'`" in refused.err
