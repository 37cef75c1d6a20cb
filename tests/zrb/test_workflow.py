"""A workflow dies, is inspected, and resumes, on each release."""

from __future__ import annotations

import json
import signal

import pytest

from tests.zrb.conftest import Zrb, only
from tests.zrb.workflows import CHAIN, UNDISTURBED

EXAMPLE_CMD = """
from zrb import cli, CmdTask

create_magic_number = CmdTask(name="create-magic-number", cmd="echo 42")
cli.add_task(
  CmdTask(
    name="show-magic-number",
    upstream=create_magic_number,
    cmd="echo {ctx.xcom['create-magic-number'].pop()}",
  )
)
"""

EXAMPLE_TASK = """
from zrb import Task, cli

# Task 1: Pushes data to its XCom
task1 = Task(
    name="task1",
    description="Pushes data to XCom",
    action=lambda ctx: ctx.xcom[ctx.task_name].push("Hello from Task 1!")
)

# Task 2: Depends on Task 1 and pulls data from its XCom
task2 = Task(
    name="task2",
    description="Pulls data from Task 1's XCom",
    upstream=[task1], # Define dependency
    action=lambda ctx: print(f"Task 2 received: {ctx.xcom['task1'].pop()}")
)

cli.add_task(task1)
cli.add_task(task2)

# When you run task2, task1 will execute first, push data,
# and then task2 will execute and retrieve the data.
"""

MENDABLE = """
async def HALF(ctx):
    if not exists("mended"):
        raise RuntimeError("the disk is full")
"""


@pytest.mark.slow
@pytest.mark.oldest
def test_examples_of_zrb_run_verbatim(zrb: Zrb) -> None:
    zrb.tasks(EXAMPLE_CMD + EXAMPLE_TASK, prelude=False)
    assert zrb.run("show-magic-number", ZRB_STORE_SESSION="magic").out.strip() == "42"
    assert zrb.run("show-magic-number", ZRB_STORE_SESSION="magic").out.strip() == "42"
    assert "Task 2 received: Hello from Task 1!" in zrb.run("task2").out

    first, second = (zrb.stored(record.name) for record in zrb.sessions())
    assert first.status == second.status == "completed"
    ((magic, state),) = first.fates("create-magic-number")
    assert (magic.output, state) == ("42", "taken")
    assert second.fates("task1") == [("Hello from Task 1!", "taken"), (None, "live")]
    by_id = {one.id: one.name for one in second.attempts}
    row = second.rows["task1"][0]
    assert (by_id[row.pushed_by or 0], by_id[row.taken_by or 0]) == ("task1#1", "task2#1")
    shown = zrb.run("xcom", "show", second.record.name).out
    (line,) = [line for line in shown.splitlines() if "Hello from Task 1!" in line]
    assert "task1#1" in line
    assert "taken by task2#1" in line
    assert "42" in zrb.run("xcom", "show", "magic").out


@pytest.mark.promise(number=1)
@pytest.mark.oldest
@pytest.mark.smoke
def test_a_killed_task_is_given_back_and_resumed(zrb: Zrb) -> None:
    zrb.tasks("async def HALF(ctx): await hang('in-load')\n" + CHAIN)
    zrb.start("report", ZRB_STORE_SESSION="etl").reaches("in-load").signal(signal.SIGKILL).done()
    killed = zrb.stored("etl")
    assert killed.status == "stale"
    assert killed.tasks == {"count": ["completed"], "load": ["running"]}

    assert zrb.resume("etl").out.strip() == UNDISTURBED
    assert zrb.ran == ["count", "load", "load", "report"]
    etl = zrb.stored("etl")
    assert etl.status == "completed"
    assert etl.tasks == {"count": ["completed"], "load": ["lost", "completed"], "report": ["completed"]}
    assert etl.fates("loaded") == [([1, "half"], "retracted"), ([1, "whole"], "live")]
    assert etl.fates("rows") == [(1, "taken"), (2, "live"), (3, "live")]
    story = json.loads(zrb.run("xcom", "show", "etl", "--format", "json").out)
    assert [run["status"] for run in story["runs"]] == ["lost", "completed"]
    (returned,) = story["queues"]["rows"]["values"][0]["returns"]
    assert (returned["taken_by"], returned["reason"]) == ("load#1", "lost")


@pytest.mark.promise(number=1)
@pytest.mark.oldest
def test_a_retry_finds_what_the_failed_attempt_popped(zrb: Zrb) -> None:
    zrb.tasks(
        """
        @make_task(name="feed", retries=0)
        def feed(ctx):
            ctx.xcom["todo"].extend([1, 2, 3])

        @make_task(name="eat", upstream=feed, retries=2, group=cli)
        def eat(ctx):
            seen = list(ctx.xcom["todo"])
            ctx.xcom["todo"].pop()
            ctx.xcom["todo"].push(9)
            if ran("eat") < 2:
                raise ValueError("not yet")
            return seen
        """
    )
    assert zrb.run("eat").out.strip() == "[1, 2, 3]"
    stored = zrb.stored()
    assert stored.tasks == {"feed": ["completed"], "eat": ["failed", "failed", "completed"]}
    assert stored.live("todo") == [2, 3, 9]
    assert [state for _, state in stored.fates("todo")] == ["taken", "live", "live", "retracted", "retracted", "live"]


@pytest.mark.smoke
def test_a_mended_workflow_resumes_where_it_failed(zrb: Zrb) -> None:
    zrb.tasks(MENDABLE + CHAIN)
    failed = zrb.run("report", code=1)
    stored = zrb.stored()
    name = stored.record.name
    assert f"zrb-store: session {name} failed; `zrb xcom resume {name}` continues it" in failed.err
    assert stored.status == "failed"
    assert stored.attempts[-1].error_message == "the disk is full"
    kept = (stored.attempts[-1].error_traceback or "").splitlines()
    assert "zrb_init.py" in kept[1], "it must begin with the user's own code, not with zrb's"
    assert 'raise RuntimeError("the disk is full")' in "\n".join(kept)

    zrb.mark("mended")
    assert zrb.resume(name).out.strip() == UNDISTURBED
    assert zrb.ran == ["count", "load", "load", "report"]
    assert zrb.stored(name).status == "completed"


@pytest.mark.promise(number=2)
@pytest.mark.parametrize("point", ["complete:before", "complete:after"])
def test_a_kill_round_the_commit_of_a_result(zrb: Zrb, point: str) -> None:
    """No value is lost or delivered twice, although zrb itself pushes the result a little later."""
    zrb.tasks(
        f"""
        from zrb_store.db import transaction

        def kill(point):
            if point == {point!r} and not exists("killed"):
                mark("killed")
                os.kill(os.getpid(), signal.SIGKILL)

        @make_task(name="make", retries=0)
        def make(ctx):
            ran("make")
            transaction.set_callback(kill)
            return ["made"]

        @make_task(name="take", upstream=make, retries=0, group=cli)
        def take(ctx):
            return [ctx.xcom["make"].pop(), len(ctx.xcom["make"])]
        """
    )
    assert zrb.run("take", code=None, ZRB_STORE_SESSION="once").code == -signal.SIGKILL
    assert zrb.resume("once").out.strip() == "[['made'], 0]"
    assert zrb.ran == (["make"] if point == "complete:after" else ["make", "make"])
    assert zrb.stored("once").fates("make") == [(["made"], "taken")]


CHAOS = """
from zrb_store.db import transaction

reached = 0

def at(point):
    global reached
    reached += 1
    if reached == int(os.environ["DIE_AT"]):
        os.kill(os.getpid(), signal.SIGKILL)

transaction.set_callback(at)
inbox = [Task(name="feed", retries=0, action=lambda ctx: ctx.xcom["todo"].extend(range(4)))]

def work(ctx):
    number = ctx.xcom["todo"].pop()
    ctx.xcom["log"].push(number)
    ctx.xcom["sum"].set(ctx.xcom["sum"].get(0) + number)
    return [number]

for step in range(4):
    inbox.append(Task(name=f"work{step}", retries=0, upstream=inbox[-1], action=work))

@make_task(name="main", upstream=inbox[-1], retries=0, group=cli)
def main(ctx):
    results = [ctx.xcom[f"work{step}"].pop() for step in range(4)]
    return [results, list(ctx.xcom["log"]), list(ctx.xcom["sum"]), list(ctx.xcom["todo"])]
"""


@pytest.mark.newest
@pytest.mark.promise(number=2)
@pytest.mark.slow
@only(lambda version: version < (2,) or version >= (3, 28))  # where the process dies does not depend on the release
def test_a_process_that_dies_again_and_again(zrb: Zrb) -> None:
    """The process dies at later and later points. In the end the result is that of an undisturbed run."""
    zrb.tasks(CHAOS)
    codes = []
    for die_at in range(2, 100, 3):
        done = zrb.run("main", code=None, ZRB_STORE_SESSION="chaos", DIE_AT=str(die_at))
        codes.append(done.code)
        if done.code == 0:
            break
    assert len(codes) > 8
    assert set(codes[:-1]) == {-signal.SIGKILL}
    assert codes[-1] == 0
    assert done.out.strip() == "[[[0], [1], [2], [3]], [0, 1, 2, 3], [6], []]"
    stored = zrb.stored("chaos")
    assert stored.status == "completed"
    for name, tries in stored.tasks.items():
        assert tries.count("completed") == 1, name
    zrb.run("doctor", program="zrb-store")
