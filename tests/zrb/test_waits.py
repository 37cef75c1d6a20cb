"""A zrb session waits without a process (guarantees.md, promise 18)."""

from __future__ import annotations

import signal

import pytest

from tests.zrb.conftest import Zrb
from tests.zrb.workflows import steps_of, told

pytestmark = [pytest.mark.promise(number=18)]

SHOP = """
from zrb_store import Waiting, step, wait

def ask():
    try:
        return wait("approve", timeout="2d", say="Refund 120?")
    finally:
        mark("asked")

@make_task(name="mend", retries=0)
def mend(ctx):
    ran("mend")

@make_task(name="after", retries=0)
def after(ctx):
    ran("after")

@make_task(name="plan", retries=0)
def plan(ctx):
    ran("plan")
    return 120

@make_task(name="refund", upstream=plan, retries=2, retry_period=0, fallback=mend, successor=after)
async def refund(ctx):
    ran("refund")
    amount = ctx.xcom["plan"].pop()
    step("prepare", ran, "prepare")
    CALL
    return f"{answer} {amount}"

@make_task(name="other", retries=0)
async def other(ctx):
    await wait_for("asked")
    OTHER
    ran("other")

@make_task(name="main", upstream=[refund, other], retries=0, group=cli)
def main(ctx):
    ran("main")
    return ctx.xcom["refund"].pop()
"""
QUESTION = """session shop waits for approve, 2 d left: Refund 120?; `zrb xcom push shop approve '"yes"'` answers"""
CALLS = {
    "plain": "answer = ask()",
    "await": "answer = await wait('approve', timeout='2d', say='Refund 120?') if not mark('asked') else 0",
    "thread": "answer = await asyncio.to_thread(ask)",
    "caught": "try: answer = ask()\n    except Waiting: answer = 'swallowed'",
    "group": "async with asyncio.TaskGroup() as group: asked = group.create_task(asyncio.to_thread(ask))\n"
    "    answer = asked.result()",
}


def tasks(zrb: Zrb, call: str = CALLS["plain"], other: str = "pass") -> None:
    zrb.tasks(SHOP.replace("CALL", call).replace("OTHER", other))


@pytest.mark.slow
@pytest.mark.oldest
@pytest.mark.parametrize("call", CALLS)
def test_it_parks_and_continues(zrb: Zrb, call: str) -> None:
    others_continue = zrb.version >= (2, 69)
    tasks(zrb, CALLS[call], "pass" if others_continue else "if not exists('answered'): await hang('hanging')")
    first = zrb.run("main", code=75, ZRB_STORE_SESSION="shop")
    assert told(first)[-1] == f"zrb-store: {QUESTION}"
    assert "Traceback" not in first.err
    stored = zrb.stored("shop")
    other = "completed" if others_continue else "interrupted"
    assert stored.tasks == {"plan": ["completed"], "refund": ["waiting"], "other": [other]}
    assert stored.status == "waiting"
    assert sorted(zrb.ran) == sorted(["plan", "refund", "prepare", *["other"] * others_continue])
    again = zrb.run("main", code=75, ZRB_STORE_SESSION="shop")
    assert told(again) == [f"zrb-store: {QUESTION}"]
    assert zrb.run("xcom", "resume", "--ready").out == ""
    assert zrb.stored("shop").record.fence == 1
    zrb.run("xcom", "push", "shop", "approve", '"yes"')
    zrb.mark("answered")
    assert zrb.run("xcom", "resume", "--ready").out == "shop: completed\n"
    assert zrb.run("main", ZRB_STORE_SESSION="shop").out.strip() == "yes 120"
    assert steps_of(zrb, "refund", "shop") == {"prepare": ["completed"], "wait approve": ["waiting", "completed"]}
    assert sorted(zrb.ran) == ["after", "main", "other", "plan", "prepare", "refund", "refund"]


@pytest.mark.slow
@pytest.mark.newest
def test_a_session_that_is_killed_as_it_continues(zrb: Zrb) -> None:
    tasks(zrb, "answer = ask()\n    os.kill(os.getpid(), 9)")
    zrb.run("main", code=75, ZRB_STORE_SESSION="shop")
    zrb.run("xcom", "push", "shop", "approve", '"yes"')
    said = zrb.run("xcom", "resume", "--ready", code=1).out
    assert said == "shop: its process has died; `zrb xcom resume shop` continues it\n"


@pytest.mark.newest
def test_an_answer_that_is_there_before_does_not_park(zrb: Zrb) -> None:
    tasks(zrb)
    zrb.run("xcom", "push", "shop", "approve", '"yes"')
    assert zrb.run("main", ZRB_STORE_SESSION="shop").out.strip() == "yes 120"


def test_a_task_failed_too(zrb: Zrb) -> None:
    call = "await wait_for('failed')\n    answer = ask()"  # zrb before 2.69 interrupts what has not failed yet
    tasks(zrb, call, "if not exists('mended'): mark('failed'); raise ValueError")
    zrb.mark("asked")
    failed = zrb.run("main", code=1, ZRB_STORE_SESSION="shop")
    assert "session shop failed; `zrb xcom resume shop` continues it" in failed.err
    assert zrb.stored("shop").status == "failed"
    (zrb.folder / "mended").touch()
    zrb.resume("shop", code=75)
    assert zrb.stored("shop").status == "waiting"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_it_parks_interrupts(zrb: Zrb, number: signal.Signals) -> None:
    tasks(zrb, other="await hang('hanging')")
    process = zrb.start("main", ZRB_STORE_SESSION="shop")
    if zrb.version >= (2, 69):
        process.reaches("hanging").signal(number).done()
        assert zrb.stored("shop").status == "interrupted"
    else:
        process.done()  # the task that hangs was interrupted
    zrb.run("xcom", "push", "shop", "approve", '"yes"')
    tasks(zrb)
    assert zrb.resume("shop").out.strip() == "yes 120"


@pytest.mark.newest
def test_a_resume_from_a_task_asks_again(zrb: Zrb) -> None:
    tasks(zrb)
    zrb.run("xcom", "push", "shop", "approve", '"yes"')
    zrb.run("main", ZRB_STORE_SESSION="shop")
    asked = zrb.run("xcom", "resume", "shop", "--from", "refund", code=75)
    assert told(asked)[-1] == f"zrb xcom: {QUESTION}"
    plan = zrb.run("xcom", "resume", "shop", "--plan").out
    assert "refund  run     waiting" in plan
