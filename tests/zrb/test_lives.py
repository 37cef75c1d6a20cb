"""What can happen to a task: fallbacks, successors, readiness checks, servers, triggers, threads."""

from __future__ import annotations

import signal

import pytest

from tests.zrb.conftest import Zrb, lines, only

pytestmark = pytest.mark.slow


@pytest.mark.promise(number=1)
def test_a_fallback_sees_what_was_left_and_runs_on_every_failure(zrb: Zrb) -> None:
    zrb.tasks(
        """
        feed = Task(name="feed", action=lambda ctx: ctx.xcom["todo"].extend([1, 2]))

        @make_task(name="mend", retries=0)
        def mend(ctx):
            ran(f"mend-sees-{list(ctx.xcom['todo'])}".replace(" ", ""))

        @make_task(name="main", upstream=feed, retries=1, fallback=mend, group=cli)
        def main(ctx):
            ctx.xcom["todo"].push(9)
            taken = ctx.xcom["todo"].pop()
            if not exists("mended"):
                raise ValueError(taken)
            return taken
        """
    )
    zrb.run("main", code=1, ZRB_STORE_SESSION="mend")
    assert zrb.stored("mend").status == "failed"
    zrb.resume("mend", code=1)
    zrb.mark("mended")
    assert zrb.resume("mend").out.strip() == "1"
    assert zrb.ran == ["mend-sees-[2,9]"] * 2
    stored = zrb.stored("mend")
    assert stored.status == "completed"
    assert stored.tasks == {
        "feed": ["completed"],
        "main": ["failed"] * 4 + ["completed"],
        # The first was given back when the fallback ran again.
        "mend": ["completed, given back", "completed"],
    }
    assert stored.live("todo") == [2, 9]


@pytest.mark.promise(number=0)
@pytest.mark.oldest
def test_a_failing_successor_never_leaves_the_session_completed(zrb: Zrb) -> None:
    zrb.tasks(
        """
        @make_task(name="after", retries=0)
        def after(ctx):
            ran("after")
            if not exists("mended"):
                raise ValueError
            return ctx.xcom["main"].peek()

        @make_task(name="main", retries=0, successor=after, group=cli)
        def main(ctx):
            ran("main")
            return "result"
        """
    )
    zrb.run("main", code=1, ZRB_STORE_SESSION="next")
    assert zrb.stored("next").status == "failed"
    zrb.mark("mended")
    assert zrb.resume("next").out.strip() == "result"
    assert zrb.ran == ["main", "after", "after"]
    assert zrb.stored("next").tasks == {"main": ["completed"], "after": ["failed", "completed"]}


SERVER = """
check = Task(name="check", retries=0, action=lambda ctx: ran("check") and False or exists("up") or 1/0)

@make_task(
    name="server", readiness_check=check, readiness_check_delay=0.1, readiness_check_period=0.1,
    monitor_readiness=MONITOR, retries=0,
)
async def server(ctx):
    ran("server")
    mark("up")
    await asyncio.sleep(60)
"""


@pytest.mark.promise(number=2)
@pytest.mark.oldest
def test_servers_and_their_checks_run_again_on_resume(zrb: Zrb) -> None:
    zrb.tasks(
        SERVER.replace("MONITOR", "False")
        + """
@make_task(name="use", upstream=server, retries=0)
def use(ctx):
    ran("use")

@make_task(name="main", upstream=use, retries=0, group=cli)
async def main(ctx):
    ran("main")
    mark("in-main")
    await wait_for("go")
    ctx.session.terminate()  # a server never ends by itself
    return "used"
"""
    )
    zrb.start("main", ZRB_STORE_SESSION="serve").reaches("in-main").signal(signal.SIGKILL).done()
    zrb.mark("go")
    zrb.resume("serve", code=None)
    assert zrb.ran == ["server", "check", "use", "main", "server", "check", "main"]
    stored = zrb.stored("serve")
    assert stored.tasks["check"] == ["completed"]  # one row, with the latest status
    assert stored.tasks["server"] == ["lost", "interrupted"]
    assert stored.tasks["use"] == ["completed"]
    assert stored.tasks["main"] == ["lost", "completed"]
    assert {one.task: one.kind for one in stored.attempts} == {
        "server": "server", "check": "check", "use": "task", "main": "task",
    }  # fmt: skip
    assert stored.rows.get("check", []) == []


@pytest.mark.oldest
def test_monitoring_restarts_a_server_and_keeps_the_database_small(zrb: Zrb) -> None:
    zrb.tasks(
        SERVER.replace("MONITOR", "True")
        + """
@make_task(name="main", upstream=server, retries=0, group=cli)
async def main(ctx):
    while HERE.joinpath("ran").read_text().count("check") < 5:
        await asyncio.sleep(0.02)
    (HERE / "up").unlink()
    await wait_for("up")  # the monitor starts the server again
    count = HERE.joinpath("ran").read_text().count("check")
    while HERE.joinpath("ran").read_text().count("check") < count + 3:
        await asyncio.sleep(0.02)
    ctx.session.terminate()
"""
    )
    zrb.run("main", code=None, ZRB_STORE_SESSION="serve")
    stored = zrb.stored("serve")
    assert zrb.ran.count("server") == 2
    assert zrb.ran.count("check") >= 8
    assert stored.tasks["server"] == ["interrupted", "interrupted"]
    assert len(stored.tasks["check"]) == 1
    assert stored.rows.get("check", []) == []


TRIGGER = """
from zrb import BaseTrigger, Callback, StrInput

@make_task(name="handle", input=StrInput("event", default=""), retries=0)
def handle(ctx):
    ran("handle-" + ctx.input.event)
    ctx.xcom["copy"].push(ctx.input.event)
    return ctx.input.event.upper()

async def fire(ctx):
    for event in ("a", "b"):
        if not exists("fired-" + event):
            mark("fired-" + event)
            ctx.xcom["events"].push(event)
    while sum(exists(f"ran") and name in HERE.joinpath("ran").read_text() for name in ("handle-a", "handle-b")) < 2:
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.2)
    await hang("handled")

def event_of(ctx):
    return {"event": ctx.xcom["events"].pop()}

cli.add_task(BaseTrigger(
    name="watch", action=fire, queue_name="events", retries=0, readiness_check_delay=0,
    callback=Callback(
        task=handle, input_mapping=event_of, xcom_mapping={"copies": "copy"},
        result_queue="results", session_name_queue="children",
    ),
))
"""


@pytest.mark.oldest
def test_triggers_handle_each_event_once(zrb: Zrb) -> None:
    zrb.tasks(TRIGGER)
    zrb.start("watch", ZRB_STORE_SESSION="watch").reaches("handled").signal(signal.SIGKILL).done()
    (zrb.folder / "handled").unlink()
    watch = zrb.stored("watch")
    assert watch.fates("events") == [("a", "taken"), ("b", "taken")]
    assert sorted(watch.live("results")) == ["A", "B"]
    assert sorted(watch.live("copies")) == ["a", "b"]  # for the child, `copy` is this queue
    assert sorted(watch.live("children")) == ["watch.1", "watch.2"]
    children = [record for record in zrb.sessions() if record.parent]
    assert {(one.name, one.parent, one.status) for one in children} == {
        ("watch.1", "watch", "completed"),
        ("watch.2", "watch", "completed"),
    }
    assert {zrb.stored(one.name).live("handle")[0] for one in children} == {"A", "B"}

    zrb.start("xcom", "resume", "watch").reaches("handled").signal(signal.SIGINT).done()
    assert sorted(zrb.ran) == ["handle-a", "handle-b"]
    assert zrb.stored("watch").status == "interrupted"
    assert len(zrb.sessions()) == 3


@only(lambda version: version < (2,) or version >= (3, 28))
@pytest.mark.parametrize("command", ["", "cli.add_task(handle)\n"], ids=["a callback only", "a command too"])
def test_the_session_of_an_event_is_not_resumed(zrb: Zrb, command: str) -> None:
    zrb.tasks(TRIGGER.replace("return ctx.input.event.upper()", "raise ValueError") + command)
    zrb.start("watch", ZRB_STORE_SESSION="watch").reaches("handled").signal(signal.SIGKILL).done()
    (child, *_) = [record.name for record in zrb.sessions() if record.parent]
    assert zrb.stored(child).status == "failed"
    before = zrb.db.read_bytes()
    for more in ([], ["--plan"], ["--from", "handle"]):
        (line,) = lines(zrb.resume(child, *more, code=3).err)
        assert f"session {child} handled an event of session watch, and events are handled once" in line
        assert "push the event again" in line
    assert zrb.db.read_bytes() == before


@pytest.mark.parametrize("kind", ["BaseTrigger", "Watch"])
def test_an_event_from_elsewhere_is_handled_once(zrb: Zrb, kind: str) -> None:
    """What the trigger pushed is retracted with its attempt. A handled event that others pushed must not come back."""
    source = TRIGGER.replace('("handle-a", "handle-b")', '("handle-x", "handle-a")')
    zrb.tasks(source.replace("cli.add_task(BaseTrigger(", f"class Watch(BaseTrigger): pass\n\ncli.add_task({kind}("))
    zrb.run("push", "watch", "events", '"x"', program="zrb-store")
    zrb.start("watch", ZRB_STORE_SESSION="watch").reaches("handled").signal(signal.SIGKILL).done()
    (zrb.folder / "handled").unlink()
    events = zrb.stored("watch").rows["events"]
    assert [(row.state, row.taken_by) for row in events] == [("taken", None), ("taken", None), ("live", None)]
    zrb.start("xcom", "resume", "watch").reaches("handled").signal(signal.SIGINT).done()
    assert zrb.ran == ["handle-x", "handle-a"]


@pytest.mark.oldest
def test_a_scheduler_runs_its_callbacks_as_sessions(zrb: Zrb) -> None:
    zrb.tasks(
        """
        from zrb import Callback, Scheduler

        cli.add_task(Scheduler(
            name="tick", schedule="@minutely", queue_name="ticks", readiness_check_delay=0,
            callback=Callback(task=Task(name="tock", action=lambda ctx: mark("tock")), input_mapping={}),
        ))
        """
    )
    zrb.start("tick", ZRB_STORE_SESSION="tick").reaches("tock").signal(signal.SIGTERM).done()
    stored = zrb.stored("tick")
    assert stored.status == "interrupted"
    assert stored.rows["ticks"][0].type == "datetime"
    assert [record.parent for record in zrb.sessions()] == [None, "tick"]


@pytest.mark.parametrize("thread", ["asyncio.to_thread(work, ctx)", "loop.run_in_executor(None, work, ctx)"])
def test_threads_work_for_the_attempt(zrb: Zrb, thread: str) -> None:
    zrb.tasks(
        f"""
        feed = Task(name="feed", action=lambda ctx: ctx.xcom["todo"].extend([1, 2]))

        def work(ctx):
            ctx.xcom.done.push(ctx.xcom["todo"].pop())
            if not ran("work"):
                raise ValueError
            return list(ctx.xcom["done"])

        @make_task(name="main", upstream=feed, retries=1, group=cli)
        async def main(ctx):
            loop = asyncio.get_running_loop()
            return await {thread}
        """
    )
    assert zrb.run("main").out.strip() == "[1]"
    stored = zrb.stored()
    assert stored.fates("done") == [(1, "retracted"), (1, "live")]
    assert stored.live("todo") == [2]


def test_a_late_thread_of_an_ended_attempt_is_refused(zrb: Zrb) -> None:
    zrb.tasks(
        """
        def late(ctx):
            xcom = ctx.xcom["todo"]
            while not exists("failed"):
                time.sleep(0.01)
            try:
                xcom.pop()
            except Exception as error:
                (HERE / "error").write_text(type(error).__name__)

        @make_task(name="mend", retries=0)
        async def mend(ctx):
            mark("failed")
            await wait_for("error")

        @make_task(name="main", retries=0, fallback=mend, group=cli)
        async def main(ctx):
            ctx.xcom["todo"].push(1)
            asyncio.get_running_loop().run_in_executor(None, late, ctx)
            await asyncio.sleep(0.1)
            raise ValueError
        """
    )
    zrb.run("main", code=1)
    assert (zrb.folder / "error").read_text() == "AttemptClosed"
    assert zrb.stored().live("todo") == [1]
