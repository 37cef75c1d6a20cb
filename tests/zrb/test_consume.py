"""`zrb xcom consume` ends on signals as `zrb-store consume` does."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from tests.support.postgres import wait_until
from tests.zrb.conftest import DEADLINE, Process, Zrb

pytestmark = pytest.mark.slow

SCRIPT = 'touch "started-$1"; while [ ! -e "go-$1" ]; do sleep 0.02; done; echo "$1"'


def has_handled_it(process: Process) -> None:
    """Wait until the main thread, which looks around twice a second, has had the time to handle a signal."""

    def looks() -> int:
        found = re.search(r"^voluntary_ctxt_switches:\s*(\d+)", Path(f"/proc/{process.pid}/status").read_text(), re.M)
        assert found is not None
        return int(found[1])

    before = looks()
    wait_until(lambda: looks() >= before + 4, lambda: "it does not look around", DEADLINE)


@pytest.mark.parametrize("program", [("zrb", "xcom"), pytest.param(("zrb-store",), marks=pytest.mark.newest)])
def test_a_signal_lets_consume_finish_its_value(zrb: Zrb, program: tuple[str, ...]) -> None:
    name, *group = program
    for value in "abc":
        zrb.run(*group, "push", "inbox", "files", "--text", value, program=name)
    command = (*group, "consume", "inbox", "files", "--forever", "--as", "me", "--", "sh", "-c", SCRIPT, "sh", "{}")
    for value, number in [("a", signal.SIGTERM), ("b", signal.SIGINT)]:
        running = zrb.start(*command, program=name).reaches(f"started-{value}").signal(number)
        has_handled_it(running)
        (zrb.folder / f"go-{value}").touch()
        done = running.done()
        assert (done.code, done.out) == (0, f"{value}\n")
    running = zrb.start(*command, program=name).reaches("started-c").signal(signal.SIGINT)
    has_handled_it(running)
    done = running.signal(signal.SIGTERM).done()
    assert (done.code, done.out) == (128 + signal.SIGINT, "")
    assert "inbox/files#3: sh was stopped (given back, and not counted as a delivery)" in done.err
