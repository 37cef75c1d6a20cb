"""Every kind of task that zrb has, and every way to start one."""

from __future__ import annotations

import pytest

from tests.zrb.conftest import Zrb, only

pytestmark = pytest.mark.slow


@pytest.mark.oldest
def test_a_cmd_task_behaves_as_in_zrb(zrb: Zrb) -> None:
    """Output of several lines, a template that pops, a command that fails and is retried, a zrb inside a command."""
    zrb.tasks(
        """
        lines = CmdTask(name="lines", cmd="printf 'one\\ntwo\\n'; echo warn >&2")
        feed = Task(name="feed", action=lambda ctx: ctx.xcom["todo"].extend(["x", "y"]))
        eat = CmdTask(
            name="eat", upstream=[lines, feed], retries=1,
            cmd="echo {ctx.task_name} {ctx.xcom['todo'].pop()}; test -e tried || (touch tried; exit 3)",
        )
        inner = CmdTask(
            name="inner", upstream=eat, retries=0, cmd="zrb leaf; echo $ZRB_STORE_SESSION$ZRB_STORE_ATTEMPT"
        )
        cli.add_task(Task(name="leaf", action=lambda ctx: "leaf's result"))

        @make_task(name="main", upstream=inner, retries=0, group=cli)
        def main(ctx):
            ran("main")
            if not exists("mended"):
                raise RuntimeError
            return [ctx.xcom[name].pop().output.splitlines() for name in ("lines", "eat", "inner")]
        """
    )
    zrb.run("main", code=1, ZRB_STORE_SESSION="outer")
    outer, leaf = zrb.sessions()
    assert (outer.name, leaf.task, leaf.parent) == ("outer", "leaf", "outer/inner#1")
    zrb.mark("mended")
    out = zrb.resume("outer").out.strip()
    assert out == str([["one", "two"], ["eat x"], ["leaf's result", "outer/inner#1@1"]])
    stored = zrb.stored("outer")
    assert stored.tasks["eat"] == ["failed", "completed"]
    assert stored.fates("todo") == [("x", "taken"), ("y", "live")]
    assert "eat-pid" not in stored.rows


def test_python_tasks_and_subclasses(zrb: Zrb) -> None:
    zrb.tasks(
        """
        class Doubling(Task):
            async def _exec_action(self, ctx):
                return 2 * await super()._exec_action(ctx)

        class Plain(Task):
            async def _exec_action(self, ctx):
                ran(self.name)
                return ctx.task_name

        class Twice(Doubling):
            async def _exec_action(self, ctx):
                await super()._exec_action(ctx)
                return await super()._exec_action(ctx)

        async def slow(ctx):
            ran("slow")
            await asyncio.sleep(0)
            return 21

        def quick(ctx):
            ran("quick")
            return 1

        tasks = [
            Doubling(name="doubling", action=slow),
            Plain(name="plain"),
            Twice(name="twice", action=quick),
            Task(name="literal", action="text"),
            Task(name="nothing"),
        ]

        @make_task(name="main", upstream=tasks, retries=0, group=cli)
        def main(ctx):
            if not exists("mended"):
                raise RuntimeError
            return [list(ctx.xcom[task.name]) for task in tasks]
        """
    )
    zrb.run("main", code=1, ZRB_STORE_SESSION="kinds")
    zrb.mark("mended")
    assert zrb.resume("kinds").out.strip() == "[[42], ['plain'], [2], ['text'], [None]]"
    # Neither an overridden method nor super() began its own attempt.
    assert {name: len(tries) for name, tries in zrb.stored("kinds").tasks.items()} == {
        "doubling": 1, "plain": 1, "twice": 1, "literal": 1, "nothing": 1, "main": 2,
    }  # fmt: skip
    assert sorted(zrb.ran) == ["plain", "quick", "quick", "slow"]


@pytest.mark.oldest
def test_checks_and_a_scaffolder_behave_as_in_zrb(zrb: Zrb) -> None:
    zrb.tasks(
        """
        import socket, threading
        from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
        from zrb import HttpCheck, Scaffolder, TcpCheck

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.end_headers()
            do_HEAD = do_GET
            def log_message(self, *args):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.server_port
        (HERE / "template").mkdir(exist_ok=True)
        (HERE / "template" / "NAME.txt").write_text("hello NAME")

        http = HttpCheck(name="http", url=f"http://127.0.0.1:{port}", interval=1)
        tcp = TcpCheck(name="tcp", host="127.0.0.1", port=port, interval=1)
        scaffold = Scaffolder(
            name="scaffold", source_path=str(HERE / "template"), destination_path=str(HERE / "made"),
            transform_path={"NAME": "zrb"}, transform_content={"NAME": "zrb"},
        )

        @make_task(name="main", upstream=[http, tcp, scaffold], retries=0, group=cli)
        def main(ctx):
            # A response cannot be stored, so its task runs again. The file is created only once.
            answer = ctx.xcom["http"].pop()
            if not exists("mended"):
                raise RuntimeError
            return [getattr(answer, "status_code", answer) in (200, True), bool(ctx.xcom["tcp"].pop())]
        """
    )
    zrb.run("main", code=1, ZRB_STORE_SESSION="kinds")
    made = zrb.folder / "made" / "zrb.txt"
    assert made.read_text() == "hello zrb"
    made.unlink()
    zrb.mark("mended")
    assert zrb.resume("kinds").out.strip() == "[True, True]"
    assert not made.exists()


@pytest.mark.oldest
def test_diamonds_conditions_and_two_tasks_of_one_name(zrb: Zrb) -> None:
    zrb.tasks(
        """
        top = Task(name="top", action=lambda ctx: ran("top"))
        left = Task(name="load", upstream=top, action=lambda ctx: "left")
        right = Task(name="load", upstream=top, action=lambda ctx: "right")
        maybe = Task(
            name="maybe", upstream=top, action=lambda ctx: ran("maybe"), execute_condition=lambda ctx: exists("mended")
        )

        @make_task(name="main", upstream=[left, right, maybe], retries=0, group=cli)
        def main(ctx):
            if not exists("mended"):
                raise RuntimeError
            return sorted(ctx.xcom["load"])
        """
    )
    zrb.run("main", code=1, ZRB_STORE_SESSION="graph")
    first = zrb.stored("graph")
    assert first.record.tasks["maybe"] == "skipped"
    assert {"load", "load~2"} < set(first.tasks)
    zrb.mark("mended")
    assert zrb.resume("graph").out.strip() == "['left', 'right']"
    assert zrb.ran == ["top", "maybe"]
    assert set(zrb.stored("graph").rows) == {"top", "load", "maybe", "main"}


def test_a_task_that_is_named_as_the_second_of_another_name(zrb: Zrb) -> None:
    zrb.tasks(
        """
        upstream = [Task(name=name, action=lambda ctx: ran(ctx.task_name), retries=0) for name in ("load", "load")]
        odd = Task(name="load~2", action=lambda ctx: ran("odd") + (1 if exists("mended") else 1 / 0), retries=0)
        main = Task(name="main", upstream=[*upstream, odd], action=lambda ctx: list(ctx.xcom["load~2"]), retries=0)
        cli.add_task(main)
        """
    )
    zrb.run("main", code=1, ZRB_STORE_SESSION="odd")
    zrb.mark("mended")
    assert zrb.resume("odd").out.strip() == "[2]"
    assert zrb.stored("odd").live("load~2") == [2]


@pytest.mark.promise(number=0)
def test_a_skipped_main_task_is_completed_and_runs_again_by_name(zrb: Zrb) -> None:
    zrb.tasks(
        """
        cli.add_task(
            Task(name="main", action=lambda ctx: "done", execute_condition=lambda ctx: exists("due"))
        )
        """
    )
    zrb.run("main", ZRB_STORE_SESSION="maybe")
    assert zrb.stored("maybe").status == "completed"
    zrb.mark("due")
    assert zrb.run("main", ZRB_STORE_SESSION="maybe").out.strip() == "done"
    assert zrb.run("main", ZRB_STORE_SESSION="maybe").out.strip() == "done"
    assert zrb.stored("maybe").tasks == {"main": ["completed"]}


LIBRARY = """
from zrb import IntInput, Session, SharedContext

@make_task(name="add", input=[IntInput("left-hand", default=1), IntInput("right", default=1)], retries=0)
def add(ctx):
    ran("add")
    return ctx.input.left_hand + ctx.input.right

@make_task(name="outer", retries=0, group=cli)
async def outer(ctx):
    # This runs in a session of its own, whose parent is this attempt.
    return await asyncio.to_thread(add.run, None, None, {"left-hand": 20, "right": 2})
"""


@pytest.mark.parametrize("how", ["run", "async_run", "to_function"])
def test_tasks_run_by_a_program(zrb: Zrb, how: str) -> None:
    zrb.tasks(LIBRARY)
    program = zrb.folder / "program.py"
    call = {
        "run": "add.run(kwargs={'left-hand': 40, 'right': 2})",
        "async_run": "asyncio.run(add.async_run(str_kwargs={'left-hand': '40', 'right': '2'}))",
        "to_function": "add.to_function()(left_hand=40, right=2)",
    }[how]
    program.write_text(
        f"import zrb_store.plugin\nfrom zrb_init import *\nprint({call})\nadd.run(kwargs={{'left-hand': 1}})\n"
    )
    # The first session gets the name, and the second one the name that zrb gives it.
    assert zrb.run(str(program), program="python", ZRB_STORE_SESSION="mine").out == "42\n"
    assert zrb.run(str(program), program="python", ZRB_STORE_SESSION="mine").out == "42\n"
    assert zrb.ran == ["add", "add", "add"]
    mine = zrb.stored("mine")
    assert (mine.status, mine.record.path, mine.tasks) == ("completed", [], {"add": ["completed"]})
    assert len(zrb.sessions()) == 3


def test_a_session_inside_a_task_has_it_as_parent(zrb: Zrb) -> None:
    zrb.tasks(LIBRARY)
    assert zrb.run("outer", ZRB_STORE_SESSION="mine").out.strip() == "22"
    outer, inner = zrb.sessions()
    assert (outer.name, inner.parent, inner.status) == ("mine", "mine/outer#1", "completed")


@only(lambda version: version >= (3, 28))  # earlier releases have no LazyTask
def test_a_lazy_task_is_stored_like_others(zrb: Zrb) -> None:
    zrb.tasks(
        """
        from zrb.task.lazy_task import LazyTask
        cli.add_task(LazyTask(name="later", description="d", module="late", attribute="later"))
        """
    )
    (zrb.folder / "late.py").write_text(
        "from zrb import Task\nlater = Task(name='later', action=lambda ctx: ctx.xcom['late'].push(1))\n"
    )
    zrb.run("later")
    assert zrb.stored().live("late") == [1]
