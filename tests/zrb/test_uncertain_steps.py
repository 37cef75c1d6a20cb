"""A `once` step whose end is unknown ends its task, without a retry, a fallback or a successor."""

from __future__ import annotations

import signal

import pytest

from tests.zrb.conftest import Zrb
from tests.zrb.workflows import steps_of, told

CHARGE = """
from zrb_store import StepUncertain, step

def charge(amount):
    ran("charge")
    if not exists("in-charge"):
        mark("in-charge")
        time.sleep(60)
    return amount

def pay_once():
    return step("charge", charge, 7, once=True)

@make_task(name="mend", retries=0)
def mend(ctx):
    ran("mend")

@make_task(name="after", retries=0)
def after(ctx):
    ran("after")
"""
MAIN = """
@make_task(name="pay", retries=2, retry_period=0, fallback=mend, successor=after)
async def pay(ctx):
    ran("pay")
    CALL
    return "paid"

@make_task(name="main", upstream=pay, retries=0, group=cli)
def main(ctx):
    ran("main")
    return ctx.xcom["pay"].pop()
"""
UNKNOWN = "its end is unknown; its arguments were 7. It is declared `once`: find out whether it happened, then run"
RESUME = "zrb xcom: session shop failed; `zrb xcom resume shop` continues it"


def killed_amid_the_step(zrb: Zrb, source: str) -> None:
    """Run `main` of the session `shop` until its step `charge` hangs, and kill it."""
    zrb.tasks(CHARGE + source)
    zrb.start("main", ZRB_STORE_SESSION="shop").reaches("in-charge").signal(signal.SIGKILL).done()
    (zrb.folder / "ran").unlink()


@pytest.mark.slow
@pytest.mark.promise(number=11)
@pytest.mark.oldest
@pytest.mark.parametrize(
    "call",
    [
        "pay_once()",
        "await asyncio.to_thread(pay_once)",
        "try: pay_once()\n    except StepUncertain as error: raise RuntimeError('wrapped') from error",
        "async with asyncio.TaskGroup() as group: group.create_task(asyncio.to_thread(pay_once))",
    ],
    ids=["plain", "thread", "wrapped", "group"],
)
def test_the_task_ends_without_retry_fallback_and_successor(zrb: Zrb, call: str) -> None:
    killed_amid_the_step(zrb, MAIN.replace("CALL", call))
    for number in (1, 2):
        done = zrb.resume("shop", code=1)
        resume, uncertain = told(done)
        assert resume == RESUME
        assert uncertain.startswith("zrb xcom: step charge of task pay (shop/pay/1#1) began at ")
        assert "then run `zrb xcom mark shop pay --step charge completed --result JSON`" in uncertain
        assert UNKNOWN in uncertain
        assert "Traceback" not in done.err
        stored = zrb.stored("shop")
        assert stored.status == "failed"
        assert stored.tasks == {"pay": ["lost", *["failed"] * number]}
        assert "StepUncertain" in (stored.attempts[-1].error_traceback or "")
        assert "run `zrb xcom mark shop pay --step charge completed" in zrb.run("xcom", "log", "shop").out
        assert zrb.ran == ["pay"] * number
    zrb.run("xcom", "mark", "shop", "pay", "--step", "charge", "completed", "--result", "7")
    assert zrb.resume("shop").out.strip() == "paid"
    assert steps_of(zrb, "pay", "shop") == {"charge": ["lost", "completed"]}
    assert sorted(zrb.ran) == ["after", "main", "pay", "pay", "pay"]


def test_a_task_may_handle_it(zrb: Zrb) -> None:
    killed_amid_the_step(zrb, MAIN.replace("CALL", "try: pay_once()\n    except StepUncertain: ran('handled')"))
    assert zrb.resume("shop").out.strip() == "paid"
    assert zrb.stored("shop").status == "completed"
    assert "handled" in zrb.ran


def test_a_failed_step_has_a_known_end(zrb: Zrb) -> None:
    zrb.tasks(
        CHARGE
        + """
def refuse(amount):
    if ran("refuse") < 2:
        raise ValueError
    return amount

@make_task(name="main", retries=2, retry_period=0, group=cli)
def main(ctx):
    return step("charge", refuse, 7, once=True)
"""
    )
    assert zrb.run("main", ZRB_STORE_SESSION="shop").out.strip() == "7"
    assert steps_of(zrb, "main", "shop") == {"charge": ["failed", "failed", "completed"]}


SERVER = """
@make_task(name="check", retries=0)
async def check(ctx):
    ran("check")
    mark("checking")
    if IN_CHECK:
        pay_once()
    await wait_for("up")

@make_task(name="server", retries=1, retry_period=0, readiness_check=check, readiness_check_delay=0, fallback=mend)
async def server(ctx):
    ran("server")
    if not IN_CHECK:
        await wait_for("checking")
        pay_once()
        mark("up")
    await wait_for("end")

@make_task(name="main", upstream=server, retries=0, group=cli)
def main(ctx):
    ran("main")
    mark("end")
    return "served"
"""


@pytest.mark.slow
@pytest.mark.parametrize("in_check", [False, True], ids=["server", "check"])
def test_a_server_and_its_check(zrb: Zrb, in_check: bool) -> None:
    """Those that wait for a server do not wait for ever."""
    killed_amid_the_step(zrb, f"IN_CHECK = {in_check}" + SERVER)
    (zrb.folder / "checking").unlink()
    done = zrb.resume("shop", code=1)
    resume, uncertain = told(done)
    assert (resume, UNKNOWN in uncertain) == (RESUME, True)
    assert set(zrb.ran) == {"server", "check"}
    assert zrb.ran.count("server") == 1
    stored = zrb.stored("shop")
    assert stored.status == "failed"
    ended = stored.task("check" if in_check else "server")
    assert ended == (["failed"] if in_check else ["lost", "failed"])
    zrb.run("xcom", "mark", "shop", "check" if in_check else "server", "--step", "charge", "failed")
    zrb.mark("up")
    assert zrb.resume("shop").out.strip() == "served"
    assert zrb.stored("shop").status == "completed"


def test_several_tasks_at_once(zrb: Zrb) -> None:
    """Each has its line. What else runs is not stopped by it where zrb waits for it."""
    zrb.tasks(
        CHARGE
        + """
def hang_once(name):
    mark(f"in-{name}")
    time.sleep(60)

def acting(name):
    async def action(ctx):
        await asyncio.to_thread(step, "charge", hang_once, name, once=True)
    return action

both = [Task(name=name, action=acting(name), retries=1, retry_period=0) for name in ("one", "two")]

@make_task(name="main", upstream=both, retries=0, group=cli)
def main(ctx):
    ran("main")
"""
    )
    zrb.start("main", ZRB_STORE_SESSION="shop").reaches("in-one").reaches("in-two").signal(signal.SIGKILL).done()
    found = told(zrb.resume("shop", code=1))
    assert RESUME in found
    named = {word for line in found for word in ("one", "two") if f"step charge of task {word} " in line}
    assert named
    assert len(found) == 1 + len(named)
    assert zrb.ran == []
    assert zrb.stored("shop").status == "failed"


def test_an_uncertain_step_is_raised_in_a_program_of_python(zrb: Zrb) -> None:
    killed_amid_the_step(zrb, MAIN.replace("CALL", "pay_once()"))
    program = zrb.folder / "program.py"
    program.write_text(
        "import zrb_store.plugin\nfrom zrb_init import *\n"
        "try:\n    main.run()\nexcept StepUncertain as error:\n    print(error)\n"
    )
    done = zrb.run(str(program), program="python", ZRB_STORE_SESSION="shop")
    assert UNKNOWN in done.out
    assert zrb.stored("shop").status == "failed"
