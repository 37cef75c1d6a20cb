"""However a run ends, its session has the right status, zrb its own exit code, and a resume continues."""

from __future__ import annotations

import signal
import sqlite3
import time
from contextlib import closing

import pytest

from tests.zrb.conftest import Zrb, lines, only
from tests.zrb.workflows import taken_over

pytestmark = pytest.mark.slow

STEPS = """
@make_task(name="first", retries=0)
def first(ctx):
    ran("first")
    return [1]

@make_task(name="mend", retries=0)
def mend(ctx):
    ran("mend")

@make_task(name="after", retries=0)
def after(ctx):
    ran("after")

@make_task(name="main", upstream=first, retries=2, fallback=mend, successor=after, group=cli)
async def main(ctx):
    ran("main")
    value = ctx.xcom["first"].pop()
    if not exists("mended"):
        STOP
    return value
"""


def steps(zrb: Zrb, stop: str) -> None:
    zrb.tasks(STEPS.replace("STOP", stop))


def check_resume(zrb: Zrb, *, status: str, runs: int = 1) -> None:
    """Check that the session `end` has this status, and that a resume continues where it ended."""
    assert zrb.stored("end").status == status
    zrb.mark("mended")
    assert zrb.resume("end").out.strip() == "[1]"
    assert zrb.stored("end").status == "completed"
    assert zrb.ran == ["first", *["main"] * (runs + 1), "after"]


@pytest.mark.promise(number=0)
@pytest.mark.oldest
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_interrupts_the_session_with_zrbs_exit_code(zrb: Zrb, number: signal.Signals) -> None:
    steps(zrb, "await hang('in-main')")
    stock = zrb.start("main", ZRB_INIT_MODULES=None).reaches("in-main").signal(number).done()
    for name in ("in-main", "ran"):
        (zrb.folder / name).unlink()
    done = zrb.start("main", ZRB_STORE_SESSION="end").reaches("in-main").signal(number).done()
    assert done.code == stock.code
    assert "zrb-store: session end was interrupted; `zrb xcom resume end` continues it" in done.err
    assert zrb.stored("end").tasks == {"first": ["completed"], "main": ["interrupted"]}
    check_resume(zrb, status="interrupted")


@pytest.mark.newest
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_while_another_program_keeps_the_store_locked(zrb: Zrb, number: signal.Signals) -> None:
    """The process waits a few seconds more for the store. Then it ends as it does on stock zrb, and can be resumed."""
    steps(zrb, "await hang('in-main')")
    stock = zrb.start("main", ZRB_INIT_MODULES=None).reaches("in-main").signal(number).done()
    for name in ("in-main", "ran"):
        (zrb.folder / name).unlink()
    steps(
        zrb,
        "from zrb_store.db.engine import Database; Database.timeout = 600; mark('in-main'); await wait_for('locked'); "
        "mark('pushing'); ctx.xcom['seen'].push(1)",
    )
    running = zrb.start("main", ZRB_STORE_SESSION="end").reaches("in-main")
    with closing(sqlite3.connect(zrb.db, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        zrb.mark("locked")
        running.reaches("pushing")
        began = time.monotonic()
        done = running.signal(number).done()
        assert time.monotonic() - began < 300, "it waits for the store as long as an operation does"
        other.execute("ROLLBACK")
    assert done.code == stock.code
    check_resume(zrb, status="stale")


@pytest.mark.oldest
@only(lambda version: version < (3, 14))  # later releases wait for the task themselves
def test_sigterm_while_a_task_blocks_the_event_loop(zrb: Zrb) -> None:
    steps(zrb, "mark('in-main'); ends = time.monotonic() + 60\n        while time.monotonic() < ends: time.sleep(0.01)")
    done = zrb.start("main", ZRB_STORE_SESSION="end").reaches("in-main").signal(signal.SIGTERM).done()
    assert done.code in (-signal.SIGTERM, 128 + signal.SIGTERM)
    check_resume(zrb, status="interrupted")


@pytest.mark.oldest
def test_a_signal_when_the_task_has_ended_and_its_successor_has_not_begun(zrb: Zrb) -> None:
    """Python hears of a signal when the main thread runs again: after a long query, the task completes nevertheless."""
    steps(
        zrb,
        "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM}); mark('in-main')\n"
        "        while not exists('signalled'): time.sleep(0.01)\n"
        "        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})",
    )
    running = zrb.start("main", ZRB_STORE_SESSION="end").reaches("in-main").signal(signal.SIGTERM)
    zrb.mark("signalled")
    running.done()
    assert zrb.stored("end").tasks == {"first": ["completed"], "main": ["completed"]}
    assert zrb.stored("end").status == "interrupted"
    assert zrb.resume("end").out.strip() == "[1]"
    assert zrb.ran == ["first", "main", "after"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP])
def test_a_kill_and_a_closed_terminal(zrb: Zrb, number: signal.Signals) -> None:
    steps(zrb, "await hang('in-main')")
    done = zrb.start("main", ZRB_STORE_SESSION="end").reaches("in-main").signal(number).done()
    assert done.code == -number
    check_resume(zrb, status="stale")


@pytest.mark.newest
def test_a_command_under_way(zrb: Zrb) -> None:
    zrb.tasks(
        """
        cli.add_task(CmdTask(
            name="main", retries=2,
            cmd="test -e mended && exec echo done; touch in-main; exec sleep 60",
        ))
        """
    )
    zrb.start("main", ZRB_STORE_SESSION="end").reaches("in-main").signal(signal.SIGINT).done()
    assert zrb.stored("end").status == "interrupted"
    zrb.mark("mended")
    assert zrb.resume("end").out.strip() == "done"
    assert zrb.stored("end").tasks == {"main": ["interrupted", "completed"]}


@pytest.mark.oldest
@pytest.mark.parametrize("code", [0, 4])
def test_sys_exit_in_a_task(zrb: Zrb, code: int) -> None:
    zrb.tasks(
        f"""
        @make_task(name="main", retries=0, group=cli)
        def main(ctx):
            if not exists("mended"):
                sys.exit({code})
            return "done"
        """
    )
    assert zrb.run("main", code=code, ZRB_INIT_MODULES=None).out == ""
    zrb.run("main", code=code, ZRB_STORE_SESSION="end")
    assert zrb.stored("end").status == "failed"
    assert zrb.stored("end").attempts[0].error_type == "SystemExit"
    zrb.mark("mended")
    assert zrb.resume("end").out.strip() == "done"


@pytest.mark.oldest
@only(lambda version: version < (3, 14))  # later releases do not retry it
def test_sys_exit_that_zrb_retries(zrb: Zrb) -> None:
    zrb.tasks(
        """
        @make_task(name="main", retries=1, group=cli)
        def main(ctx):
            return "done" if ran("main") else sys.exit(4)
        """
    )
    assert zrb.run("main").out.strip() == "done"
    assert zrb.stored().status == "completed"
    assert zrb.stored().tasks == {"main": ["failed", "completed"]}


@pytest.mark.oldest
def test_an_exception_in_the_engine(zrb: Zrb) -> None:
    steps(zrb, "await asyncio.sleep(0)")
    with (zrb.folder / "zrb_init.py").open("a") as file:
        file.write(
            "\ndef condition(ctx):\n    return exists('mended') or 1 / 0\n\nmain._execute_condition = condition\n"
        )
    assert zrb.run("main", code=1, ZRB_STORE_SESSION="end").out == ""
    check_resume(zrb, status="failed", runs=0)


TAKE_OVER = "mark('in-main'); await wait_for('taken')\n        ACTION"


@pytest.mark.promise(number=5)
@pytest.mark.oldest
@pytest.mark.parametrize(
    "action",
    [
        "ctx.xcom['seen'].push(1)",
        "return 'too late'",
        "raise ValueError",
        "await asyncio.to_thread(ctx.xcom['q'].push, 1)",
        "await asyncio.sleep(60)  # the renewal of the lease finds out",
    ],
)
def test_a_lost_lease_ends_the_run(zrb: Zrb, action: str) -> None:
    """No retry, fallback or successor starts any more, and nothing changes."""
    steps(zrb, TAKE_OVER.replace("ACTION", action))
    with (zrb.folder / "zrb_init.py").open("a") as file:
        file.write("\nfrom zrb_store.runtime import lease\nlease._renewal.interval = 0.5\n")
    running = zrb.start("main", ZRB_STORE_SESSION="end").reaches("in-main")
    with taken_over(zrb, running) as done:
        assert done.code == 75
        (line,) = [line for line in lines(done.err) if line.startswith("zrb-store:")]
        assert "taken over" in line
        assert zrb.ran == ["first", "main"]
        assert zrb.stored("end").tasks == {"first": ["completed"], "main": ["lost"]}
        assert zrb.stored("end").live("seen") == []
    check_resume(zrb, status="failed")


@pytest.mark.newest
def test_a_process_that_outlives_a_failure_of_its_store_gives_up_the_lease(zrb: Zrb) -> None:
    """A web server is such a process."""
    zrb.tasks(
        """
        import zrb_store.plugin
        import zrb_store.testing
        from zrb_store import StoreUnavailable, open_store
        from zrb_store.attempt import Attempt

        def unreachable(*_, **__):
            raise StoreUnavailable("gone for a moment")

        @make_task(name="main", retries=0, group=cli)
        def main(ctx):
            ran("main")
            return "done"

        if __name__ == "__main__":
            Attempt.complete = unreachable
            try:
                main.run()
            except BaseException as error:
                print(type(error).__name__)
            with open_store(read_only=True) as store:
                while store.session("end").status != "stale":
                    time.sleep(0.05)
            print("anybody may resume")
        """
    )
    done = zrb.run("zrb_init.py", program="python", ZRB_STORE_SESSION="end", ZRB_STORE_TESTING="lease=1")
    assert done.out.splitlines() == ["StoreUnavailable", "anybody may resume"]


@pytest.mark.promise(number=5)
@pytest.mark.oldest
def test_a_store_that_goes_away_ends_the_run(zrb: Zrb) -> None:
    steps(zrb, "mark('in-main'); await wait_for('gone'); ctx.xcom['seen'].push(1)")
    running = zrb.start("main").reaches("in-main")
    for file in zrb.db.parent.glob("store.db*"):
        file.write_bytes(b"this is no database " * 10_000)
    zrb.mark("gone")
    done = running.done()
    assert done.code == 69
    said = [line for line in lines(done.err) if line.startswith("zrb-store:")]
    (line,) = [line for line in said if "could not be renewed" not in line]  # the lease's thread may notice first
    assert str(zrb.db) in line
    assert zrb.ran == ["first", "main"]


INTERRUPTED = """
from zrb_store.db import transaction
from zrb_store.plugin import attempts, recorder

def once(owner, name):
    stock = getattr(owner, name)
    def interrupted(*args):
        made = stock(*args)
        if not ran("interrupt"):
            raise MemoryError("amid the beginning of an attempt")
        return made
    setattr(owner, name, interrupted)

def at(point):
    if point == "begin:after" and not ran("interrupt"):
        raise MemoryError("amid the beginning of an attempt")

@make_task(name="first", retries=0)
def first(ctx):
    ctx.xcom["todo"].push(1)
    PLACE

@make_task(name="main", upstream=first, retries=1, group=cli)
def main(ctx):
    ran("main")
    return [ctx.xcom["todo"].pop(), attempts.task_name_of_action()]
"""


@only(lambda version: version < (2,) or version >= (3, 28))  # this does not depend on the release
@pytest.mark.parametrize(
    "place",
    ["transaction.set_callback(at)", "once(recorder, 'CtxXcom')", "once(attempts, 'export_attempt')"],
    ids=["in the store", "before its view", "before its action"],
)
def test_an_interrupt_before_the_action_does_not_leave_the_attempt_open(zrb: Zrb, place: str) -> None:
    zrb.tasks(INTERRUPTED.replace("PLACE", place))
    assert zrb.run("main", ZRB_STORE_SESSION="begin").out.strip() == "[1, 'main']"
    assert zrb.ran.count("main") == 1
    stored = zrb.stored("begin")
    assert stored.status == "completed"
    # If the interrupt comes in the store, the plugin does not know the attempt, and the next one gives it back.
    assert stored.task("main") == ["lost" if "set_callback" in place else "failed", "completed"]
    assert stored.fates("todo") == [(1, "taken")]
    assert [one.name for one in stored.attempts if one.id == stored.rows["todo"][0].taken_by] == ["main#2"]
