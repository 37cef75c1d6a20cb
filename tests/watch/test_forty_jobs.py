"""Forty jobs of a crontab over a week of turned clocks: mail, notifications, `check` and `stats` say which fail."""

from __future__ import annotations

import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.commands import Commands
from tests.support.rows import faults
from tests.support.sessions import parse, parse_lines
from tests.watch.alerts import Told
from zrb_store import Store, cli, local_time

pytestmark = [pytest.mark.slow, pytest.mark.on_sqlite]

MONDAY = datetime(2026, 11, 23, 1, tzinfo=UTC)
FAILING, FLAKY, STOPPED = ("invoices", "orders"), "mirror", "thumbnails"
HEALTHY = tuple(f"job{number:02}" for number in range(1, 37))
JOBS = (*HEALTHY, *FAILING, FLAKY, STOPPED)


class Machine:
    """A machine whose clock is turned, and on which cron starts jobs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.now = MONDAY
        self.mails: Counter[tuple[str, str]] = Counter()  # by job and last line
        self._capsys = capsys
        begun = time.monotonic_ns()
        monkeypatch.setattr(time, "time_ns", lambda: int(self.now.timestamp() * 1e9) + time.monotonic_ns() - begun)
        monkeypatch.setattr(local_time, "_now", lambda: self.now)

    def start(self, job: str) -> None:
        """Start a job as its line of the crontab does, and keep what cron would mail."""
        cli.run(["run", job, "--every", "day", "-q", "--", "sh", f"{job}.sh"])
        out, err = self._capsys.readouterr()
        assert out == ""
        if err:
            self.mails[job, err.splitlines()[-1].partition("-2026")[0]] += 1


@pytest.fixture
def machine(
    in_utc: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Machine:
    (folder := tmp_path / "jobs").mkdir()
    monkeypatch.chdir(folder)
    for job in JOBS:
        (folder / f"{job}.sh").write_text("echo done\n")
    for job in FAILING:
        (folder / f"{job}.sh").write_text("echo 'no such host' >&2; exit 3\n")
    (folder / f"{FLAKY}.sh").write_text("[ -e tried ] && rm tried || { touch tried; exit 4; }\n")
    return Machine(monkeypatch, capsys)


def test_a_week_of_forty_jobs_is_mailed_without_noise(
    machine: Machine, store: Store, command: Commands, told: Told
) -> None:
    for day in range(7):
        for hour in (1, 2):
            machine.now = MONDAY.replace(hour=hour) + timedelta(days=day)
            for job in JOBS:
                if job != STOPPED or day < 3:  # somebody has deleted its line on Wednesday
                    machine.start(job)
    machine.now = MONDAY + timedelta(days=6, hours=11)

    assert machine.mails == {
        **{(job, f"zrb-store: session {job}"): 14 for job in FAILING},
        (FLAKY, f"zrb-store: session {FLAKY}"): 7,
    }
    notified = Counter((one["EVENT"], one["TASK"], one["ERROR"]) for one in told.all())
    assert notified == {
        **{("failed", job, f"{job}: CommandFailed: sh exited with 3: no such host"): 14 for job in FAILING},
        ("failed", FLAKY, f"{FLAKY}: CommandFailed: sh exited with 4"): 7,
    }
    words = [word for job in JOBS for word in ("--task", job)]
    alerts = parse_lines("alert", command("check", *words, "--max-age", "26h", "--format", "jsonl").out)
    reported = Counter((alert["event"], alert["task"]) for alert in alerts)
    assert reported == {
        **{("failed", job): 7 for job in FAILING},
        **{("overdue", job): 1 for job in (*FAILING, STOPPED)},
    }
    shown = {one["task"]: one for one in parse("stats", command.ok("stats", "--json"))}
    assert {job: one["completed"] for job, one in shown.items()} == {
        **dict.fromkeys((*HEALTHY, FLAKY), 7),
        **dict.fromkeys(FAILING, 0),
        STOPPED: 3,
    }
    rows = {line.split()[0]: line.split() for line in command.ok("stats").splitlines() if line.startswith(JOBS)}
    history = dict.fromkeys(HEALTHY, "=======")
    history |= {**dict.fromkeys(FAILING, "xxxxxxx"), FLAKY: "+++++++", STOPPED: "===___"}
    assert {job: next(word for word in row if set(word) <= set("=x+_")) for job, row in rows.items()} == history
    assert len(command.ok("list", "--task", STOPPED, "--format", "value").splitlines()) == 3
    assert faults(store) == []
