"""Sessions that wait, as the commands show and continue them (guarantees.md, promise 18)."""

from __future__ import annotations

import json
import os
from html import unescape
from pathlib import Path

import pytest

from tests.support.commands import Commands
from tests.support.rows import faults
from tests.support.scripts import Scripts
from tests.support.waits import approve, start
from zrb_store import Store
from zrb_store.process import current_project
from zrb_store.records import iso

pytestmark = [pytest.mark.promise(number=18)]
QUESTION = "for approve, 2 d left: Refund 120?"


@pytest.fixture
def scripts(location: str, tmp_path: Path) -> Scripts:
    return Scripts(tmp_path, location)


@pytest.mark.slow
@pytest.mark.needs("page")
def test_it_is_seen_everywhere(store: Store, command: Commands) -> None:
    start(store, task="refund", path=["shop", "refund"], project="/srv/shop")
    answer = """zrb-store push shop approve '"yes"'"""
    [row] = json.loads(command.ok("list", "--format", "json", "--status", "waiting"))
    assert (row["status"], row["reason"]) == ("waiting", QUESTION)
    assert command.ok("list", "--failed", "--format", "value") == ""
    shown = " ".join(command.ok("show", "shop").split())
    assert (f"Waits: {QUESTION}" in shown, f"Answer: {answer}" in shown) == (True, True)
    assert "refund waiting - -" not in shown
    [wait] = json.loads(command.ok("show", "shop", "--format", "json"))["waits"]
    assert (wait["task"], wait["queue"], wait["say"], wait["is_over"]) == ("refund", "approve", "Refund 120?", False)
    picture = command.ok("report", "shop", "--format", "svg")
    assert ("waits for approve, 2 d left" in picture, "Refund 120?" in picture, answer in unescape(picture)) == (
        True,
        True,
        True,
    )
    assert "Refund 120?" not in command.ok("report", "shop", "--redact")


SCRIPT = """
set -eu
zrb-store step plan -- sh -c 'echo plan >>ran; echo 120'
zrb-store push @this given back
answer=$(zrb-store wait approve --timeout 2d --say "Refund 120?")
echo "$answer" >>ran
"""


@pytest.mark.slow
@pytest.mark.long_on_postgresql
def test_a_script_parks_and_continues(store: Store, scripts: Scripts, command: Commands) -> None:
    scripts.write("script.sh", SCRIPT.replace("given back", "given '\"back\"'"))
    first = scripts.night()
    assert (first.code, first.out) == (75, "120\n")
    assert (
        first.err == f"""zrb-store: session night waits {QUESTION}; `zrb-store push night approve '"yes"'` answers\n"""
    )
    assert store.session("night").status == "waiting"
    again = scripts.night()
    assert (again.code, again.out, again.err) == (75, "", first.err)
    ready = scripts.run("zrb-store", "resume", "--ready")
    assert ready == (0, "", "")
    refused = scripts.run("zrb-store", "resume", "night")
    assert (refused.code, refused.err) == (75, first.err)
    scripts.run("zrb-store", "push", "night", "approve", '"yes"')
    ready = scripts.run("zrb-store", "resume", "--ready")
    assert ready == (0, "night: completed\n", "")
    assert scripts.lines("ran") == ["plan", "yes"]
    assert list(store.session("night").xcom["given"]) == ["back"]
    assert faults(store) == []


@pytest.mark.slow
@pytest.mark.on_sqlite
def test_a_signal_interrupts_a_script_that_has_parked(scripts: Scripts, store: Store) -> None:
    scripts.write("script.sh", "zrb-store wait approve\nkill -TERM $PPID\nsleep 60 & wait\n")
    assert scripts.night().code == 143
    assert store.session("night").status == "interrupted"


@pytest.mark.slow
@pytest.mark.on_sqlite
@pytest.mark.parametrize(("rest", "code"), [("", 0), (" || exit 3", 3)])
def test_a_script_that_does_not_end_waits_all_the_same(scripts: Scripts, store: Store, rest: str, code: int) -> None:
    scripts.write("script.sh", f"zrb-store wait approve{rest}\nzrb-store push @this late 1\necho $? >>ran\n")
    assert scripts.night().code == 75
    assert scripts.lines("ran") == ([] if code else ["75"])
    assert store.session("night").status == "waiting"


@pytest.mark.slow
@pytest.mark.on_sqlite
def test_a_script_has_no_answer_in_time(scripts: Scripts, store: Store) -> None:
    scripts.write("script.sh", "zrb-store wait approve --timeout 0s\n")
    late = scripts.night()
    assert late.code == 124
    assert "night/approve until" in late.err
    assert store.session("night").status == "failed"
    # Asked again in the same attempt, it counts anew.
    scripts.write("script.sh", "zrb-store wait approve --timeout 0s || zrb-store wait approve --timeout 1d\n")
    assert "session night waits for approve, 24 h left" in scripts.night().err


@pytest.mark.slow
@pytest.mark.long_on_postgresql
def test_a_second_question_has_a_name(scripts: Scripts, store: Store) -> None:
    """Otherwise it would get the first one's answer, in this start and in the next one."""
    store.session("night").xcom["approve"].extend([1, 2])
    script = "a=$(zrb-store wait approve); b=$(zrb-store wait approve %s); echo $a, $b; exit %s"
    scripts.write("script.sh", script % ("", 1))
    for _ in range(2):
        refused = scripts.night()
        assert refused.out == "1,\n"
        assert "wait approve of night/backup#" in refused.err
        assert "a second question needs a name of its own (--name)" in refused.err
    scripts.write("script.sh", script % ("--name second", 0))
    assert scripts.night()[:2] == (0, "1, 2\n")


@pytest.mark.slow
@pytest.mark.on_sqlite
def test_a_step_that_was_killed_does_not_run(scripts: Scripts, store: Store) -> None:
    """A wait may begin after it; beside one that runs it is refused."""
    scripts.write(
        "script.sh",
        "zrb-store push @this approve 1\n"
        "zrb-store step nap -- sh -c 'echo >begun; sleep 1000' & step=$!\n"
        "until [ -e begun ]; do sleep 0.02; done\n"
        "zrb-store wait approve; echo $?\n"
        "kill -9 $step; zrb-store wait approve\n",
    )
    ended = scripts.night()
    assert (ended.code, ended.out.split()[-1]) == (0, "1"), ended.err
    assert "cannot wait: its step nap is running" in ended.err


@pytest.mark.on_sqlite
@pytest.mark.needs("shell")
def test_only_a_task_of_run_waits(store: Store, command: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "is not inside an attempt" in command("wait", "approve").err
    with store.session("night").run() as run, run.attempt("load") as attempt:
        monkeypatch.setitem(os.environ, "ZRB_STORE_ATTEMPT", attempt.token)
        assert "night/load#1 is no task of" in command("wait", "approve").err


@pytest.mark.slow
def test_stop_ends_a_wait(store: Store, command: Commands) -> None:
    def status(*at: str) -> str:
        return str(json.loads(command.ok("show", "shop", *at, "--format", "json"))["status"])

    start(store)
    parked_at = iso(store.session("shop").record().ended_at)
    assert "interrupted" in command.ok("stop", "shop")
    stopped_at = iso(store.session("shop").record().ended_at)
    assert status() == "interrupted"
    store.session("shop").xcom["approve"].push("yes")
    assert start(store, approve) == "yes"
    assert (status("--at", str(parked_at)), status("--at", str(stopped_at))) == ("waiting", "interrupted")


def test_sessions_of_zrb_are_passed_over(store: Store, command: Commands) -> None:
    start(store, task="refund", path=["shop", "refund"], project=current_project())
    store.session("shop").xcom["approve"].push("yes")
    passed = command("resume", "--ready")
    assert (passed.code, "`zrb xcom resume --ready` continues them" in passed.err) == (1, True)


def test_cron_may_look_before_there_is_a_store(
    new_location: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = Commands(new_location, monkeypatch, capsys.readouterr)
    assert command.ok("resume", "--ready") == ""
    assert command("resume", "--failed").code == 69
