"""Steps inside the tasks of each release: they stand although their attempt fails, dies or is interrupted."""

from __future__ import annotations

import signal

import pytest

from tests.zrb.conftest import Zrb
from tests.zrb.workflows import PAGES, step_attempts, steps_of, told


@pytest.mark.promise(number=11)
@pytest.mark.oldest
def test_a_retry_continues_inside_the_task(zrb: Zrb) -> None:
    zrb.tasks(
        PAGES
        + """
@make_task(name="main", upstream=feed, retries=2, retry_period=0, group=cli)
def main(ctx):
    tries = ran("main")
    rows = [step(f"page {page}", fetch, ctx, page) for page in range(2 + tries)]
    ctx.xcom["outside"].push(ctx.xcom["todo"].pop())
    if tries < 2:
        raise ValueError
    return rows
"""
    )
    assert zrb.run("main").out.strip() == "['row0', 'row1', 'row2', 'row3']"
    assert zrb.ran == ["main", "fetch0", "fetch1", "main", "fetch2", "main", "fetch3"]
    stored = zrb.stored()
    assert stored.task("main") == ["failed", "failed", "completed"]
    assert stored.live("pages") == [0, 1, 2, 3]
    assert stored.live("outside") == ["row4"]
    assert stored.live("todo")[:2] == ["row5", "row6"]
    # What a step pushed and took belongs to it, not to the attempt.
    by_id = {one.id: one.name for one in step_attempts(zrb, "main")}
    assert [by_id[row.pushed_by or 0] for row in stored.rows["pages"]] == [f"main/{n}#1" for n in (1, 2, 3, 4)]
    assert by_id[stored.rows["todo"][0].taken_by or 0] == "main/1#1"


@pytest.mark.newest
@pytest.mark.promise(number=11)
def test_a_kill_amid_twenty_steps(zrb: Zrb) -> None:
    """No completed step runs twice; the one that was under way runs again, and what it had done is undone."""
    zrb.tasks(
        PAGES
        + """
def fetch_or_hang(ctx, page):
    row = fetch(ctx, page)
    if page == 12 and not exists("hanging"):
        mark("hanging")
        time.sleep(60)
    return row

@make_task(name="main", upstream=feed, retries=0, group=cli)
def main(ctx):
    return [step(f"page {page}", fetch_or_hang, ctx, page) for page in range(20)]
"""
    )
    zrb.start("main", ZRB_STORE_SESSION="long").reaches("hanging").signal(signal.SIGKILL).done()
    assert zrb.stored("long").live("pages") == list(range(13))
    shown = zrb.resume("long", "--plan").out.splitlines()
    assert [" ".join(line.split()) for line in shown[1:]] == ["feed skip completed", "main run lost, 12 steps kept"]

    assert zrb.resume("long").out.strip() == str([f"row{n}" for n in range(20)])
    assert sorted(zrb.ran) == sorted([f"fetch{n}" for n in range(20)] + ["fetch12"])
    assert zrb.stored("long").live("pages") == list(range(20))
    expected = {f"page {n}": ["completed"] for n in range(20)}
    assert steps_of(zrb, "main", "long") == {**expected, "page 12": ["lost", "completed"]}
    zrb.run("doctor", program="zrb-store")


@pytest.mark.newest
def test_an_exception_in_a_generator(zrb: Zrb) -> None:
    """A generator that is closed while its caller's step is under way leaves no step open."""
    zrb.tasks(
        PAGES
        + """
def pages(ctx):
    for page in range(3):
        yield step(f"page {page}", fetch, ctx, page)

async def pages_async(ctx):
    for page in range(3, 6):
        yield await step(f"page {page}", fetch_async, ctx, page)

async def fetch_async(ctx, page):
    await asyncio.sleep(0)
    if page == 4 and not exists("mended"):
        raise RuntimeError("amid a generator")
    return fetch(ctx, page)

@make_task(name="main", upstream=feed, retries=0, group=cli)
async def main(ctx):
    first = pages(ctx)
    found = [next(first)]
    if not exists("mended"):
        first.close()
    found += [row async for row in pages_async(ctx)]
    return found + list(first)
"""
    )
    zrb.run("main", code=1, ZRB_STORE_SESSION="generator")
    expected = {"page 0": ["completed"], "page 3": ["completed"], "page 4": ["failed"]}
    assert steps_of(zrb, "main", "generator") == expected
    zrb.mark("mended")
    assert zrb.resume("generator").out.strip() == "['row0', 'row1', 'row2', 'row3', 'row4', 'row5']"
    assert zrb.ran == ["fetch0", "fetch3", "fetch4", "fetch5", "fetch1", "fetch2"]


def test_fallbacks_and_successors_have_steps(zrb: Zrb) -> None:
    zrb.tasks(
        PAGES
        + """
@make_task(name="mend", retries=1, retry_period=0)
def mend(ctx):
    row = step("clean", fetch, ctx, 1)
    if not ran("mend"):
        raise ValueError
    ctx.xcom["mended"].push(row)

@make_task(name="after", retries=1, retry_period=0)
def after(ctx):
    row = step("tell", fetch, ctx, 2)
    if not exists("mended") or not ran("after"):
        raise ValueError
    ctx.xcom["told"].push(row)

@make_task(name="failing", upstream=feed, retries=0, fallback=mend)
def failing(ctx):
    if not exists("mended"):
        raise ValueError

@make_task(name="main", upstream=failing, successor=after, retries=0, group=cli)
def main(ctx):
    return "done"
"""
    )
    zrb.run("main", code=1, ZRB_STORE_SESSION="both")
    assert zrb.ran == ["fetch1", "mend", "mend"]
    assert steps_of(zrb, "mend", "both") == {"clean": ["completed"]}
    assert zrb.stored("both").live("mended") == ["row0"]
    zrb.mark("mended")
    zrb.resume("both")
    assert zrb.ran == ["fetch1", "mend", "mend", "fetch2", "after", "after"]
    assert steps_of(zrb, "after", "both") == {"tell": ["completed"]}
    assert zrb.stored("both").live("told") == ["row1"]


@pytest.mark.promise(number=11)
def test_ctrl_c_between_the_end_of_a_step_and_of_its_task(zrb: Zrb) -> None:
    zrb.tasks(
        PAGES
        + """
@make_task(name="main", upstream=feed, retries=2, group=cli)
async def main(ctx):
    row = step("page", fetch, ctx, 1)
    ctx.xcom["outside"].push(row)
    if not exists("mended"):
        await hang("between")
    return row
"""
    )
    done = zrb.start("main", ZRB_STORE_SESSION="end").reaches("between").signal(signal.SIGINT).done()
    assert "`zrb xcom resume end`" in done.err
    assert zrb.stored("end").task("main") == ["interrupted"]
    zrb.mark("mended")
    assert zrb.resume("end").out.strip() == "row0"
    assert zrb.ran == ["fetch1"]
    stored = zrb.stored("end")
    assert stored.fates("outside") == [("row0", "retracted"), ("row0", "live")]
    assert stored.live("pages") == [1]


def test_ctrl_c_amid_a_step(zrb: Zrb) -> None:
    zrb.tasks(
        PAGES
        + """
async def fetch_slowly(ctx):
    row = fetch(ctx, 1)
    if not exists("mended"):
        await hang("amid")
    return row

@make_task(name="main", upstream=feed, retries=2, group=cli)
async def main(ctx):
    return await step("page", fetch_slowly, ctx)
"""
    )
    zrb.start("main", ZRB_STORE_SESSION="end").reaches("amid").signal(signal.SIGINT).done()
    assert steps_of(zrb, "main", "end") == {"page": ["interrupted"]}
    assert zrb.stored("end").live("pages") == []
    zrb.mark("mended")
    assert zrb.resume("end").out.strip() == "row0"
    assert zrb.stored("end").live("pages") == [1]


UNSTORABLE = (
    PAGES
    + """
import threading

def make(ctx):
    ran("make")
    ctx.xcom["locks"].push(threading.Lock())
    return 1

@make_task(name="make", retries=1, retry_period=0)
def main_make(ctx):
    step("lock", make, ctx)
    if not ran("first"):
        raise ValueError

@make_task(name="main", upstream=main_make, retries=0, group=cli)
def main(ctx):
    lock = ctx.xcom["locks"].pop()
    if not exists("mended"):
        raise ValueError
    return type(lock).__name__
"""
)


@pytest.mark.slow
@pytest.mark.newest
@pytest.mark.promise(number=11)
def test_an_unstorable_value_pushed_in_a_step(zrb: Zrb) -> None:
    """The step is not done, and a resume that needs the value runs the task again."""
    zrb.tasks(UNSTORABLE)
    done = zrb.run("main", code=1, ZRB_STORE_SESSION="locks")
    warning, _ = told(done)
    assert warning.startswith("zrb-store: step lock of task make: cannot store $: lock; ")
    assert "kept as its type and repr, and the step runs again in the task's next attempt" in warning
    assert zrb.ran == ["make", "first", "make", "first"]
    assert steps_of(zrb, "make", "locks") == {"lock": ["completed, given back", "completed"]}
    assert [row.state for row in zrb.stored("locks").rows["locks"]] == ["retracted", "taken"]
    shown = zrb.resume("locks", "--plan").out.splitlines()
    assert [" ".join(line.split()) for line in shown[1:]] == ["make run not-restorable", "main run failed"]
    zrb.mark("mended")
    assert zrb.resume("locks").out.strip() == "lock"
    assert zrb.ran[4:] == ["make", "first"]
