"""The tasks that `resume --plan` lists are those that then run, and what a resume refuses."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from tests.support.sessions import parse
from tests.zrb.conftest import Zrb, lines, only

pytestmark = [pytest.mark.slow, pytest.mark.newest]

TWINS = """
def acting(name):
    def action(ctx):
        ran(name)
        return name
    return action

# zrb registers tasks from the main task on, so this one is `load~2`.
@make_task(name="load", retries=0)
def left(ctx):
    ran("left")
    if LEFT_FAILS:
        raise RuntimeError
    return "left"

@make_task(name="load", upstream=left, retries=0)
def right(ctx):
    ran("right")
    return "right"

@make_task(name="report", upstream=right, retries=0, group=cli)
def report(ctx):
    ran("report")
    return [ctx.xcom["load"].pop(), ctx.xcom["load"].pop()]

idle = Task(name="idle", action=acting("idle"), fallback=Task(name="sorry", action=acting("sorry")))
cli.add_task(idle)
"""
WAITING = """
@make_task(name="first", retries=0)
def first(ctx):
    ran("first")
    return 1

@make_task(name="main", upstream=first, retries=0, group=cli)
async def main(ctx):
    ran("main")
    if not exists("mended"):
        await hang("in-main")
    return ctx.xcom["first"].pop()
"""


def planned(zrb: Zrb, session: str) -> str:
    """Return the table of `resume --plan`."""
    heading, *rows = zrb.resume(session, "--plan").out.splitlines()
    assert heading.split() == ["TASK", "ACTION", "REASON"]
    return ", ".join(" ".join(row.split()) for row in rows)


def test_generated_workflows_run_what_was_planned(zrb: Zrb) -> None:
    program = Path(__file__).with_name("generated.py")
    done = zrb.run(str(program), "1000", "12", program="python")
    found = re.fullmatch(r"checked 12: (\d+) to run, (\d+) to skip\n", done.out)
    assert found, done.out
    assert min(map(int, found.groups())) > 20


def test_a_running_session_has_no_plan_and_a_dead_one_has(zrb: Zrb) -> None:
    zrb.tasks(WAITING)
    running = zrb.start("main", ZRB_STORE_SESSION="long").reaches("in-main")
    for more in ([], ["--plan"], ["--plan", "--from", "first"]):
        (line,) = lines(zrb.resume("long", *more, code=75).err)
        assert f"session long is being run by pid {running.pid} on " in line
    running.signal(signal.SIGKILL).done()
    assert zrb.stored("long").status == "stale"
    shown = parse("plan", zrb.resume("lo", "--plan", "--format", "json").out)
    no_steps = {"steps": 0, "starts_over": False, "agent_steps": []}
    assert shown == {
        "session": "long",
        "from": None,
        "set": {},
        "tasks": [
            {"task": "first", "action": "skip", "reason": "completed", **no_steps},
            {"task": "main", "action": "run", "reason": "lost", **no_steps},
        ],
    }
    assert zrb.stored("long").status == "stale"
    zrb.mark("mended")
    assert zrb.resume("@last-failed").out.strip() == "1"
    assert zrb.ran == ["first", "main", "main"]
    # Completed: nothing runs, and the stored result is printed.
    assert planned(zrb, "@last") == "first skip completed, main skip completed"
    assert zrb.resume("@last").out.strip() == "1"
    assert zrb.ran == ["first", "main", "main"]


def test_from_dies_half_way_and_goes_on(zrb: Zrb) -> None:
    zrb.tasks(WAITING)
    zrb.mark("mended")
    assert zrb.run("main", ZRB_STORE_SESSION="again").out.strip() == "1"
    (zrb.folder / "mended").unlink()
    zrb.start("xcom", "resume", "again", "--from", "first").reaches("in-main").signal(signal.SIGKILL).done()
    stored = zrb.stored("again")
    assert stored.tasks == {
        "first": ["completed, given back", "completed"],
        "main": ["completed, given back", "running"],
    }
    assert [state for _, state in stored.fates("first")] == ["retracted", "live"]
    zrb.mark("mended")
    assert zrb.resume("again").out.strip() == "1"
    assert zrb.ran == ["first", "main", "first", "main", "main"]


def test_a_task_marked_by_hand_is_skipped_with_its_result(zrb: Zrb) -> None:
    zrb.tasks("LEFT_FAILS = True" + TWINS)
    zrb.run("report", code=1, ZRB_STORE_SESSION="twins")
    zrb.run("xcom", "mark", "twins", "load~2", "completed", "--result", '"by hand"')
    assert planned(zrb, "twins") == "load~2 skip completed, load run never-started, report run never-started"
    assert zrb.resume("twins").out.strip() == "['by hand', 'right']"
    assert zrb.ran == ["left", "right", "report"]
    # The same for a main task that never ran.
    zrb.run("xcom", "fork", "twins", "--from", "report", "--name", "copy")
    zrb.run("xcom", "mark", "copy", "report", "completed", "--result", "5")
    assert planned(zrb, "copy") == "load~2 skip completed, load skip completed, report skip completed"
    assert zrb.resume("copy").out.strip() == "5"
    assert zrb.ran == ["left", "right", "report"]
    assert zrb.stored("copy").status == "completed"


def test_a_fork_goes_on_from_its_task(zrb: Zrb) -> None:
    zrb.tasks("LEFT_FAILS = False" + TWINS)
    zrb.run("report", ZRB_STORE_SESSION="twins")
    zrb.run("xcom", "fork", "twins", "--from", "load", "--name", "copy")
    assert planned(zrb, "copy") == "load~2 skip completed, load run never-started, report run never-started"
    assert zrb.resume("copy").out.strip() == "['left', 'right']"
    assert zrb.ran == ["left", "right", "report", "right", "report"]
    assert zrb.stored("copy").tasks == {"load~2": ["completed"], "load": ["completed"], "report": ["completed"]}


def test_what_is_refused_changes_nothing(zrb: Zrb) -> None:
    zrb.tasks("LEFT_FAILS = False" + TWINS)
    zrb.run("idle", ZRB_STORE_SESSION="idle")
    before = zrb.db.read_bytes()
    for more in ([], ["--plan"]):
        (line,) = lines(zrb.resume("idle", "--from", "sorry", *more, code=2).err)
        assert "no resume runs sorry: it is a fallback, and runs only if idle fails" in line
        (line,) = lines(zrb.resume("idle", "--from", "idel", *more, code=3).err)
        assert "there is no task 'idel' here; did you mean idle?" in line
        elsewhere = zrb.folder / "elsewhere"
        elsewhere.mkdir(exist_ok=True)
        zrb.tasks("LEFT_FAILS = False" + TWINS, folder=elsewhere)
        done = zrb.run("xcom", "resume", "idle", *more, code=65, cwd=elsewhere)
        assert f"{zrb.folder}, not to {elsewhere}" in done.err
        zrb.tasks("", folder=elsewhere)  # even if the other project has no such task
        done = zrb.run("xcom", "resume", "idle", *more, code=65, cwd=elsewhere)
        assert f"{zrb.folder}, not to {elsewhere}" in done.err
    zrb.resume("idle", "--format", "json", code=2)
    assert zrb.db.read_bytes() == before
    assert zrb.ran == ["idle"]


CONDITIONS = """
maybe = Task(
    name="maybe", action=lambda ctx: ran("maybe") or "here", execute_condition=lambda ctx: exists("due"), retries=0,
)
after = Task(name="after", upstream=maybe, action=lambda ctx: ran("after"), execute_condition=False, retries=0)

@make_task(name="main", upstream=[maybe, after], retries=0, group=cli)
def main(ctx):
    ran("main")
    if not exists("mended"):
        raise ValueError
    return ctx.xcom["maybe"].get("not here")
"""


@only(lambda version: version < (2,) or version >= (3, 28))
def test_a_plan_says_where_a_condition_decides(zrb: Zrb) -> None:
    zrb.tasks(CONDITIONS)
    zrb.run("main", code=1, ZRB_STORE_SESSION="if")
    assert zrb.stored("if").record.tasks["maybe"] == "skipped"
    assert planned(zrb, "if") == "maybe run condition, after skip condition, main run failed"
    assert parse("plan", zrb.resume("if", "--plan", "--format", "json").out)["tasks"][0]["reason"] == "condition"
    (line,) = lines(zrb.resume("if", "--from", "after", code=2).err)
    assert "no resume runs after: its condition never holds" in line
    # The condition is evaluated again: first it is false, then true.
    zrb.resume("if", code=1)
    assert zrb.ran == ["main", "main"]
    zrb.mark("due")
    zrb.mark("mended")
    assert planned(zrb, "if") == "maybe run condition, after skip condition, main run failed"
    assert zrb.resume("if").out.strip() == "here"
    assert zrb.ran == ["main", "main", "maybe", "main"]
    assert planned(zrb, "if") == "maybe skip completed, after skip condition, main skip completed"
