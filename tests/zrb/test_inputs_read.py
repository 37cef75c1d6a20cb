"""Completed attempts tell which inputs they have read."""

from __future__ import annotations

import json

import pytest

from tests.zrb.conftest import Zrb

TASKS = """
import threading
from zrb import CmdTask, EnvMap, IntInput, StrInput
try:
    from zrb import Tpl
except ImportError:
    Tpl = str

INPUTS = [
    StrInput(name="day", default="monday"),
    StrInput(name="file-name", default="a.csv"),
    IntInput(name="size", default="1"),
]

def task(name, action, **more):
    return Task(name=name, action=action, retries=0, input=INPUTS, **more)

def in_thread(ctx):
    thread = threading.Thread(target=lambda: ctx.input.day)
    thread.start()
    thread.join()

def changing(ctx):
    ctx.input["size"] = 2
    return ctx.session.shared_ctx._input["size"]

tasks = [
    task("none", lambda ctx: 1),
    task("name", lambda ctx: ctx.input.day),
    task("item", lambda ctx: ctx.input["file_name"]),
    task("snake", lambda ctx: ctx.input.file_name),
    task("get", lambda ctx: ctx.input.get("size")),
    task("contains", lambda ctx: "size" in ctx.input),
    task("template", lambda ctx: ctx.render("{ctx.input.day}")),
    task("thread", in_thread),
    task("as-dict", lambda ctx: dict(ctx.input)),
    task("unpacked", lambda ctx: {**ctx.input}),
    task("as-json", lambda ctx: __import__("json").dumps(ctx.input)),
    task("items", lambda ctx: list(ctx.input.items())),
    task("copy", lambda ctx: ctx.input.copy()),
    task("equal", lambda ctx: ctx.input == {}),
    task("condition", lambda ctx: 1, execute_condition=lambda ctx: ctx.input.day != ""),
    CmdTask(name="cmd", cmd=Tpl("echo {ctx.input.day}"), retries=0, input=INPUTS),
    CmdTask(name="env", cmd="true", env=EnvMap(vars=lambda ctx: {"SIZE": str(ctx.input.size)}), input=INPUTS),
    task("changes", changing),
    task("unknown", lambda ctx: ctx.input.get("made-by-a-task")),
]
main = cli.add_task(Task(name="main", upstream=tasks, action=lambda ctx: 1, retries=0, input=INPUTS))
"""
BY_NAMES = {
    "": ("none", "changes"),
    "day": ("name", "template", "thread", "condition", "cmd"),
    "file-name": ("item", "snake"),
    "size": ("get", "contains", "env"),
    "*": ("as-dict", "unpacked", "as-json", "items", "copy", "equal", "unknown"),
}
READ = {task: names.split() for names, tasks in BY_NAMES.items() for task in tasks}


def reads(zrb: Zrb) -> dict[str, list[str] | None]:
    """Return what the last attempt of each task of the session `s` has read."""
    shown = json.loads(zrb.run("xcom", "show", "s", "--json").out)
    return {task["task"]: task["attempts"][-1]["inputs_read"] for task in shown["tasks"] if task["attempts"]}


@pytest.mark.slow
@pytest.mark.needs("page")
def test_what_a_task_has_read(zrb: Zrb) -> None:
    zrb.tasks(TASKS)
    zrb.run("main", "--day", "monday", "--file-name", "b.csv", "--size", "3", ZRB_STORE_SESSION="s")
    read = reads(zrb)
    del read["main"]  # zrb also makes the environment of its upstreams for it
    assert read == READ
    text = zrb.run("xcom", "show", "s", "--full").out
    assert "read day" in text
    assert "read all inputs" in text
    assert "read file-name" in zrb.run("xcom", "report", "s").out
    assert "file-name" not in zrb.run("xcom", "report", "s", "--redact").out


@pytest.mark.newest
def test_reads_without_a_context_count_for_every_task(zrb: Zrb) -> None:
    zrb.tasks(
        """
        @make_task(name="load", retries=0, group=cli, input=StrInput(name="day", default="monday"))
        def load(ctx):
            return ctx.session.shared_ctx.input["day"]
        """.replace("@make", "from zrb import StrInput\n        @make")
    )
    zrb.run("load", ZRB_STORE_SESSION="s")
    assert reads(zrb) == {"load": ["day"]}


@pytest.mark.newest
def test_what_leaves_the_process(zrb: Zrb) -> None:
    """Pickled inputs are zrb's own again; what a forked child reads is not known."""
    zrb.tasks(
        """
        import pickle
        from zrb import StrInput
        from zrb.dot_dict.dot_dict import DotDict

        def forked(ctx):
            if (child := os.fork()) == 0:
                ctx.input.day
                os._exit(0)
            os.waitpid(child, 0)

        def pickled(ctx):
            copied = pickle.loads(pickle.dumps(ctx.input))
            assert (type(copied), copied.day) == (DotDict, "monday")

        tasks = [make_task(name=each.__name__, retries=0)(each) for each in (forked, pickled)]
        cli.add_task(Task(name="main", upstream=tasks, retries=0, input=StrInput(name="day", default="monday")))
        """
    )
    zrb.run("main", "--day", "monday", ZRB_STORE_SESSION="s")
    read = reads(zrb)
    assert (read["forked"], read["pickled"]) == (None, ["*"])


@pytest.mark.oldest
def test_what_a_task_reads_counts_for_the_one_that_started_it(zrb: Zrb) -> None:
    zrb.tasks(
        """
        from zrb import StrInput

        INPUTS = StrInput(name="day", default="monday")
        inner = Task(name="inner", action=lambda ctx: ctx.input.day, input=INPUTS, retries=0)
        skipped = Task(name="skipped", execute_condition=lambda ctx: ctx.input.day == "", input=INPUTS, retries=0)

        def starting(task):
            async def start(ctx):
                await task.exec_chain(ctx.session)

            return Task(name=f"start-{task.name}", action=start, retries=0)

        tasks = [starting(inner), starting(skipped)]
        cli.add_task(Task(name="main", upstream=tasks, input=INPUTS, retries=0))
        """
    )
    zrb.run("main", "--day", "monday", ZRB_STORE_SESSION="s")
    read = reads(zrb)
    assert (read["start-inner"], read["start-skipped"]) == (["day"], ["day"])


@pytest.mark.oldest
def test_a_shared_context_that_is_not_zrbs_keeps_its_own_way(zrb: Zrb) -> None:
    zrb.tasks(
        """
        from unittest.mock import MagicMock
        from zrb.context.context import Context
        from zrb.context.shared_context import SharedContext

        class Own(SharedContext):
            @property
            def input(self):
                return "own"

        @make_task(name="main", retries=0, group=cli)
        def main(ctx):
            mock = MagicMock()
            contexts = [Context(shared_ctx=each, task_name="t", color=0, icon="") for each in (Own(), mock)]
            return [contexts[0].input, contexts[1].input is mock.input]
        """
    )
    assert zrb.run("main", ZRB_STORE_SESSION="s").out.strip() == "['own', True]"
