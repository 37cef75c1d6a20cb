"""`ctx.xcom` and its queues behave as in stock zrb of each release, stored or not, with a few intended differences."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.zrb.conftest import Zrb, lines, only

pytestmark = pytest.mark.slow

PROGRAM = """
sys.path.insert(0, str(HERE))
import as_stock

@make_task(name="main", retries=0, group=cli)
def main(ctx):
    for line in as_stock.perform(ctx.xcom, *GROUPS):
        print(line)
"""
oldest_and_newest = only(
    lambda version: version < (2,) or version >= (3, 28)
)  # the difference between stored and not stored does not depend on the release
# Variables with which a run is stored, or is not.
How = dict[str, str | None]
STORED: How = {}
UNNAMED: How = {"ZRB_STORE_PERSIST": "named"}
OUT_OF_REACH: How = {"ZRB_STORE_UNAVAILABLE": "memory", "ZRB_STORE_URL": "/dev/null/store.db"}
STOCK: How = {"ZRB_INIT_MODULES": None}


def answers(zrb: Zrb, groups: str, how: How) -> tuple[list[str], list[str]]:
    """Return the result of each operation, and the messages of zrb-store to the user."""
    shutil.copy(Path(__file__).with_name("as_stock.py"), zrb.folder)
    zrb.tasks(PROGRAM.replace("GROUPS", groups))
    done = zrb.start("main", program="zrb", cwd=None, **how).done()
    assert done.code == 0, done.err
    return done.out.splitlines(), [line for line in lines(done.err) if line.startswith("zrb-store:")]


@pytest.mark.promise(number=7)
@pytest.mark.oldest
def test_every_operation_answers_as_in_stock_zrb(zrb: Zrb) -> None:
    stock, _ = answers(zrb, "as_stock.STOCK", STOCK)
    assert len(stock) > 150
    ours, messages = answers(zrb, "as_stock.STOCK", STORED)
    assert ours == stock
    # What cannot be a stored queue stays in memory, with one message for each name.
    names = ("(1, 2)", "None", "1.5", "b'b'", "True", r"'nul\x00'", r"'\ud800'", "llll", "queue special is of class")
    assert len(messages) == len(names)
    assert all(name in line for name, line in zip(names, messages, strict=True))
    assert all(line.endswith("it is kept in memory only") for line in messages)


@oldest_and_newest
@pytest.mark.parametrize("how", [UNNAMED, OUT_OF_REACH], ids=["unnamed", "out of reach"])
def test_a_run_that_is_not_stored_answers_as_in_stock_zrb(zrb: Zrb, how: How) -> None:
    stock, _ = answers(zrb, "as_stock.STOCK", STOCK)
    assert answers(zrb, "as_stock.STOCK", how)[0] == stock
    assert zrb.sessions() == []


@oldest_and_newest
def test_what_is_missing_reads_as_empty_stored_or_not(zrb: Zrb) -> None:
    stored, _ = answers(zrb, "[as_stock.MISSING]", STORED)
    assert [line.partition("  =>  ")[2].partition(":")[0] for line in stored] == [
        "(Xcom[], True, 0)",
        "(Xcom[], True, None, False)",
        "(None, 1, None, Xcom[2])",
        "(None, Xcom[1], True)",
        "(None, Xcom[1])",
        "(None, 1)",
        "(Xcom[], True)",
        "AttributeError",
        "IndexError",
    ]
    assert answers(zrb, "[as_stock.MISSING]", UNNAMED)[0] == stored
    assert answers(zrb, "[as_stock.MISSING]", OUT_OF_REACH)[0] == stored
    assert "KeyError" in answers(zrb, "[as_stock.MISSING]", STOCK)[0][0]


UNSTORED = """
feed = Task(name="feed", action=lambda ctx: [ctx.xcom["seen"].push(ctx.task_name), ctx.task_name][1])
show = CmdTask(
    name="show", upstream=feed,
    cmd="echo {ctx.task_name} {ctx.xcom['feed'].pop()} {ctx.xcom['missing'].get(0)}; echo [$ZRB_STORE_SESSION]",
)

@make_task(name="main", upstream=show, retries=0, group=cli)
def main(ctx):
    own = ctx.session.shared_ctx.render("{ctx.task_name}")
    return [ctx.xcom["show"].pop().output.splitlines(), own, list(ctx.xcom.seen), list(ctx.xcom["missing"])]

@make_task(name="inner", retries=0)
def inner(ctx):
    return [ctx.xcom["missing"].get(0), ctx.task_name]

@make_task(name="outer", retries=0, group=cli)
async def outer(ctx):
    return await inner.async_run()
"""


@pytest.mark.promise(number=7)
@pytest.mark.oldest
def test_a_workflow_runs_the_same_stored_or_not(zrb: Zrb) -> None:
    zrb.tasks(UNSTORED)
    stored = zrb.run("main", ZRB_STORE_SESSION="mine").out
    assert stored.strip() == "[['show feed 0', '[]'], 'main', ['feed'], []]"
    assert zrb.run("main", ZRB_STORE_PERSIST="named").out == stored
    done = zrb.start("main", program="zrb", cwd=None, ZRB_STORE_SESSION="mine", **OUT_OF_REACH).done()
    assert done.out == stored
    (line,) = [line for line in lines(done.err) if line.startswith("zrb-store:")]
    assert "this run is kept in memory only" in line
    # The same for a session inside a task.
    assert zrb.run("outer", ZRB_STORE_PERSIST="named").out.strip() == "[0, 'inner']"
    assert [record.name for record in zrb.sessions()] == ["mine"]


@oldest_and_newest
def test_tasks_of_zrb_that_are_not_stored_run_as_in_stock_zrb(zrb: Zrb) -> None:
    zrb.tasks(
        """
        import sys
        from zrb.task.any_task import AnyTask
        of_zrb = [vars(module) for name, module in sys.modules.items() if name.startswith("zrb.builtin.")]
        task = next(value for names in of_zrb for value in names.values() if isinstance(value, AnyTask))
        seen = []

        @make_task(name="main", retries=0, group=cli)
        async def main(ctx):
            task._action = lambda ctx: seen.append(type(ctx.xcom).__name__) or ctx.xcom["missing"]
            try:
                await task.async_run(kwargs={name.name: "1" for name in task.inputs})
            except Exception as error:
                seen.append(type(error).__name__)
            return seen
        """
    )
    out = zrb.run("main", ZRB_STORE_PERSIST="named").out
    assert set(out.strip("[]\n").split(", ")) == {"'DotDict'", "'KeyError'"}


@oldest_and_newest
def test_what_was_deleted_comes_back_with_its_values(zrb: Zrb) -> None:
    """A failed attempt's deletions are given back. Values that another process pushes are not deleted."""
    zrb.tasks(
        """
        import subprocess

        feed = Task(name="feed", retries=0, action=lambda ctx: ctx.xcom["todo"].extend([1, 2]))

        @make_task(name="main", upstream=feed, retries=1, group=cli)
        def main(ctx):
            seen = ["todo" in ctx.xcom, list(ctx.xcom["todo"])]
            ctx.xcom["two"] = ctx.xcom["todo"]
            del ctx.xcom["two"]  # another name of the same queue
            seen += [list(ctx.xcom["todo"]), list(ctx.xcom.pop("todo")), "todo" in ctx.xcom, ctx.xcom.get("todo")]
            if not ran("main"):
                raise ValueError
            subprocess.run(["zrb-store", "push", ctx.session.name, "todo", "3"], check=True, capture_output=True)
            return [*seen, "todo" in ctx.xcom, list(ctx.xcom["todo"])]
        """
    )
    assert zrb.run("main").out.strip() == "[True, [1, 2], [1, 2], [1, 2], False, None, True, [3]]"
    assert zrb.stored().fates("todo") == [(1, "removed"), (2, "removed"), (3, "live")]


@pytest.mark.oldest
@oldest_and_newest
@pytest.mark.parametrize("how", [STORED, UNNAMED, OUT_OF_REACH], ids=["stored", "unnamed", "out of reach"])
def test_templates_that_are_rendered_outside_of_an_attempt(zrb: Zrb, how: How) -> None:
    zrb.tasks(
        """
        from zrb import Env

        try:
            from zrb import Tpl
        except ImportError:  # before 3.0 every string is a template
            Tpl = str

        feed = Task(name="feed", action=lambda ctx: 1, retries=0)
        cli.add_task(Task(
            name="main", upstream=feed, retries=0, action=lambda ctx: [ctx.env["FED"], ctx.xcom["feed"].pop()],
            env=Env("FED", default=Tpl("{ctx.xcom['feed'].get()}"), link_to_os=False),
            execute_condition=Tpl("{ctx.xcom['feed'].get() == 1 and len(ctx.xcom['none']) == 0}"),
        ))
        """
    )
    assert zrb.run("main", code=0, program="zrb", cwd=None, **how).out.strip() == "['1', 1]"


@oldest_and_newest
def test_a_name_is_not_passed_on_by_the_run_that_could_not_be_stored(zrb: Zrb) -> None:
    zrb.tasks("one = Task(name='one', action=lambda ctx: 1)\ncli.add_task(one)")
    program = zrb.folder / "program.py"
    program.write_text(
        "import os\nimport zrb_store.plugin\nfrom zrb_init import one\n"
        "url = os.environ['ZRB_STORE_URL']\nos.environ['ZRB_STORE_URL'] = '/dev/null/store.db'\none.run()\n"
        "os.environ['ZRB_STORE_URL'] = url\none.run()\n"
    )
    zrb.run(str(program), program="python", ZRB_STORE_SESSION="mine", ZRB_STORE_UNAVAILABLE="memory")
    (stored,) = zrb.sessions()
    assert stored.name != "mine"


QUEUES_OF_A_PROGRAM = """
import zrb_store.plugin
from zrb import Session, SharedContext, Xcom, make_task
from zrb_store import StoreUnavailable
from zrb_store.run import Run

def unavailable(self, tasks):
    raise StoreUnavailable("the store is gone")

if FAILS:
    Run.note_tasks = unavailable
jobs, done = Xcom([1, 2]), Xcom()

@make_task(name="main", retries=0)
def main(ctx):
    ctx.xcom["done"].push(ctx.xcom["jobs"].pop())

main.run(Session(shared_ctx=SharedContext(xcom={"jobs": jobs, "done": done})))
print(list(jobs), list(done))
"""


@oldest_and_newest
@pytest.mark.parametrize("fails", [False, True])
def test_queues_of_a_program_go_on_in_the_store_or_in_memory(zrb: Zrb, fails: bool) -> None:
    program = zrb.folder / "program.py"
    program.write_text(QUEUES_OF_A_PROGRAM.replace("FAILS", str(fails)))
    done = zrb.run(str(program), program="python", ZRB_STORE_UNAVAILABLE="memory")
    assert done.out.strip() == "[2] [1]"
    assert ("kept in memory only" in done.err) == fails
    (session,) = zrb.sessions()
    assert zrb.stored(session.name).live("done") == ([] if fails else [1])
