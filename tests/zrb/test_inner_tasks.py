"""A task that another task's action starts goes with it: `resume --set` and `--from`."""

from __future__ import annotations

import pytest

from tests.zrb.conftest import Zrb

pytestmark = [pytest.mark.slow, pytest.mark.promise(number=19)]

TASKS = """
from zrb import StrInput

DAY = [StrInput(name="day", default="mon")]

def task(name, action):
    return Task(name=name, action=action, retries=0, input=DAY)

def deep(ctx):
    ran("deep")
    return ctx.input.day

def inner(ctx):
    ran("inner")
    return ctx.input.day

def other(ctx):
    ran("other")
    return "other"

deep, inner, other = task("deep", deep), task("inner", inner), task("other", other)

async def outer_action(ctx):
    ran("outer")
    for each in (inner, deep):
        ctx.session.register_task(each)
    found = await asyncio.gather(*(START for each in (inner, deep)))
    FAIL
    return "-".join(found)

outer = task("outer", outer_action)
main = task("main", lambda ctx: ctx.xcom["outer"].pop())
cli.add_task(main)
main.append_upstream([outer, other])
"""


@pytest.mark.oldest
@pytest.mark.parametrize("start", ["each.exec_chain(ctx.session)", "each.exec(ctx.session)"])
def test_an_inner_task_goes_with_the_outer_one(zrb: Zrb, start: str) -> None:
    zrb.tasks(TASKS.replace("START", start).replace("FAIL", ""))
    assert zrb.run("main", "--day", "mon", ZRB_STORE_SESSION="s").out.strip() == "mon-mon"
    plan = zrb.resume("s", "--plan", "--set", "day=tue")
    assert "no longer in the workflow" not in plan.err
    rows = {line.split()[0]: line.split()[1] for line in plan.out.splitlines()[1:]}
    assert rows == {"inner": "run", "deep": "run", "outer": "run", "other": "skip", "main": "run"}
    assert zrb.resume("s", "--set", "day=tue").out.strip() == "tue-tue"
    assert zrb.ran == ["other", "outer", "inner", "deep", "outer", "inner", "deep"] or sorted(zrb.ran) == sorted(
        ["other", "outer", "inner", "deep", "outer", "inner", "deep"]
    )
    zrb.resume("s", "--from", "outer")
    assert (zrb.ran.count("inner"), zrb.ran.count("other")) == (3, 1)
    assert zrb.stored("s").task("inner") == ["completed, given back", "completed, given back", "completed"]
    refused = zrb.resume("s", "--from", "inner", code=None)
    assert "no resume runs inner by itself: --from outer runs the task that starts it" in refused.err


@pytest.mark.oldest
def test_an_inner_task_keeps_its_result_where_nothing_changes(zrb: Zrb) -> None:
    fail = "assert exists('mended')"
    zrb.tasks(TASKS.replace("START", "each.exec_chain(ctx.session)").replace("FAIL", fail))
    zrb.run("main", "--day", "mon", code=None, ZRB_STORE_SESSION="s")
    zrb.mark("mended")
    assert "no longer in the workflow" not in zrb.resume("s", "--plan").err
    assert zrb.resume("s").out.strip() == "mon-mon"
    assert (zrb.ran.count("inner"), zrb.ran.count("outer")) == (1, 2)


@pytest.mark.newest
def test_an_inner_task_that_has_read_the_input_runs_again_though_the_outer_one_was_killed(zrb: Zrb) -> None:
    fail = "exists('mended') or os.kill(os.getpid(), signal.SIGKILL)"
    zrb.tasks(TASKS.replace("START", "each.exec_chain(ctx.session)").replace("FAIL", fail))
    zrb.run("main", "--day", "mon", code=None, ZRB_STORE_SESSION="s")
    zrb.mark("mended")
    assert zrb.resume("s", "--set", "day=tue").out.strip() == "tue-tue"
