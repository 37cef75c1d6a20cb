"""A failure that a script hides or renames is named all the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.commands import Commands
from tests.support.rows import faults
from tests.support.scripts import Scripts
from zrb_store import Store

pytestmark = pytest.mark.slow
ON_SQLITE = pytest.mark.parametrize("location", ["sqlite"], indirect=True)


@pytest.fixture
def scripts(location: str, tmp_path: Path) -> Scripts:
    return Scripts(tmp_path, location)


HIDES = """\
rows=$(zrb-store step rows -- sh -c 'echo "no such table" >&2; exit 3')
zrb-store step fetch -- sh -c 'test -e fetched' || touch fetched
zrb-store step fetch -- sh -c 'test -e fetched'
echo "$rows rows"
"""


@pytest.mark.long_on_postgresql
def test_a_session_that_completes_although_a_step_failed_says_so(
    store: Store, scripts: Scripts, command: Commands
) -> None:
    """A step that failed and then completed is no such step, and one of an attempt that failed neither."""
    scripts.write("script.sh", "zrb-store step old -- false; exit 1\n")
    assert scripts.night().code == 1
    scripts.write("script.sh", HIDES)
    what = "step rows: sh exited with 3: no such table"
    first = scripts.night()
    assert (first.code, first.out) == (0, " rows\n")
    assert first.err.splitlines()[-1] == (
        f"zrb-store: session night has completed, although a step failed: {what}; "
        "`zrb-store log night` shows its output"
    )
    assert f"Error:    StepFailed: {what}\n" in command.ok("show", "night")
    [listed] = json.loads(command.ok("list", "--json"))
    assert (listed["status"], listed["reason"]) == ("completed", f"StepFailed: {what}")
    alarm = f"a step of session night (backup), which completed: {what}; `zrb-store log night`"
    assert alarm in command("check").out
    assert what in command.ok("log", "night")
    command.ok("ack", "night")
    assert command("check").code == 0
    again = scripts.run("zrb-store", "run", "second", "--task", "backup", "--", "sh", "script.sh")
    assert (again.code, command("check").code) == (0, 1)
    scripts.write("script.sh", "echo well")
    assert scripts.run("zrb-store", "run", "third", "--task", "backup", "--", "sh", "script.sh").code == 0
    assert command("check").code == 0, "a newer session of the task has completed"
    assert "has completed: there is nothing to acknowledge" in command("ack", "third").err
    assert faults(store) == []


@ON_SQLITE
def test_an_alarm_names_the_step_and_its_last_words(scripts: Scripts, command: Commands) -> None:
    """And not what a trap says; but a step that was passed over is not blamed."""
    scripts.write(
        "script.sh",
        "set -e\ntrap 'echo backup failed with $? >&2' EXIT\n"
        "zrb-store step dump -- sh -c 'echo half; echo connection refused >&2; exit 3'\n",
    )
    assert scripts.night().code == 3
    assert "sh exited with 3: step dump: sh exited with 3: connection refused; `zrb-store" in command("check").out
    scripts.write(
        "script.sh", "zrb-store step dump -- false || zrb-store step other -- true\necho disk full >&2; exit 4\n"
    )
    assert "sh exited with 4: disk full; `zrb-store" in scripts.night().err


@ON_SQLITE
def test_a_line_of_stdout_is_no_error(scripts: Scripts) -> None:
    scripts.write("script.sh", "echo all is well; exit 1")
    assert (
        scripts.night().err
        == "zrb-store: session night failed: sh exited with 1; `zrb-store resume night` continues it\n"
    )
