"""What zrb's tasks print and log is kept with their attempts, on each release."""

from __future__ import annotations

import re
import signal
from typing import Any

import pytest

from tests.support.sessions import logged, show
from tests.zrb.conftest import Zrb, until


def output_of(zrb: Zrb, attempt: str) -> list[tuple[str, str]]:
    """Return the lines of an attempt of the only session, each with its stream."""
    found = attempts(zrb)[attempt]["output"]
    return [] if found is None else [(line["stream"], line["text"]) for line in found["lines"]]


def attempts(zrb: Zrb) -> dict[str, Any]:
    """Return the attempts of the only session, in the shape of `log --format json`, by their names."""
    with zrb.store() as store:
        (session,) = store.sessions()
        return {attempt["attempt"]: attempt for attempt in logged(store, session.name)["attempts"]}


@pytest.mark.slow
@pytest.mark.promise(number=12)
@pytest.mark.oldest
def test_the_output_of_a_command_is_stored_with_its_attempts(zrb: Zrb) -> None:
    (zrb.folder / "script.sh").write_text(
        r"""
        echo hello; echo; printf '10%%\r100%%\n'; printf '\033[31mred\033[0m\n'
        exec 1>&2; echo FATAL: no table; echo; exit 2
        """
    )
    zrb.tasks('cli.add_task(CmdTask(name="psql", retries=1, retry_period=0, cmd="bash script.sh"))')
    zrb.run("psql", code=None)
    for name in ("psql#1", "psql#2"):
        out = [text for stream, text in output_of(zrb, name) if stream == "stdout"]
        err = [text for stream, text in output_of(zrb, name) if stream == "stderr"]
        assert (out, err) == (["hello", "", "100%", "red"], ["FATAL: no table", ""])
        assert len(output_of(zrb, name)) == 6, "nothing is kept twice"
        error = attempts(zrb)[name]["error"]
        assert (error["type"], error["message"]) == ("CmdTaskError", "FATAL: no table (exit 2)")
        assert "Process psql exited (2)" in error["traceback"]
        assert len(error["traceback"].splitlines()) == 1, "it says nothing of zrb's own frames"
    text = zrb.run("xcom", "log", "@last").out
    assert re.search(r"^psql#2 .*: FATAL: no table \(exit 2\)$", text, re.MULTILINE)


@pytest.mark.newest
@pytest.mark.promise(number=12)
def test_nothing_is_made_for_silent_tasks(zrb: Zrb) -> None:
    zrb.tasks(
        """
        import gc
        from zrb_store.runtime.output import Output
        def count(ctx):
            return sum(type(each) is Output for each in gc.get_objects())
        silent = CmdTask(name="silent", retries=0, cmd="true")
        talking = CmdTask(name="talking", retries=0, cmd="echo hello")
        first = Task(name="first", retries=0, action=count)
        second = Task(name="second", retries=0, action=lambda ctx: [ctx.xcom["first"].pop(), count(ctx)])
        cli.add_task(silent >> first >> talking >> second)
        """
    )
    assert zrb.run("second").out.strip() == "[0, 1]"


@pytest.mark.slow
@pytest.mark.newest
def test_a_task_whose_forked_child_prints_first(zrb: Zrb) -> None:
    zrb.tasks(
        """
        import os
        import time
        def work(ctx):
            pid = os.fork()
            if pid == 0:
                ctx.print("from the child")
                time.sleep(1.5)  # its thread, if it had one, would store the line after a second
                os._exit(0)
            os.waitpid(pid, 0)
            ctx.print("from the parent")
            return "done"
        cli.add_task(Task(name="fork", retries=0, action=work))
        """
    )
    assert zrb.run("fork").out.strip().endswith("done")
    assert output_of(zrb, "fork#1") == [("print", "from the parent")]


@pytest.mark.newest
@pytest.mark.promise(number=5)
@pytest.mark.parametrize("leaving", ["return 'of the child'", "sys.exit(3)", "raise ValueError('of the child')"])
def test_a_forked_child_that_leaves_its_task_ends_nothing(zrb: Zrb, leaving: str) -> None:
    zrb.tasks(
        f"""
        import os
        import sys
        def work(ctx):
            pid = os.fork()
            if pid == 0:
                {leaving}
            os.waitpid(pid, 0)
            return "done"
        rest = Task(name="rest", action=lambda ctx: ctx.print("rest") or "cleared away")
        fork = Task(name="fork", retries=1, action=work, fallback=rest)
        cli.add_task(fork)
        """
    )
    assert zrb.run("fork").out.strip().endswith("done")
    assert {name: attempt["status"] for name, attempt in attempts(zrb).items()} == {"fork#1": "completed"}


def test_a_command_that_says_nothing_on_stderr(zrb: Zrb) -> None:
    zrb.tasks('cli.add_task(CmdTask(name="quiet", retries=0, cmd="echo out; exit 3"))')
    zrb.run("quiet", code=None)
    assert output_of(zrb, "quiet#1") == [("stdout", "out")]
    assert attempts(zrb)["quiet#1"]["error"]["message"] == "Process quiet exited (3)"


@pytest.mark.oldest
def test_an_error_of_the_users_code_in_a_command(zrb: Zrb) -> None:
    zrb.tasks(
        """
        def command(ctx):
            raise KeyError("no such host")
        cli.add_task(CmdTask(name="ssh", retries=0, cmd=command))
        """
    )
    zrb.run("ssh", code=None)
    error = attempts(zrb)["ssh#1"]["error"]
    assert (error["type"], error["message"]) == ("KeyError", "'no such host'")
    frames = [line for line in error["traceback"].splitlines() if line.startswith("  File")]
    assert [line.rpartition(" ")[2] for line in frames] == ["command"]
    assert "zrb_init.py" in frames[0]


@pytest.mark.oldest
def test_a_traceback_of_a_step_has_only_frames_of_the_user(zrb: Zrb) -> None:
    zrb.tasks(
        """
        from zrb_store import step
        async def fetch(ctx):
            ctx.xcom["nothing"].pop()
        @make_task(name="load", group=cli, retries=0)
        async def load(ctx):
            await step("fetch", fetch, ctx)
        """
    )
    zrb.run("load", code=None)
    errors = [each["error"] for each in attempts(zrb).values()]
    frames = [[line for line in each["traceback"].splitlines() if line.startswith("  File")] for each in errors]
    assert [[line.rpartition(" ")[2] for line in each] for each in frames] == [["load", "fetch"], ["fetch"]]
    assert all("zrb_init.py" in line for each in frames for line in each)


@pytest.mark.slow
@pytest.mark.newest
def test_a_large_output_of_a_command(zrb: Zrb) -> None:
    zrb.tasks('cli.add_task(CmdTask(name="seq", retries=0, cmd="seq 1 30000"))')
    zrb.run("seq")
    # Later releases say afterwards how many lines are not in the result.
    kept = output_of(zrb, "seq#1")
    found = [line for line in kept if line[0] == "stdout"]
    assert found == [("stdout", str(number)) for number in range(30_001 - len(found), 30_001)]
    assert len(kept) - len(found) <= 1
    assert 64 * 1024 - 6 <= sum(len(text) + 1 for _, text in kept) <= 80 * 1024
    assert attempts(zrb)["seq#1"]["output"]["truncated"]


@pytest.mark.promise(number=12)
def test_what_python_tasks_print_and_log(zrb: Zrb) -> None:
    zrb.tasks(
        r"""
        @make_task(name="talk", group=cli, retries=0)
        def talk(ctx):
            ctx.print("one", 2, sep="-")
            ctx.print("plain \u2b24 text", plain=True)
            ctx.print("several\nlines")
            ctx.print("par", end="", plain=True)
            ctx.print("tial", plain=True)
            ctx.log_debug("not shown, not kept")
            ctx.log_warning("careful")
            ctx.log_error("wrong")
            ctx.log_critical("very wrong")
            print("not of the task")
        """
    )
    zrb.run("talk", ZRB_LOGGING_LEVEL="INFO")
    expected = [
        ("print", "one-2"),
        ("print", "plain \u2b24 text"),
        ("print", "several"),
        ("print", "lines"),
        ("print", "partial"),
        ("warning", "careful"),
        ("error", "wrong"),
        ("critical", "very wrong"),
    ]
    assert [line for line in output_of(zrb, "talk#1") if line[0] != "info"] == expected


@pytest.mark.oldest
def test_the_environment_of_a_command_is_not_kept(zrb: Zrb) -> None:
    zrb.tasks('cli.add_task(CmdTask(name="env", retries=0, cmd="echo done"))')
    zrb.run("env", ZRB_LOGGING_LEVEL="DEBUG", UNKNOWN_THING="geheim-4711")
    kept = output_of(zrb, "env#1")
    assert ("stdout", "done") in kept
    assert ("debug", "Environment map: ***") in kept
    assert "geheim-4711" not in str(kept)


@pytest.mark.promise(number=12)
def test_secret_inputs_that_a_task_prints_are_masked(zrb: Zrb) -> None:
    zrb.tasks(
        """
        from zrb import PasswordInput
        secret = [PasswordInput(name="pw")]
        @make_task(name="talk", group=cli, retries=0, input=secret)
        def talk(ctx):
            ctx.print("it is", ctx.input.pw, "here")
        def command(ctx):
            return f"echo {ctx.input.pw} >&2"
        cli.add_task(CmdTask(name="curl", retries=0, upstream=talk, input=secret, cmd=command))
        """
    )
    zrb.run("curl", "--pw", "hunter2-hunter2")
    assert output_of(zrb, "talk#1") == [("print", "it is *** here")]
    assert output_of(zrb, "curl#1") == [("stderr", "***")]


@pytest.mark.slow
@pytest.mark.newest
@pytest.mark.promise(number=12)
def test_a_command_that_is_killed_with_zrb(zrb: Zrb) -> None:
    zrb.tasks('cli.add_task(CmdTask(name="slow", retries=0, cmd="echo begun; echo worse >&2; touch begun; sleep 60"))')
    process = zrb.start("slow").reaches("begun")

    def is_stored() -> bool:
        return len(output_of(zrb, "slow#1")) == 2

    until(is_stored)
    process.signal(signal.SIGKILL).done()
    assert sorted(output_of(zrb, "slow#1")) == [("stderr", "worse"), ("stdout", "begun")]
    assert attempts(zrb)["slow#1"]["status"] == "lost"


@pytest.mark.newest
def test_no_output_is_kept_if_nobody_wants_it(zrb: Zrb) -> None:
    zrb.tasks('cli.add_task(CmdTask(name="fails", retries=0, cmd="echo out; echo err >&2; exit 3"))')
    done = zrb.run("fails", code=None, ZRB_STORE_OUTPUT_LIMIT="0")
    assert "err" in done.err
    assert output_of(zrb, "fails#1") == []
    assert attempts(zrb)["fails#1"]["error"]["message"] == "Process fails exited (3)"


@pytest.mark.promise(number=12)
@pytest.mark.oldest
def test_what_is_printed_is_as_without_the_store(zrb: Zrb) -> None:
    zrb.tasks(
        """
        @make_task(name="talk", group=cli, retries=0)
        def talk(ctx):
            ctx.print("printed", plain=True)
        cli.add_task(CmdTask(name="both", retries=0, upstream=talk, plain_print=True, cmd="echo out"))
        """
    )
    stored, stock = zrb.run("both"), zrb.run("both", ZRB_INIT_MODULES=None)
    assert (
        stored.err.replace("\r", "").splitlines()[:2]
        == stock.err.replace("\r", "").splitlines()[:2]
        == ["printed", "out"]
    )
    assert stored.out == stock.out


@pytest.mark.oldest
def test_the_logs_of_sessions_are_as_without_the_store(zrb: Zrb) -> None:
    zrb.tasks(
        """
        from zrb.context.shared_context import SharedContext
        from zrb.session.session import Session

        @make_task(name="inner", retries=0)
        def inner(ctx):
            ctx.print("inside")

        @make_task(name="talk", retries=0)
        async def talk(ctx):
            ctx.print("before")
            await inner.async_run(session=Session(shared_ctx=SharedContext(), parent=ctx.session))
            ctx.print("after", plain=True)

        @make_task(name="logged", group=cli, upstream=talk)
        def logged(ctx):
            texts = [text.rpartition("\u2b24  ")[2].strip() for text in ctx._shared_ctx.shared_log]
            return [text for text in texts if text in ("before", "inside", "after")]
        """
    )
    assert zrb.run("logged").out == zrb.run("logged", ZRB_INIT_MODULES=None).out == "['before', 'inside', 'after']\n"


def test_a_task_with_threads_and_steps(zrb: Zrb) -> None:
    zrb.tasks(
        """
        from zrb_store import step

        @make_task(name="load", group=cli, retries=0)
        async def load(ctx):
            await asyncio.to_thread(ctx.print, "in a thread")
            step("page", ctx.print, "in a step")
        """
    )
    zrb.run("load")
    assert output_of(zrb, "load#1") == [("print", "in a thread"), ("print", "in a step")]
    with zrb.store() as store:
        (task,) = show(store.database, store.sessions()[0].name)["tasks"]
    assert task["attempts"][0]["output"] == {"bytes": len("in a thread\nin a step\n"), "truncated": False}
    assert task["steps"][0]["attempts"][0]["output"] is None


@pytest.mark.newest
def test_log_shows_what_a_command_printed(zrb: Zrb) -> None:
    zrb.tasks('cli.add_task(CmdTask(name="psql", retries=0, cmd="seq 1 30; echo FATAL: no table >&2; exit 2"))')
    zrb.run("psql", code=None)
    shown = zrb.run("xcom", "show", "@last").out
    assert "FATAL: no table (exit 2)\n" in shown
    log = zrb.run("xcom", "log", "@last").out
    assert "[11 earlier lines: --all shows all that is kept]" in log
    assert " stdout  30\n" in log
    assert " stdout  11\n" not in log
    assert " stderr  FATAL: no table\n" in log
    assert " stdout  11\n" in zrb.run("xcom", "log", "@last", "--all").out
