"""`zrb xcom stop` and `zrb xcom resume` of several sessions, with real processes of zrb."""

from __future__ import annotations

import signal
import subprocess

import pytest

from tests.zrb.conftest import Zrb, until

pytestmark = pytest.mark.slow

TASKS = """
from zrb import PasswordInput

@make_task(name="load", retries=2, group=cli)
async def load(ctx):
    ran("load")
    if exists("handle"):
        import signal
        signal.signal(signal.SIGTERM, lambda number, frame: os._exit(1))
    if not exists("mended"):
        await hang("in-load")
    if exists("broken"):
        raise ValueError("still broken")
    return 1

@make_task(name="locked", retries=0, input=PasswordInput("token"), group=cli)
def locked(ctx):
    ran("locked")
    if not exists("mended"):
        raise ValueError("not mended")
"""


@pytest.mark.promise(number=5)
@pytest.mark.oldest
def test_stop_interrupts_a_task_that_then_resumes(zrb: Zrb) -> None:
    zrb.tasks(TASKS)
    process = zrb.start("load", ZRB_STORE_SESSION="end").reaches("in-load")
    assert zrb.run("xcom", "stop", "end").out == "end: interrupted\nload#1: interrupted\n"
    process.done()
    assert zrb.stored("end").tasks == {"load": ["interrupted"]}
    zrb.mark("mended")
    zrb.resume("end")


@pytest.mark.promise(number=5)
def test_stop_of_a_job_in_the_background_whose_task_handles_sigterm(zrb: Zrb) -> None:
    """A job that a script started with `&` ignores SIGINT."""
    zrb.tasks(TASKS)
    zrb.mark("handle")
    environ = zrb.environ(ZRB_STORE_SESSION="end")
    subprocess.run(["sh", "-c", "zrb load >/dev/null 2>&1 & exit 0"], cwd=zrb.folder, env=environ, check=True)
    until(lambda: (zrb.folder / "in-load").exists())
    assert zrb.run("xcom", "stop", "end").out == "end: interrupted\nload#1: interrupted\n"
    assert zrb.stored("end").tasks == {"load": ["interrupted"]}


def test_resume_of_all_that_failed(zrb: Zrb) -> None:
    zrb.tasks(TASKS)
    for name in ("b", "c", "a"):
        (zrb.folder / "in-load").unlink(missing_ok=True)
        zrb.start("load", ZRB_STORE_SESSION=name).reaches("in-load").signal(signal.SIGINT).done()
    zrb.run("locked", "--token", "secret", code=None, ZRB_STORE_SESSION="locked")
    before = zrb.ran
    assert "no session 'd'" in zrb.resume("a", "d", code=3).err
    assert zrb.resume("--failed", "--since", "12h", "--task", "load", "--plan").out.count("load") == 3
    assert zrb.resume("--failed", "--task", "other").err == "zrb xcom: no session failed\n"
    assert zrb.ran == before
    (zrb.folder / "in-load").unlink()
    busy = zrb.start("load", ZRB_STORE_SESSION="c").reaches("in-load")
    zrb.mark("mended")
    done = zrb.resume("b", "c", code=0)
    assert done.out.startswith("b: completed\nc: session c is being run by pid ")
    busy.signal(signal.SIGKILL).done()
    zrb.mark("broken")
    assert zrb.resume("--failed", "--task", "load", "--since", "1h", code=1).out == (
        "a: failed: load: ValueError: still broken\nc: failed: load: ValueError: still broken\n"
    )
    (zrb.folder / "broken").unlink()
    done = zrb.resume("--failed", "-j", "3", code=1)
    locked = (
        "locked: passed over: secret input token was given at the start, and is not stored: give --token VALUE again"
    )
    assert sorted(done.out.splitlines()) == ["a: completed", "c: completed", locked]
    assert zrb.stored("locked").status == "failed"
