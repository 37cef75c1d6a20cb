"""`ZRB_STORE_SESSION=NAME zrb ...` can safely be started any number of times."""

from __future__ import annotations

import signal

import pytest

from tests.zrb.conftest import Zrb, lines, only, until
from tests.zrb.workflows import ETL, INPUTS, start_etl

pytestmark = [pytest.mark.slow, pytest.mark.newest]


def test_new_failed_and_completed(zrb: Zrb) -> None:
    zrb.tasks(ETL)
    zrb.mark("broken")
    start_etl(zrb, code=1)
    (zrb.folder / "broken").unlink()
    assert start_etl(zrb)[0] == ["tue 5"]
    assert zrb.ran == ["load", "load"]
    # Completed: the stored result is printed, and nothing runs. Secret inputs are not compared.
    assert start_etl(zrb, "--day-of=tue", "--rows=05", "--my-key=other")[0] == ["tue 5"]
    assert zrb.resume("night").out.strip() == "tue 5"
    assert zrb.ran == ["load", "load"]
    stored = zrb.stored("night")
    assert stored.tasks == {"load": ["failed", "completed"]}
    assert stored.record.path == ["etl", "load"]


def test_other_inputs_another_task_and_another_project(zrb: Zrb) -> None:
    zrb.tasks(ETL + "\ncli.add_task(Task(name='other', action=lambda ctx: ran('other')))\n")
    start_etl(zrb)
    out, err = start_etl(zrb, "--day-of", "wed", "--rows", "5", "--my-key", "k2", code=65)
    assert out == []
    assert err == [
        "zrb-store: session night was started with other inputs: day-of: 'tue' became 'wed'; use another session name, "
        "or `zrb xcom resume night --set NAME=VALUE` to run again what has read them"
    ]
    other = zrb.run("other", code=65, ZRB_STORE_SESSION="night")
    assert lines(other.err) == ["zrb-store: session night belongs to task load, not to other: use another session name"]

    elsewhere = zrb.folder.with_name("elsewhere")
    elsewhere.mkdir()
    zrb.tasks(ETL, folder=elsewhere)
    moved = zrb.run("etl", "load", *INPUTS, code=65, cwd=elsewhere, ZRB_STORE_SESSION="night")
    there = f"zrb-store: session night belongs to project {zrb.folder}"
    takes_over = "or `zrb xcom resume night --here` takes it over"
    assert lines(moved.err) == [f"{there}, not to {elsewhere}: `cd {zrb.folder}`, and try again there, {takes_over}"]
    zrb.folder.rename(zrb.folder.with_name("gone"))
    moved = zrb.run("etl", "load", *INPUTS, code=65, cwd=elsewhere, ZRB_STORE_SESSION="night")
    gone = "that folder is gone; use another session name"
    assert lines(moved.err) == [f"{there}, not to {elsewhere}: {gone}, {takes_over}"]
    zrb.folder.with_name("gone").rename(zrb.folder)
    assert zrb.ran == ["load"]


@pytest.mark.parametrize("name", ["etl 24 Nov", "@last", "-x", "etl/2026", "x" * 201])
def test_a_name_that_no_command_could_name_is_refused(zrb: Zrb, name: str) -> None:
    zrb.tasks(ETL)
    (line,) = lines(zrb.run("etl", "load", *INPUTS, code=2, ZRB_STORE_SESSION=name).err)
    assert line.startswith(f"zrb-store: {name!r} cannot name a session: use 1 to 200 letters, digits")
    assert zrb.ran == []
    assert zrb.sessions() == []


@pytest.mark.promise(number=5)
def test_a_live_session_is_refused_and_a_killed_one_resumes(zrb: Zrb) -> None:
    zrb.tasks(ETL)
    zrb.mark("slow")
    running = zrb.start("etl", "load", *INPUTS, ZRB_STORE_SESSION="night").reaches("in-load")
    out, err = start_etl(zrb, code=75)
    assert out == []
    (line,) = err
    assert f"session night is being run by pid {running.pid} on " in line
    (line,) = lines(zrb.resume("night", code=75).err)
    assert f"pid {running.pid}" in line
    running.signal(signal.SIGKILL).done()
    (zrb.folder / "slow").unlink()
    assert start_etl(zrb)[0] == ["tue 5"]


def test_unknown_sessions_and_missing_stores(zrb: Zrb) -> None:
    zrb.tasks(ETL)
    (line,) = lines(zrb.resume("nobody", code=3).err)
    assert "nobody" in line
    zrb.db.unlink()
    (line,) = lines(zrb.resume("nobody", code=69).err)
    assert str(zrb.db) in line
    assert not zrb.db.exists()


@pytest.mark.promise(number=5)
@pytest.mark.slow
def test_of_twenty_starts_at_once_one_runs(zrb: Zrb) -> None:
    zrb.tasks(ETL.replace('await hang("in-load")', 'mark("in-load")\n        await wait_for("go")'))
    zrb.mark("slow")
    started = [zrb.start("etl", "load", *INPUTS, ZRB_STORE_SESSION="night") for _ in range(20)]
    # The process that runs waits until all others have ended.
    until(lambda: sum(one.ended() for one in started) == 19)
    zrb.mark("go")
    ends = [one.done() for one in started]
    assert sorted(end.code for end in ends) == [0, *[75] * 19]
    assert [end.out.strip() for end in ends if end.code == 0] == ["tue 5"]
    assert start_etl(zrb)[0] == ["tue 5"]
    assert zrb.ran == ["load"]


@only(lambda version: version < (2,) or version >= (3, 28))
def test_tasks_with_names_that_the_store_does_not_take(zrb: Zrb) -> None:
    zrb.tasks(
        """
        def act(ctx):
            ran("task")
            return ctx.task_name

        NAMES = ["n\\0ul", "x" * 3000, "x" * 3000 + "y"]
        tasks = [Task(name=name, retries=0, action=act) for name in NAMES]

        @make_task(name="main", upstream=tasks, retries=0, group=cli)
        def main(ctx):
            results = [ctx.xcom[name].pop() for name in NAMES]
            if not exists("mended"):
                raise ValueError
            return results == NAMES
        """
    )
    err = zrb.run("main", code=1, ZRB_STORE_SESSION="names").err
    assert err.count("it is kept in memory only") == 2  # the two long names begin alike
    (zrb.folder / "ran").unlink()
    zrb.mark("mended")
    assert zrb.resume("names").out.strip() == "True"
    assert zrb.ran == []
    stored = zrb.stored("names")
    long = "x" * 1980
    assert set(stored.tasks) == {"n\\0ul", long, f"{long}~2", "main"}
    assert stored.live("n\\0ul") == ["n\0ul"]


def test_a_project_with_a_name_goes_on_in_another_folder(zrb: Zrb) -> None:
    """A deploy turns a link over to the folder of the new release."""
    current = zrb.folder.with_name("current")
    new = zrb.folder.with_name("release-8")
    new.mkdir()
    zrb.tasks(ETL)
    zrb.tasks(ETL, folder=new)
    zrb.mark("broken")
    current.symlink_to(zrb.folder)
    zrb.run("etl", "load", *INPUTS, code=1, cwd=current, ZRB_STORE_SESSION="night", ZRB_STORE_PROJECT="shop")
    current.unlink()
    current.symlink_to(new)
    refused = zrb.run("etl", "load", *INPUTS, code=65, cwd=current, ZRB_STORE_SESSION="night")
    (line,) = lines(refused.err)
    assert f"belongs to project shop, not to {new}: set ZRB_STORE_PROJECT=shop, or `zrb xcom resume " in line
    assert lines(
        zrb.run("etl", "load", *INPUTS, cwd=current, ZRB_STORE_SESSION="night", ZRB_STORE_PROJECT="shop").out
    ) == ["tue 5"]
    assert [each.project for each in zrb.sessions()] == ["shop"]
    wrong = zrb.run("etl", "load", *INPUTS, code=2, cwd=current, ZRB_STORE_PROJECT="my shop")
    assert lines(wrong.err) == [
        "zrb-store: ZRB_STORE_PROJECT is 'my shop': set it to a name of letters, digits and . _ : + -"
    ]


# A terminal whose user answers the question.
ANSWERING = """
import os, pty, sys

def read(terminal):
    data = os.read(terminal, 1024)
    if b"?" in data:
        os.write(terminal, b"{}\\n")
    return data

sys.exit(os.waitstatus_to_exitcode(pty.spawn(["zrb", "xcom", "resume", "night", "--here", "--my-key=k2"], read)))
"""


def test_a_session_is_taken_over_into_the_project_of_this_folder(zrb: Zrb) -> None:
    zrb.tasks(ETL)
    zrb.mark("slow")
    running = zrb.start("etl", "load", *INPUTS, ZRB_STORE_SESSION="night").reaches("in-load")
    elsewhere = zrb.folder.with_name("elsewhere")
    elsewhere.mkdir()
    zrb.tasks(ETL, folder=elsewhere)

    def resume(*options: str, code: int = 0) -> list[str]:
        done = zrb.run("xcom", "resume", "night", "--here", "--my-key=k2", *options, code=code, cwd=elsewhere)
        return [*lines(done.out), *lines(done.err)]

    (line,) = resume("--yes", code=75)
    assert f"pid {running.pid}" in line
    running.signal(signal.SIGKILL).done()
    assert any(line.split() == ["load", "run", "lost"] for line in resume("--plan"))
    # Nothing moves if the resume is refused after all: nobody gives the secret input.
    refused = zrb.run("xcom", "resume", "night", "--here", "--yes", code=2, cwd=elsewhere)
    assert "secret input my-key" in refused.err
    assert [each.project for each in zrb.sessions()] == [str(zrb.folder)]
    (line,) = resume(code=2)
    assert (
        f"session night belongs to project {zrb.folder}: let it belong to {elsewhere}? Nobody can be asked: give --yes"
        in line
    )
    assert [each.project for each in zrb.sessions()] == [str(zrb.folder)]
    for answer, code in (("n", 1), ("y", 0)):
        at_terminal = zrb.run("-c", ANSWERING.format(answer), program="python", cwd=elsewhere, code=None)
        assert (at_terminal.code, "tue 5" in at_terminal.out) == (code, answer == "y"), at_terminal
    assert [each.project for each in zrb.sessions()] == [str(elsewhere)]
    log = zrb.run("log", "night", program="zrb-store").out
    assert f"{zrb.folder} -> {elsewhere}" in log
