"""`zrb xcom resume` runs what its plan lists; `--plan` and `--from`."""

from __future__ import annotations

import random
import signal

import pytest

from tests.chosen import releases
from tests.support.sessions import parse
from tests.zrb.conftest import Zrb, lines

GRAPH = """
import threading

@make_task(name="first", retries=0)
def first(ctx):
    ran("first")
    return threading.Lock()

@make_task(name="mend", retries=0)
def mend(ctx):
    ran("mend")

@make_task(name="check", retries=0)
def check(ctx):
    ran("check")

@make_task(name="server", readiness_check=check, readiness_check_delay=0, retries=0)
async def server(ctx):
    ran("server")
    await wait_for("end")

@make_task(name="second", upstream=server, retries=0)
def second(ctx):
    ran("second")
    return 2

@make_task(name="third", upstream=[first, second], retries=0, fallback=mend)
def third(ctx):
    ran("third")
    ctx.xcom["second"].pop()
    if not exists("mended"):
        mark("end")
        raise ValueError

@make_task(name="main", upstream=third, retries=0, group=cli)
def main(ctx):
    ran("main")
    mark("end")
    return "end"
"""


def plan(zrb: Zrb, session: str, *args: str) -> dict[str, str]:
    """Return what `resume --plan` prints about each task."""
    heading, *rows = zrb.run("xcom", "resume", session, "--plan", *args).out.splitlines()
    assert heading.split() == ["TASK", "ACTION", "REASON"]
    return {task: f"{action} {reason}" for task, action, reason in map(str.split, rows)}


def will_run(zrb: Zrb, session: str, *args: str) -> set[str]:
    """Return the tasks that will run according to `resume --plan --format json`."""
    shown = parse("plan", zrb.run("xcom", "resume", session, "--plan", "--format", "json", *args).out)
    return {step["task"] for step in shown["tasks"] if step["action"] == "run"}


@pytest.mark.slow
@pytest.mark.newest
def test_a_plan_with_from_says_what_a_resume_runs(zrb: Zrb) -> None:
    zrb.tasks(GRAPH)
    zrb.run("main", code=1, ZRB_STORE_SESSION="plan")
    before = zrb.db.read_bytes()
    planned = plan(zrb, "plan")
    assert planned == {
        "main": "run never-started",
        "third": "run failed",
        "mend": "skip fallback",
        "first": "run not-restorable",
        "second": "skip completed",
        "server": "run readiness",
        "check": "run readiness",
    }
    order = list(planned)
    assert order.index("server") < order.index("second") < order.index("third") < order.index("main")
    assert will_run(zrb, "@last") == {"main", "third", "first", "server", "check"}
    assert zrb.db.read_bytes() == before

    zrb.mark("mended")
    (zrb.folder / "end").unlink()
    (zrb.folder / "ran").unlink()
    assert zrb.run("xcom", "resume", "@last-failed").out.strip() == "end"
    assert sorted(zrb.ran) == ["check", "first", "main", "server", "third"]

    # In a completed session, the named task runs again with everything downstream.
    assert plan(zrb, "plan", "--from", "second") == {
        "main": "run downstream-of:second",
        "third": "run downstream-of:second",
        "mend": "skip fallback",
        "first": "run not-restorable",
        "second": "run forced",
        "server": "run readiness",
        "check": "run readiness",
    }
    (zrb.folder / "end").unlink()
    (zrb.folder / "ran").unlink()
    assert zrb.resume("plan", "--from", "second").out.strip() == "end"
    assert sorted(zrb.ran) == ["check", "first", "main", "second", "server", "third"]
    stored = zrb.stored("plan")
    assert stored.status == "completed"
    assert stored.task("second") == ["completed, given back", "completed"]
    rows = [row.split() for row in lines(zrb.run("xcom", "show", "plan").out)]
    first, second = (row for row in rows if row[0].startswith("second#"))
    assert first[1] == "completed"
    assert " ".join(first).endswith(" given back")
    assert "given back" not in " ".join(second)
    assert [state for _, state in stored.fates("second")] == ["retracted", "taken"]

    (line,) = lines(zrb.resume("plan", "--from", "secnd", code=3).err)
    assert "there is no task 'secnd' here; did you mean second?" in line


@pytest.mark.newest
def test_from_a_task_that_was_renamed(zrb: Zrb) -> None:
    zrb.tasks(GRAPH)
    zrb.run("main", code=1, ZRB_STORE_SESSION="plan")
    for new, hint in (("second-step", "; did you mean second-step?"), ("b", "")):
        zrb.tasks(GRAPH.replace('name="second"', f'name="{new}"'))
        (line,) = lines(zrb.resume("plan", "--plan", "--from", "second", code=3).err)
        said, _, names = line.partition("; the tasks are ")
        assert said.endswith("task 'second', which the session ran, is no longer here: it was renamed or removed")
        assert new in names.partition(";")[0].split(", ")
        assert hint in names


@pytest.mark.slow
@pytest.mark.newest
@pytest.mark.promise(number=2)
def test_a_completed_task_that_was_renamed(zrb: Zrb) -> None:
    """The plan and the resume name it, with what it left in queues."""
    tasks = """
        from zrb_store import step

        @make_task(name="count", retries=0)
        def count(ctx):
            step("log", ctx.xcom["log"].extend, ["counted", 3])
            return 3

        @make_task(name="main", upstream=count, retries=0, group=cli)
        def main(ctx):
            assert exists("mended")
        """
    zrb.tasks(tasks)
    zrb.run("main", code=1, ZRB_STORE_SESSION="plan")
    zrb.tasks(tasks.replace('"count"', '"sum"'))
    left = (
        "zrb xcom: task count has completed, and is no longer in the workflow: "
        "it left 1 value in queue count, 2 values in queue log"
    )
    assert plan(zrb, "plan") == {"sum": "run never-started", "main": "run failed", "count": "skip gone"}
    assert will_run(zrb, "plan") == {"sum", "main"}
    assert lines(zrb.resume("plan", "--plan").err) == [left]
    zrb.mark("mended")
    assert left in lines(zrb.resume("plan").err)
    assert zrb.stored("plan").status == "completed"


def test_resumed_tasks_have_the_environment_of_the_resume(zrb: Zrb) -> None:
    zrb.tasks(
        """
        command = CmdTask(name="command", cmd="test -e mended && echo $HOME $COLOUR", retries=0)

        @make_task(name="main", upstream=command, retries=0, group=cli)
        def main(ctx):
            return ctx.xcom["command"].pop().output.split() + [ctx.env["COLOUR"]]
        """
    )
    zrb.run("main", code=1, ZRB_STORE_SESSION="env", COLOUR="red")
    zrb.mark("mended")
    home = zrb.environ()["HOME"]
    assert zrb.resume("env", COLOUR="blue").out.strip() == str([home, "blue", "blue"])


@pytest.mark.newest
def test_a_task_that_is_gone(zrb: Zrb) -> None:
    zrb.tasks(GRAPH)
    zrb.run("main", code=1, ZRB_STORE_SESSION="plan")
    zrb.tasks(GRAPH.replace('name="main"', 'name="mains"'))
    (line,) = lines(zrb.resume("plan", code=3).err)
    assert "the main task of session plan, `zrb main`, is not here; did you mean mains?" in line
    assert "only zrb can run tasks" in zrb.run("resume", "plan", program="zrb-store", code=1).err


@pytest.mark.promise(number=2)
@pytest.mark.oldest
def test_the_plan_is_what_runs(zrb: Zrb) -> None:
    """A random graph dies at a random task. Exactly the tasks that the plan lists run."""
    seed = releases().index(zrb.release)
    dice = random.Random(seed)
    count = 8
    source = ["import threading", "tasks = []"]
    for number in range(count):
        upstreams = [other for other in range(number) if dice.random() < 0.4]
        successors = [other for other in range(number) if other not in upstreams and dice.random() < 0.1]
        result = dice.choice(["1", "threading.Lock()"])
        source.append(
            f"async def act{number}(ctx):\n"
            f"    ran('t{number}')\n"
            f"    if {number} == {count // 2 + seed % 4} and not exists('mended'):\n        await hang('dies')\n"
            f"    return {result}\n"
            f"tasks.append(Task(name='t{number}', action=act{number}, retries=0,"
            f" upstream=[tasks[n] for n in {upstreams}], successor=[tasks[n] for n in {successors}]))"
        )
    source.append("cli.add_task(Task(name='main', upstream=tasks, action=lambda ctx: ran('main'), retries=0))")
    zrb.tasks("\n".join(source))
    zrb.start("main", ZRB_STORE_SESSION="plan").reaches("dies").signal(signal.SIGKILL).done()
    named = will_run(zrb, "plan")
    zrb.mark("mended")
    (zrb.folder / "ran").unlink()
    zrb.resume("plan")
    assert set(zrb.ran) == named
    assert zrb.stored("plan").status == "completed"


@pytest.mark.slow
@pytest.mark.newest
def test_marked_and_forked_sessions_resume(zrb: Zrb) -> None:
    zrb.tasks(GRAPH)
    zrb.run("main", code=1, ZRB_STORE_SESSION="plan")
    zrb.run("xcom", "fork", "plan", "--from", "second", "--name", "copy")
    zrb.run("xcom", "mark", "plan", "third", "completed", "--result", "3")
    (zrb.folder / "ran").unlink()
    (zrb.folder / "end").unlink()
    assert zrb.resume("plan").out.strip() == "end"
    assert sorted(zrb.ran) == ["check", "first", "main", "server"]  # the lock that `first` returns cannot be stored
    (zrb.folder / "ran").unlink()
    (zrb.folder / "end").unlink()
    zrb.mark("mended")
    assert zrb.resume("copy").out.strip() == "end"
    assert {"second", "third", "main"} <= set(zrb.ran)
    assert zrb.stored("copy").status == zrb.stored("plan").status == "completed"
