"""Steps in coroutines, threads, commands and inner sessions: none writes for another attempt."""

from __future__ import annotations

import pytest

from tests.zrb.conftest import Zrb
from tests.zrb.workflows import PAGES, step_attempts, steps_of

pytestmark = pytest.mark.newest

CONCURRENT = (
    PAGES
    + """
async def fetch_async(ctx, page):
    for _ in range(3):
        await asyncio.sleep(0)
    row = ctx.xcom["todo"].pop()
    await asyncio.sleep(0)
    ran(f"fetch{page}")
    ctx.xcom["pages"].push([page, row])
    return [page, row]

def fetch_in_a_pool(ctx, page):
    # A thread that has no context belongs to no step by itself, so it is given one.
    import contextvars
    from concurrent.futures import ThreadPoolExecutor
    with ThreadPoolExecutor(1) as pool:
        row = pool.submit(contextvars.copy_context().run, ctx.xcom["todo"].pop).result()
    ran(f"fetch{page}")
    ctx.xcom["pages"].push([page, row])
    return [page, row]

@make_task(name="main", upstream=feed, retries=1, retry_period=0, group=cli)
async def main(ctx):
    tries = ran("main")
    calls = [HOW for page in range(4 + 2 * tries)]
    rows = await asyncio.gather(*calls)
    if not tries:
        raise ValueError
    pages = list(ctx.xcom["pages"])
    assert sorted(rows) == sorted(pages), (rows, pages)
    return [len({row for _, row in rows}), [page for page, _ in rows]]
"""
)


@pytest.mark.promise(number=11)
@pytest.mark.parametrize(
    "how",
    [
        "step(f'page {page}', fetch_async, ctx, page)",
        "asyncio.to_thread(step, f'page {page}', fetch_in_a_pool, ctx, page)",
    ],
    ids=["coroutines", "threads"],
)
def test_concurrent_steps_keep_their_own_results(zrb: Zrb, how: str) -> None:
    zrb.tasks(CONCURRENT.replace("HOW", how))
    assert zrb.run("main").out.strip() == "[6, [0, 1, 2, 3, 4, 5]]"
    assert sorted(zrb.ran) == [*(f"fetch{n}" for n in range(6)), "main", "main"]
    # Each step took one value and pushed one.
    stored = zrb.stored()
    pushers = {row.pushed_by for row in stored.rows["pages"]}
    takers = {row.taken_by for row in stored.rows["todo"] if row.taken_by}
    assert pushers == takers == {one.id for one in step_attempts(zrb, "main")}


def test_one_of_several_gathered_steps_fails(zrb: Zrb) -> None:
    """The others are cancelled with the task, and only the one that had completed stands."""
    zrb.tasks(
        PAGES
        + """
async def work(ctx, name):
    ran(name)
    ctx.xcom["pages"].push(name)
    if name == "fails" and not exists("mended"):
        await asyncio.sleep(0.05)
        raise ValueError
    if name == "hangs" and not exists("mended"):
        await asyncio.sleep(60)
    return name

@make_task(name="main", retries=0, group=cli)
async def main(ctx):
    return await asyncio.gather(*(step(name, work, ctx, name) for name in ("quick", "hangs", "fails")))
"""
    )
    zrb.run("main", code=1, ZRB_STORE_SESSION="three")
    assert steps_of(zrb, "main", "three") == {
        "quick": ["completed"],
        "hangs": ["interrupted"],
        "fails": ["failed"],
    }
    assert zrb.stored("three").live("pages") == ["quick"]
    zrb.mark("mended")
    assert zrb.resume("three").out.strip() == "['quick', 'hangs', 'fails']"
    assert zrb.ran.count("quick") == 1


@pytest.mark.promise(number=11)
def test_a_step_in_a_thread_that_outlives_its_attempt(zrb: Zrb) -> None:
    """It writes for the attempt that started it, which has ended, not for the task's next one."""
    zrb.tasks(
        PAGES
        + """
import threading
from zrb_store import AttemptClosed

left = []

def slow(ctx):
    ctx.xcom["pages"].push("early")
    mark("begun")
    while not exists("second"):
        time.sleep(0.02)
    try:
        ctx.xcom["pages"].push("late")
    except AttemptClosed as error:
        mark("refused")
        raise

def late_step(ctx):
    while not exists("refused"):
        time.sleep(0.02)
    try:
        step("later", fetch, ctx, 9)
    except AttemptClosed as error:
        mark("refused-later")

@make_task(name="main", upstream=feed, retries=1, retry_period=0, group=cli)
async def main(ctx):
    if ran("main"):
        mark("second")
        await wait_for("refused")
        await wait_for("refused-later")
        assert "AttemptClosed" in str(await asyncio.gather(*left, return_exceptions=True))
        return step("page", fetch, ctx, 1)
    left.append(asyncio.ensure_future(asyncio.to_thread(step, "slow", slow, ctx)))
    left.append(asyncio.ensure_future(asyncio.to_thread(late_step, ctx)))
    await wait_for("begun")
    raise ValueError
"""
    )
    assert zrb.run("main", ZRB_STORE_SESSION="left").out.strip() == "row0"
    assert steps_of(zrb, "main", "left") == {"slow": ["interrupted"], "page": ["completed"]}
    assert zrb.stored("left").fates("pages") == [("early", "retracted"), (1, "live")]
    assert zrb.ran == ["main", "main", "fetch1"]


@pytest.mark.promise(number=11)
def test_a_thread_without_a_context(zrb: Zrb) -> None:
    zrb.tasks(
        PAGES
        + """
async def in_executor(ctx, call, *args):
    return await asyncio.get_running_loop().run_in_executor(None, call, *args)

@make_task(name="main", upstream=feed, retries=0, group=cli)
async def main(ctx):
    row = await step("only", in_executor, ctx, fetch, ctx, 1)
    await in_executor(ctx, ctx.xcom["outside"].push, 2)
    both = asyncio.gather(*(step(name, in_executor, ctx, wait_and_push, ctx) for name in ("one", "two")))
    while len(list(HERE.glob("waiting*"))) < 2:
        await asyncio.sleep(0.02)
    mark("go")
    try:
        await both
    except Exception as error:
        ctx.xcom["refused"].push(str(error))
    return row

def wait_and_push(ctx):
    import threading
    mark(f"waiting{threading.get_ident()}")
    while not exists("go"):
        time.sleep(0.02)
    ctx.xcom["outside"].push("whose?")
"""
    )
    assert zrb.run("main", ZRB_STORE_SESSION="threads").out.strip() == "row0"
    stored = zrb.stored("threads")
    names = {one.id: one.name for one in [*stored.attempts, *step_attempts(zrb, "main", "threads")]}
    assert names[stored.rows["pages"][0].pushed_by or 0] == "main/1#1"
    assert [names[row.pushed_by or 0] for row in stored.rows["outside"] if row.state == "live"] == ["main#1"]
    (refusal,) = stored.live("refused")
    assert "several steps of threads/main#1 are open (one, two)" in refusal


SCRIPT = """
import sys
from zrb_store import ZrbStoreError, step

try:
    step("page", int)
except ZrbStoreError as error:
    sys.exit(f"refused: {error}")
"""


@pytest.mark.slow
def test_steps_and_the_commands_of_a_task(zrb: Zrb) -> None:
    """A command belongs to the attempt or to the step whose token it has, and cannot begin steps itself."""
    (zrb.folder / "script.py").write_text(SCRIPT)
    zrb.tasks(
        PAGES
        + """
import subprocess
from zrb_store.xcom import current_attempt

script = CmdTask(name="script", cmd="python script.py 2>&1 | grep refused", retries=0)

def shell(token):
    environ = {**os.environ, "ZRB_STORE_ATTEMPT": token}
    subprocess.run(["zrb-store", "push", "@this", "pages", '"by a command"'], env=environ, check=True)

def by_command(fails):
    token = current_attempt.get().token
    shell(token)
    if fails:
        raise ValueError
    return token

@make_task(name="main", upstream=script, retries=1, retry_period=0, group=cli)
def main(ctx):
    token = step("command", by_command, not ran("main"))
    shell(ctx.env["ZRB_STORE_ATTEMPT"])
    return [token, ctx.xcom["script"].pop().output]
"""
    )
    out = zrb.run("main", ZRB_STORE_SESSION="commands").out.strip()
    assert out.startswith("['commands/main/1#2@1', \"refused: step page is not inside an attempt: call it in")
    stored = zrb.stored("commands")
    assert [state for _, state in stored.fates("pages")] == ["retracted", "live", "live"]
    names = {one.id: one.name for one in [*stored.attempts, *step_attempts(zrb, "main", "commands")]}
    assert [names[row.pushed_by or 0] for row in stored.rows["pages"]] == ["main/1#1", "main/1#2", "main#2"]


def test_a_session_inside_a_step_has_it_as_parent(zrb: Zrb) -> None:
    zrb.tasks(
        PAGES
        + """
@make_task(name="inner", retries=0)
def inner(ctx):
    return step("page", int, "7")

@make_task(name="main", retries=0, group=cli)
async def main(ctx):
    return await step("inner", asyncio.to_thread, inner.run)
"""
    )
    assert zrb.run("main", ZRB_STORE_SESSION="outer").out.strip() == "7"
    outer, inner = zrb.sessions()
    assert (outer.name, inner.parent) == ("outer", "outer/main/1#1")
    assert steps_of(zrb, "inner", inner.name) == {"page": ["completed"]}
