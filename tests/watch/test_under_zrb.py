"""ZRB_STORE_NOTIFY under a real zrb: it is told of each run that fails, is interrupted or dies, once."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from tests.watch.alerts import Told
from tests.zrb.conftest import Zrb, until

pytestmark = [pytest.mark.slow, pytest.mark.newest]

TASKS = """
@make_task(name="load", group=cli, retries=0)
async def load(ctx):
    ran("load")
    if exists("hang"):
        await hang("in-load")
    if not exists("mended"):
        raise ValueError("no column 'price'")

cli.add_task(CmdTask(name="nested", cmd="zrb load", retries=0))
"""


@pytest.fixture
def told(zrb: Zrb, tmp_path: Path) -> Told:
    zrb.tasks(TASKS)
    return Told(tmp_path / "told")


def test_a_failure_and_its_remedy(zrb: Zrb, told: Told) -> None:
    done = zrb.run("load", code=1, ZRB_STORE_NOTIFY=told.command, ZRB_STORE_SESSION="night")
    assert "ZRB_STORE_NOTIFY" not in done.err, "all went well"
    [one] = told.so_far()  # zrb has waited for it
    assert (one["EVENT"], one["SESSION"], one["TASK"]) == ("failed", "night", "load")
    assert one["ERROR"] == "load: ValueError: no column 'price'"
    zrb.mark("mended")
    subprocess.run(["sh", "-c", one["REMEDY"]], cwd="/", env=zrb.environ(), check=True, capture_output=True)
    assert zrb.stored("night").status == "completed"
    zrb.run("load", ZRB_STORE_NOTIFY=told.command)
    assert len(told.so_far()) == 1, "completed runs tell nothing"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_is_told_with_its_task(zrb: Zrb, told: Told, number: signal.Signals) -> None:
    zrb.mark("hang")
    run = zrb.start("load", ZRB_STORE_NOTIFY=told.command, ZRB_STORE_SESSION="night")
    run.reaches("in-load").signal(number).done()
    [one] = told.until(1)
    assert (one["EVENT"], one["SESSION"], one["ERROR"]) == ("interrupted", "night", "while load ran")


@pytest.mark.promise(number=13)
def test_a_kill_is_told_by_the_next_run_once(zrb: Zrb, told: Told) -> None:
    zrb.mark("hang")
    killed = zrb.start("load", ZRB_STORE_NOTIFY=told.command, ZRB_STORE_SESSION="night").reaches("in-load")
    killed.signal(signal.SIGKILL).done()
    assert told.so_far() == []
    (zrb.folder / "hang").unlink()
    zrb.mark("mended")
    for _ in range(2):
        zrb.run("load", ZRB_STORE_NOTIFY=told.command)
    assert [(one["EVENT"], one["SESSION"]) for one in told.so_far()] == [("stale", "night")]
    zrb.run("xcom", "check", ZRB_STORE_NOTIFY=told.command)  # newer sessions have completed
    assert len(told.so_far()) == 1


@pytest.mark.promise(number=13)
def test_a_kill_is_told_by_check_once(zrb: Zrb, told: Told) -> None:
    zrb.mark("hang")
    killed = zrb.start("load", ZRB_STORE_NOTIFY=told.command, ZRB_STORE_SESSION="night").reaches("in-load")
    killed.signal(signal.SIGKILL).done()
    for _ in range(2):
        done = zrb.run("xcom", "check", code=1, ZRB_STORE_NOTIFY=told.command, cwd=Path("/"))
        assert done.out.startswith("stale at ")
        assert f"`cd {zrb.folder} && zrb xcom resume night`" in done.out
    assert [(one["EVENT"], one["SESSION"]) for one in told.so_far()] == [("stale", "night")]


def test_the_zrb_in_a_command_of_a_task_is_its_parents_matter(zrb: Zrb, told: Told) -> None:
    zrb.run("nested", code=1, ZRB_STORE_NOTIFY=told.command)
    assert [(one["EVENT"], one["TASK"]) for one in told.so_far()] == [("failed", "nested")]
    assert sorted(session.status for session in zrb.sessions()) == ["failed", "failed"]


@pytest.mark.promise(number=13)
def test_a_zrb_in_the_command_neither_resumes_the_session_nor_tells(zrb: Zrb, told: Told) -> None:
    command = f"{told.command}; zrb load; zrb-store show $ZRB_STORE_SESSION > '{told.folder}/shown'"
    zrb.run("load", code=1, ZRB_STORE_NOTIFY=command, ZRB_STORE_SESSION="night")
    until(lambda: "night" in _text(told.folder / "shown"))
    assert len(told.so_far()) == 1
    first, second = zrb.sessions()
    assert (first.name, second.name != "night") == ("night", True)
    assert [len(zrb.stored(session.name).attempts) for session in (first, second)] == [1, 1]


def test_a_resume_in_the_command_does_not_loop(zrb: Zrb, told: Told) -> None:
    command = f'{told.command}; eval "$ZRB_STORE_REMEDY"; touch "{told.folder}/done"'
    zrb.run("load", code=1, ZRB_STORE_NOTIFY=command, ZRB_STORE_SESSION="night")
    until((told.folder / "done").exists)
    assert zrb.stored("night").task("load") == ["failed", "failed"]
    assert len(told.so_far()) == 1


@pytest.mark.parametrize("unavailable", ["stop", "memory"])
def test_a_store_that_cannot_be_used(zrb: Zrb, told: Told, unavailable: str) -> None:
    zrb.mark("mended")
    url = f"{zrb.folder}/zrb_init.py/store.db"  # in a file, not in a folder
    code = 69 if unavailable == "stop" else 0
    zrb.run("load", code=code, ZRB_STORE_URL=url, ZRB_STORE_NOTIFY=told.command, ZRB_STORE_UNAVAILABLE=unavailable)
    [one] = told.so_far()
    assert (one["EVENT"], one["SHOWN_URL"]) == ("unavailable", f"sqlite:///{url}")
    assert one["ERROR"].startswith(f"the store {url} ")


def test_a_failing_command_is_one_line_and_no_more(zrb: Zrb, told: Told) -> None:
    quiet = zrb.run("load", code=1, ZRB_STORE_SESSION="one").err.splitlines()
    done = zrb.run("load", code=1, ZRB_STORE_SESSION="two", ZRB_STORE_NOTIFY="echo no; exit 7")
    more = [line for line in done.err.splitlines() if "ZRB_STORE_NOTIFY" in line]
    assert len(more) == 1
    assert "exit code 7: no" in more[0]
    assert len(done.err.splitlines()) == len(quiet) + 1


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""
