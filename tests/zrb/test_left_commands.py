"""The command of a zrb that was killed does not work on beside its successor (promise 21)."""

from __future__ import annotations

import os
import signal

import pytest

from tests.faults.crash_commands import COMMAND, is_alive, pids
from tests.support.postgres import wait_until
from tests.support.rows import faults
from tests.zrb.conftest import Zrb

pytestmark = pytest.mark.slow


def tasks(zrb: Zrb, prepare: str = "", options: str = "", before: str = "") -> None:
    (zrb.folder / "work").write_text(COMMAND.replace("PREPARE", prepare))
    zrb.tasks(
        f"{before}\ncli.add_task(CmdTask(name='load', retries=0, {options} cwd=str(HERE), cmd='exec sh ./work'))\n"
    )


def finish(zrb: Zrb, *, runs: int = 2) -> None:
    """Let the last execution end, and check that it was alone."""
    zrb.mark("enough")
    wait_until(lambda: not any(map(is_alive, pids(zrb.folder))), lambda: "a command lives on")
    assert len(pids(zrb.folder)) == runs
    assert pids(zrb.folder, "beside") == []


@pytest.mark.promise(number=21)
@pytest.mark.oldest
@pytest.mark.parametrize("kind", ["plain", "interactive"])
def test_a_resume_ends_the_command_of_a_killed_zrb(zrb: Zrb, kind: str) -> None:
    tasks(zrb, options="is_interactive=True," if kind == "interactive" else "")
    zrb.start("load", ZRB_STORE_SESSION="s").reaches("begun.1").signal(signal.SIGKILL).done()
    assert is_alive(*pids(zrb.folder))
    resumed = zrb.start("xcom", "resume", "s").reaches("begun.2")
    zrb.mark("enough")
    done = resumed.done()
    assert (done.code, done.out.strip().splitlines()[-1]) == (0, "done")
    assert f"pid {pids(zrb.folder)[0]} (" in done.err
    assert ") of load#1 in session s has outlived its run, and is ended" in done.err
    assert zrb.stored("s").tasks == {"load": ["lost", "completed"]}
    finish(zrb)


@pytest.mark.oldest
def test_what_ignores_sigterm_is_killed_with_all_it_has_started(zrb: Zrb) -> None:
    tasks(
        zrb,
        "trap '' TERM; test -e all || { env -i sh -c 'echo $$ >child; sleep 1000' & "
        "until test -s child; do sleep 0.02; done; touch all; }",
        before="import zrb_store.runtime.commands as commands; commands.GRACE = 0.5",
    )
    zrb.start("load", ZRB_STORE_SESSION="s").reaches("all").signal(signal.SIGKILL).done()
    child = pids(zrb.folder, "child")
    assert is_alive(*child)
    resumed = zrb.start("xcom", "resume", "s").reaches("begun.2")
    assert not is_alive(*child)
    zrb.mark("enough")
    assert resumed.done().code == 0
    finish(zrb)


@pytest.mark.newest
def test_a_start_that_dies_while_it_ends_a_command_leaves_that_to_the_next(zrb: Zrb) -> None:
    tasks(zrb, "trap '' TERM; touch deaf")
    zrb.start("load", ZRB_STORE_SESSION="s").reaches("deaf").signal(signal.SIGKILL).done()
    second = zrb.start("xcom", "resume", "s")

    def holds() -> bool:
        return len(zrb.stored("s").record.tasks) > 0 and zrb.stored("s").record.fence == 2

    wait_until(holds, lambda: "the lease is not taken")
    assert zrb.run("xcom", "resume", "s", code=75).err
    second.signal(signal.SIGKILL).done()
    with zrb.store() as store:
        assert faults(store) == []
    os.kill(pids(zrb.folder)[0], signal.SIGKILL)
    third = zrb.start("xcom", "resume", "s").reaches("begun.2")
    zrb.mark("enough")
    assert third.done().code == 0
    finish(zrb)


@pytest.mark.newest
def test_what_is_to_stay_says_so(zrb: Zrb) -> None:
    """A process outside of the group and without the variable stays; so does one that a completed step left."""
    tasks(
        zrb,
        "test -e servers || { exec 3>&1 >/dev/null 2>&1; "
        "env -u ZRB_STORE_ATTEMPT setsid sleep 1000 3>&- & echo $! >servers; "
        "zrb-store step server -- sh -c 'sleep 1000 >/dev/null 2>&1 & echo $! >>servers'; touch started; }",
    )
    zrb.start("load", ZRB_STORE_SESSION="s").reaches("started").signal(signal.SIGKILL).done()
    try:
        zrb.start("xcom", "resume", "s").reaches("begun.2").signal(signal.SIGINT).done()
        assert list(map(is_alive, pids(zrb.folder, "servers"))) == [True, True]
    finally:
        for pid in pids(zrb.folder, "servers"):
            os.kill(pid, signal.SIGKILL)
    finish(zrb)


@pytest.mark.oldest
@pytest.mark.parametrize("end", [["xcom", "stop", "s"], ["xcom", "stop", "s", "--kill", "--timeout", "0.1s"]])
def test_plan_show_and_stop_know_it(zrb: Zrb, end: list[str]) -> None:
    tasks(zrb)
    started = zrb.start("load", ZRB_STORE_SESSION="s").reaches("begun.1")
    if "--kill" in end:
        started.signal(signal.SIGSTOP)
        zrb.run(*end)
        started.done()
        finish(zrb, runs=1)
        return
    assert "Alive:" not in zrb.run("xcom", "show", "s").out
    started.signal(signal.SIGKILL).done()
    what = f"pid {pids(zrb.folder)[0]} (sh ./work) of load#1 has outlived its run: "
    assert f"{what}`zrb xcom stop s` or a resume ends it" in zrb.run("xcom", "show", "s").out
    assert f"{what}a resume ends it first" in zrb.resume("s", "--plan").err
    assert is_alive(*pids(zrb.folder))
    assert zrb.run(*end).out.splitlines() == ["s: stale"]
    assert not is_alive(*pids(zrb.folder))
    assert zrb.run(*end, code=1).err.startswith("zrb xcom: session s does not run (stale): nothing was stopped")
    zrb.mark("enough")
    assert zrb.resume("s").out.strip().splitlines()[-1] == "done"
    finish(zrb)
