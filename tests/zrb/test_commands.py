"""`zrb xcom X` behaves like `zrb-store X`: the same arguments, output and exit codes, inside commands too."""

from __future__ import annotations

import json

import pytest

from tests.zrb.conftest import Zrb, only
from tests.zrb.workflows import step_attempts
from zrb_store.cli.command_table import COMMANDS


@pytest.mark.slow
@only(lambda version: version < (2,) or version >= (3, 28))  # releases in between pass the command line on like these
@pytest.mark.parametrize(
    "args",
    [
        ["push", "box", "numbers", "-5"],
        ["push", "box", "words", "--text", "-"],
        ["pop", "box", "empty"],
        ["show", "nobody"],
        ["get", "box"],
        ["push", "box", "numbers", "not json"],
        ["list", "--format", "json"],
        ["--help"],
        ["nothing"],
    ],
    ids=" ".join,
)
def test_both_commands_print_the_same(zrb: Zrb, args: list[str]) -> None:
    alone = zrb.run(*args, program="zrb-store", code=None)
    inside = zrb.run("xcom", *args, code=None)
    assert inside.code == alone.code
    assert inside.out.replace("zrb xcom", "zrb-store").split() == alone.out.split()
    assert inside.err.replace("zrb xcom", "zrb-store") == alone.err


@pytest.mark.oldest
def test_zrb_lists_the_commands(zrb: Zrb) -> None:
    zrb.tasks(
        """
        from zrb.runner.cli import cli
        group = cli.subgroups["xcom"]
        print({name: task.description for name, task in group.subtasks.items()})
        """
    )
    out = zrb.run("version").out.splitlines()[0]
    assert out == str({name: COMMANDS[name].purpose for name in sorted(COMMANDS)})


def test_a_group_of_the_user_named_xcom_stays_theirs(zrb: Zrb) -> None:
    zrb.tasks("cli.add_group(Group(name='xcom')).add_task(Task(name='list', action=lambda ctx: 'mine'))")
    assert zrb.run("xcom", "list").out.strip() == "mine"


@pytest.mark.slow
def test_push_and_pop_inside_a_command_belong_to_its_attempt(zrb: Zrb) -> None:
    zrb.tasks(
        """
        feed = Task(name="feed", action=lambda ctx: ctx.xcom["todo"].extend(["a", "b"]))
        cli.add_task(CmdTask(
            name="main", upstream=feed, retries=1,
            cmd=[
                "got=$(zrb-store pop @this todo) && zrb-store push @this seen --text $got",
                "zrb-store push inbox files 1",
                "if test ! -e tried; then touch tried; exit 3; fi",
                "echo $got",
            ],
        ))
        """
    )
    assert zrb.run("main", ZRB_STORE_SESSION="shell").out.strip() == "a"
    stored = zrb.stored("shell")
    assert stored.tasks == {"feed": ["completed"], "main": ["failed", "completed"]}
    assert stored.fates("todo") == [("a", "taken"), ("b", "live")]
    assert stored.fates("seen") == [("a", "retracted"), ("a", "live")]
    assert zrb.stored("inbox").fates("files") == [(1, "retracted"), (1, "live")]


@pytest.mark.slow
@pytest.mark.promise(number=11)
def test_steps_inside_a_command_are_those_of_its_task(zrb: Zrb) -> None:
    """A retry gets the completed one; one that still runs in the background ends with the attempt."""
    zrb.tasks(
        """
        cli.add_task(CmdTask(
            name="main", retries=1, retry_period=0,
            cmd=[
                "zrb-store step fetch -- sh -c 'echo fetch >>ran; echo row'",
                "test -e tried || (zrb-store step nap -- sh -c 'touch napping; sleep 1000' >/dev/null 2>&1 & "
                "until test -e napping; do sleep 0.02; done)",
                "if test ! -e tried; then touch tried; exit 3; fi",
            ],
        ))
        """
    )
    assert zrb.run("main", ZRB_STORE_SESSION="shell").out.strip() == "row"
    assert zrb.ran == ["fetch"]
    assert zrb.stored("shell").tasks == {"main": ["failed", "completed"]}
    assert [(step.step, step.status) for step in step_attempts(zrb, "main")] == [
        ("fetch", "completed"),
        ("nap", "interrupted"),
    ]


def test_show_under_zrb_prints_attempts_and_values(zrb: Zrb) -> None:
    zrb.tasks(
        """
        feed = Task(name="feed", action=lambda ctx: [1, 2])

        @make_task(name="main", upstream=feed, retries=1, group=cli)
        def main(ctx):
            ctx.xcom["out"].push(ctx.xcom["feed"].pop())
            if not ran("main"):
                raise ValueError("once")
            return (1, 2)
        """
    )
    zrb.run("main", ZRB_STORE_SESSION="story")
    story = json.loads(zrb.run("xcom", "show", "story", "--format", "json").out)
    assert (story["name"], story["status"], story["task"], story["path"]) == ("story", "completed", "main", ["main"])
    assert [(run["origin"], run["status"]) for run in story["runs"]] == [("cli", "completed")]
    tasks = {task["task"]: task for task in story["tasks"]}
    first, second = tasks["main"]["attempts"]
    assert (first["status"], first["error"]) == ("failed", {"type": "ValueError", "message": "once"})
    assert (second["status"], second["error"]) == ("completed", None)
    (fed,) = story["queues"]["feed"]["values"]
    assert (fed["pushed_by"], fed["state"], fed["taken_by"]) == ("feed#1", "taken", "main#2")
    assert [back["taken_by"] for back in fed["returns"]] == ["main#1"]
    assert [value["state"] for value in story["queues"]["out"]["values"]] == ["retracted", "live"]
    assert tasks["main"]["result"] == "story/main#1"
