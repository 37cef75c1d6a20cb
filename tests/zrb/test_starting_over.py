"""Steps that a task loses because it starts over, what a plan says of them, and steps that the store refuses."""

from __future__ import annotations

import signal

import pytest

from tests.support.sessions import parse
from tests.zrb.conftest import Zrb, lines
from tests.zrb.workflows import steps_of, taken_over, told

CHAIN = """
from zrb_store import open_store, step

def work(ctx, name):
    ran(name)
    ctx.xcom["log"].push(name)
    return name

@make_task(name="first", retries=0)
def first(ctx):
    return [step(f"first{n}", work, ctx, f"first{n}") for n in range(2)]

@make_task(name="second", upstream=first, retries=0)
def second(ctx):
    return step("charge", work, ctx, "charge", once=ONCE)

@make_task(name="main", upstream=second, retries=0, group=cli)
def main(ctx):
    found = [step(f"main{n}", work, ctx, f"main{n}") for n in range(3)]
    if not exists("mended"):
        raise ValueError
    return found
"""
ALL = ["first0", "first1", "charge", "main0", "main1", "main2"]


def planned(zrb: Zrb, *args: str) -> list[str]:
    """Return the lines of `resume --plan`, and check that its JSON says the same."""
    rows = [" ".join(line.split()) for line in zrb.resume(*args, "--plan").out.splitlines()[1:]]
    shown = parse("plan", zrb.resume(*args, "--plan", "--format", "json").out)
    for row, task in zip(rows, shown["tasks"], strict=True):
        count = task["steps"] if task["action"] == "run" else 0
        assert ("kept" in row) == bool(count)
        assert f"{task['reason']}, {count} step" in row or not count
    return rows


@pytest.mark.slow
@pytest.mark.newest
@pytest.mark.promise(number=11)
def test_from_takes_the_steps_of_the_task_and_of_all_downstream(zrb: Zrb) -> None:
    zrb.tasks(CHAIN.replace("ONCE", "False"))
    zrb.run("main", code=1, ZRB_STORE_SESSION="chain")
    assert planned(zrb, "chain") == ["first skip completed", "second skip completed", "main run failed, 3 steps kept"]
    assert planned(zrb, "chain", "--from", "second") == [
        "first skip completed",
        "second run forced",
        "main run downstream-of:second",
    ]
    zrb.mark("mended")
    zrb.resume("chain")
    assert zrb.ran == ALL
    zrb.resume("chain", "--from", "second")
    assert zrb.ran == [*ALL, *ALL[2:]]
    stored = zrb.stored("chain")
    assert stored.live("log") == ALL
    twice = ["completed, given back", "completed"]
    assert steps_of(zrb, "first", "chain") == {"first0": ["completed"], "first1": ["completed"]}
    assert steps_of(zrb, "second", "chain") == {"charge": twice}
    assert steps_of(zrb, "main", "chain") == {"main0": twice, "main1": twice, "main2": twice}
    zrb.run("doctor", program="zrb-store")


@pytest.mark.slow
@pytest.mark.newest
@pytest.mark.promise(number=11)
def test_a_completed_once_step_is_repeated_only_if_a_person_says_so(zrb: Zrb) -> None:
    zrb.tasks(CHAIN.replace("ONCE", "True"))
    zrb.run("main", code=1, ZRB_STORE_SESSION="chain")
    before = zrb.db.read_bytes()
    for more in ([], ["--plan"]):
        (line,) = lines(zrb.resume("chain", "--from", "first", *more, code=2).err)
        assert "step charge (chain/second/1) has completed and is declared `once`, and would run again" in line
        assert "add --repeat-once to allow it" in line
        assert "--repeat-once is for --from" in zrb.resume("chain", "--repeat-once", *more, code=2).err
    assert zrb.db.read_bytes() == before
    zrb.mark("mended")
    assert planned(zrb, "chain", "--from", "main")[-1] == "main run forced"
    assert planned(zrb, "chain", "--from", "first", "--repeat-once")[1] == "second run downstream-of:first"
    assert zrb.resume("chain", "--from", "first", "--repeat-once").out.strip() == "['main0', 'main1', 'main2']"
    assert zrb.ran == [*ALL, *ALL]
    assert steps_of(zrb, "second", "chain") == {"charge": ["completed, given back", "completed"]}
    zrb.resume("chain", "--from", "second", "--plan", code=2)  # the new one is `once` again


@pytest.mark.slow
@pytest.mark.newest
def test_a_plan_does_not_count_steps_that_come_back_with_their_attempt(zrb: Zrb) -> None:
    zrb.tasks(
        CHAIN.replace("ONCE", "False").replace(
            "    if not exists",
            """
    with open_store() as store:
        store.session("inbox").xcom["files"].pop()
    ctx.xcom["own"].push("of the attempt")
    step("after-the-take", work, ctx, "after-the-take")
    step("takes", ctx.xcom["own"].pop)
    if not exists("in-main"):
        mark("in-main")
        time.sleep(60)
    if not exists""",
        )
    )
    for _ in range(3):
        zrb.run("push", "inbox", "files", "1", program="zrb-store")
    zrb.start("main", ZRB_STORE_SESSION="chain").reaches("in-main").signal(signal.SIGKILL).done()
    assert planned(zrb, "chain")[-1] == "main run lost, 3 steps kept"
    zrb.resume("chain", code=1)
    assert zrb.ran == [*ALL, "after-the-take", "after-the-take"]
    assert planned(zrb, "chain")[-1] == "main run failed, 3 steps kept"


@pytest.mark.newest
def test_a_task_whose_result_cannot_be_restored_keeps_its_steps(zrb: Zrb) -> None:
    zrb.tasks(
        "import threading\n"
        + CHAIN.replace('return step("charge"', 'step("charge"').replace(
            "once=ONCE)", "once=True)\n    return threading.Lock()"
        )
    )
    zrb.run("main", code=1, ZRB_STORE_SESSION="chain")
    assert planned(zrb, "chain") == [
        "first skip completed",
        "second run not-restorable, 1 step kept",
        "main run failed, 3 steps kept",
    ]
    zrb.mark("mended")
    zrb.resume("chain")
    assert zrb.ran == ALL


SERVER = """
from zrb_store import step

def count(name):
    return ran(name) + 1

@make_task(name="check", retries=0)
def check(ctx):
    step("ping", count, "ping")

@make_task(name="server", readiness_check=check, readiness_check_delay=0, retries=0)
async def server(ctx):
    ctx.xcom["starts"].push(step("launch", count, "launch", once=ONCE))
    if not SERVES:
        return
    await asyncio.sleep(60)

@make_task(name="main", upstream=server, retries=0, group=cli)
async def main(ctx):
    while not len(ctx.xcom["starts"]):
        await asyncio.sleep(0.02)
    if not exists("mended"):
        raise ValueError
    ctx.session.terminate()
    return "served"
"""


def server(zrb: Zrb, *, serves: bool, once: bool = False) -> None:
    """Let `main` of the session `serve` fail while or after the server runs."""
    zrb.tasks(SERVER.replace("SERVES", str(serves)).replace("ONCE", str(once)))
    zrb.run("main", code=1, ZRB_STORE_SESSION="serve")
    zrb.mark("mended")


@pytest.mark.promise(number=11)
def test_a_check_and_a_completed_server_start_over(zrb: Zrb) -> None:
    server(zrb, serves=False)
    assert planned(zrb, "serve") == ["server run readiness", "check run readiness", "main run failed"]
    zrb.resume("serve", code=None)
    assert sorted(zrb.ran) == ["launch", "launch", "ping", "ping"]
    assert zrb.stored("serve").live("starts") == [2]
    twice = ["completed, given back", "completed"]
    assert steps_of(zrb, "server", "serve") == {"launch": twice}
    assert steps_of(zrb, "check", "serve") == {"ping": twice}


@pytest.mark.slow
def test_a_server_that_had_not_completed_keeps_its_steps(zrb: Zrb) -> None:
    server(zrb, serves=True)
    assert zrb.stored("serve").task("server") == ["interrupted"]
    assert planned(zrb, "serve")[0] == "server run readiness, 1 step kept"
    zrb.resume("serve", code=None)
    assert sorted(zrb.ran) == ["launch", "ping", "ping"]


def test_a_completed_once_step_of_a_server_that_starts_over_is_uncertain(zrb: Zrb) -> None:
    server(zrb, serves=False, once=True)
    done = zrb.resume("serve", code=1)
    (line,) = [line for line in told(done) if "step launch of task server" in line]
    assert "completed, and was given back; its arguments were" in line
    assert zrb.ran.count("launch") == 1
    assert zrb.stored("serve").task("server") == ["completed, given back", "failed"]


REFUSED = """
from zrb_store import step
from zrb_store.runtime import lease
lease._renewal.interval = 30.0

def wait(*_):
    mark("in-step")
    while not exists("taken"):
        time.sleep(0.02)

@make_task(name="mend", retries=0)
def mend(ctx):
    ran("mend")

@make_task(name="after", retries=0)
def after(ctx):
    ran("after")

@make_task(name="main", retries=2, retry_period=0, fallback=mend, successor=after, group=cli)
async def main(ctx):
    ran("main")
    step("before", int)
    try:
        CALL
    except Exception as error:
        ran(type(error).__name__)
    return "swallowed"
"""


@pytest.mark.oldest
@pytest.mark.parametrize(
    "call",
    [
        "step('page', wait)",
        "await asyncio.to_thread(step, 'page', wait)",
        "wait(); step('page', int)",
        "wait(); step('page', wait, once=True)",
    ],
    ids=["end", "end in a thread", "begin", "begin once"],
)
def test_a_lost_lease_ends_the_run_although_the_task_swallows_it(zrb: Zrb, call: str) -> None:
    zrb.tasks(REFUSED.replace("CALL", call))
    running = zrb.start("main", ZRB_STORE_SESSION="end").reaches("in-step")
    with taken_over(zrb, running) as done:
        assert done.code == 75
        (line,) = told(done)
        assert "taken over" in line
        assert zrb.ran[:1] == ["main"]
        assert zrb.ran[1:] in (["LeaseLost"], [])  # while a thread works, the task itself is cancelled


def test_a_store_that_goes_away_ends_the_run_although_the_task_swallows_it(zrb: Zrb) -> None:
    zrb.tasks(REFUSED.replace("CALL", "wait(); step('page', int)"))
    running = zrb.start("main").reaches("in-step")
    for file in zrb.db.parent.glob("store.db*"):
        file.write_bytes(b"this is no database " * 10_000)
    zrb.mark("taken")
    done = running.done()
    assert done.code == 69
    (line,) = [line for line in told(done) if "could not be renewed" not in line]  # the lease's thread may notice first
    assert str(zrb.db) in line
    assert zrb.ran == ["main", "StoreUnavailable"]
