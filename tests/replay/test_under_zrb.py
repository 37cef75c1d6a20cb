"""`zrb xcom replay`: one attempt of a task runs again, alone, and the store is only read."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.zrb.conftest import Zrb, lines
from tests.zrb.environments import ROOT

WORKFLOW = """
from zrb import StrInput, PasswordInput
from zrb_store import open_store

def inbox():
    store = open_store()
    return store.session("inbox").xcom["files"]

@make_task(name="fill", retries=0)
def fill(ctx):
    ran("fill")
    inbox().extend(["a", "b", "c"])
    return {"rows": 3}

@make_task(name="beside", retries=0)
async def beside(ctx):
    ctx.xcom.shared.push("held")
    ctx.xcom.shared.push("next")
    ctx.xcom.shared.pop()
    mark("beside")
    await wait_for("failed")

@make_task(name="check", retries=0)
def check(ctx):
    ran("check")

mend = Task(name="mend", action=lambda ctx: ran("mend"), retries=0)
after = Task(name="after", action=lambda ctx: ran("after"), retries=0)

@make_task(
    name="load", upstream=fill, retries=2, retry_period=0, fallback=mend, successor=after, readiness_check=check,
    readiness_check_delay=0, input=[StrInput(name="day", default="monday"), PasswordInput(name="key", default="none")],
)
async def load(ctx):
    ran("load")
    await wait_for("beside")
    file, last = inbox().pop(), ctx._attempt == 3
    ctx.xcom.log.push([ctx._attempt, ctx._max_attempt, file, ctx.xcom.shared.pop(), ctx.input.day, len(ctx.input.key)])
    ctx.env["KEY"] = ctx.input.key
    if exists("changed"):
        ctx.xcom.log.push("more")
    mark("failed") if last else None
    problem = "strange " + file
    raise ValueError(problem)

main = cli.add_task(Task(name="main", upstream=[load, beside], action=lambda ctx: ran("main"), retries=0))
"""


@pytest.mark.slow
def test_an_attempt_is_replayed_alone(zrb: Zrb) -> None:
    """In the session another task holds a value, and attempts before have taken from a shared queue and failed."""
    zrb.tasks(WORKFLOW)
    zrb.run("main", "--day", "monday", "--key", "abcdef", code=1, ZRB_STORE_SESSION="s")
    before, ran = zrb.db.read_bytes(), zrb.ran
    assert ran.count("load") == 3
    for number in (2, 3):
        attempt = f"s/load#{number}"
        done = zrb.run("xcom", "replay", attempt, "--diff", "--yes", "--key", "abcdef")
        assert "Their values are equal." in done.out
        assert f"{attempt} then: failed, ValueError; now: failed, ValueError" in done.err
        assert "ValueError: strange a" in done.err
        assert "zrb xcom resume" not in done.err
    assert zrb.ran == [*ran, "load", "load"], "only the action runs"
    zrb.mark("changed")
    done = zrb.run("xcom", "replay", "s/load#3", "--diff", "--yes", "--key", "xyz", code=1)
    shown = [line.split() for line in done.out.splitlines() if line.startswith("$")]
    assert shown == [["$.pushes.log[0][5]", "6", "3"], ["$.pushes.log[1]", "-", '"more"']]
    # Nobody can be asked.
    for options, said in (
        ([], "what s/load#3 does outside of the store is real"),
        (["--yes"], "secret input key was given at the start, and is not stored: give --key VALUE again"),
    ):
        assert said in lines(zrb.run("xcom", "replay", "s/load#3", *options, code=2).err)[-1]
    refused = zrb.run("xcom", "replay", "s/main#1", "--yes", code=3)
    assert "there is no attempt s/main#1" in refused.err
    refused = zrb.run("replay", "s/load#3", code=1, program="zrb-store")
    assert "only zrb can run tasks: call `zrb xcom` in the folder of its project" in refused.err
    zrb.tasks(WORKFLOW.replace('name="load"', 'name="loads"'))
    refused = zrb.run("xcom", "replay", "s/load#3", "--yes", "--key", "abcdef", code=3)
    assert "task load of session s is no longer in the workflow" in refused.err
    assert zrb.db.read_bytes() == before


@pytest.mark.slow
def test_a_debugger_stops_at_the_error(zrb: Zrb) -> None:
    """pdb reads its commands from `.pdbrc`. Another debugger is what PYTHONBREAKPOINT names."""
    zrb.tasks(
        """
        @make_task(name="load", retries=0, group=cli)
        def load(ctx):
            value = 41
            ctx.xcom.out.push(value)
            raise ValueError(f"strange {value}")
        """
    )
    zrb.run("load", code=1, ZRB_STORE_SESSION="s")
    rc = zrb.folder / ".pdbrc"
    rc.write_text("p value, list(ctx.xcom.out)\nq\n")
    done = zrb.run("xcom", "replay", "s/load#1", "--yes", "--pdb", code=1)
    assert "(41, [41])" in done.out
    rc.write_text("p sorted(vars())\nn\np value\nq\n")
    done = zrb.run("xcom", "replay", "s/load#1", "--yes", "--break", code=1)
    assert "['ctx']\n" in done.out
    assert "\n41\n" in done.out
    (zrb.folder / "other.py").write_text(
        "set_trace = lambda: print('stops before')\npost_mortem = lambda frames: print('stops at', type(frames))\n"
    )
    other, place = "other.set_trace", str(zrb.folder)
    replay = ("xcom", "replay", "s/load#1", "--yes", "--break", "--pdb")
    done = zrb.run(*replay, code=1, PYTHONBREAKPOINT=other, PYTHONPATH=place)
    assert done.out.split("\n")[:2] == ["stops before", "stops at <class 'traceback'>"]


@pytest.mark.slow
@pytest.mark.newest
def test_completed_steps_are_replayed_from_the_record(zrb: Zrb) -> None:
    """Those that this attempt completed are from the record, with what they did to queues, when the action is there."""
    zrb.tasks(
        """
        from zrb_store import step

        def work(ctx, name):
            ran(name)
            ctx.xcom.done.push(name)
            return ctx.xcom.todo.pop()

        fill = Task(name="fill", action=lambda ctx: ctx.xcom.todo.extend([1, 2, 3, 4]))

        @make_task(name="load", upstream=fill, retries=1, retry_period=0, group=cli)
        def load(ctx):
            if ctx.attempt == 1:
                step("first", ran, "first")
            ctx.xcom.own.push(5)
            step("own", lambda: [ran("own"), ctx.xcom.own.pop()])
            ctx.xcom.out.push(list(ctx.xcom.done))
            one = step("one", work, ctx, "one") if ctx.attempt == 2 else 0
            two = step("two", work, ctx, "two", once=True) if ctx.attempt == 2 else 0
            if exists("more"):
                step("three", work, ctx, "three", once=True)
            ctx.xcom.out.push([one, two, list(ctx.xcom.done)])
            raise ValueError
        """
    )
    zrb.run("load", code=1, ZRB_STORE_SESSION="s")
    replay = ("xcom", "replay", "s/load#2", "--yes")
    before, ran = zrb.db.read_bytes(), zrb.ran
    assert ran == ["first", "own", "own", "one", "two"]
    zrb.run(*replay, "--diff")
    assert zrb.ran == ran
    zrb.run(*replay, "--steps", code=1)
    assert zrb.ran == [*ran, "own", "one"]
    done = zrb.run(*replay, "--steps", "--repeat-once", "--diff")
    assert zrb.ran == (ran := [*ran, "own", "one", "own", "one", "two"])
    zrb.mark("more")
    done = zrb.run(*replay, code=1)
    assert "step three of s/load#2 is declared `once`, and a replay runs no such step" in done.err
    assert zrb.ran == ran
    assert zrb.db.read_bytes() == before


@pytest.mark.slow
@pytest.mark.newest
def test_the_answer_of_a_wait_is_from_the_record(zrb: Zrb) -> None:
    """An answer is from the record. Without one, the attempt ends there again."""
    zrb.tasks(
        """
        from zrb_store import wait

        @make_task(name="ask", retries=0, group=cli)
        def ask(ctx):
            ctx.xcom.log.push(list(ctx.xcom.approve))
            return [wait("approve", say="Refund?"), list(ctx.xcom.approve)]
        """
    )
    zrb.run("ask", code=75, ZRB_STORE_SESSION="s")
    zrb.run("xcom", "push", "s", "approve", '"yes"')
    zrb.run("xcom", "resume", "s")
    before = zrb.db.read_bytes()
    done = zrb.run("xcom", "replay", "s/ask#2", "--yes")
    assert done.out == "['yes', []]\n"
    zrb.run("xcom", "replay", "s/ask#2", "--diff", "--yes")
    done = zrb.run("xcom", "replay", "s/ask#1", "--yes", code=1)
    assert lines(done.err)[-1].endswith(
        "s/ask#1 then: waiting; now: waiting for an answer that the record does not have"
    )
    assert zrb.db.read_bytes() == before


@pytest.mark.slow
@pytest.mark.newest
def test_random_attempts_of_random_workflows(release: str, tmp_path: Path) -> None:
    """`python -m tests.replay.programs 200` replays more, on both databases."""
    environ = {**os.environ, "TMPDIR": str(tmp_path)}
    words = (sys.executable, "-m", "tests.replay.programs", "5", "SQLite")
    done = subprocess.run(words, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "5 attempts replayed" in done.stdout
