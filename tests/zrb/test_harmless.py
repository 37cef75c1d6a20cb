"""Stock workflows run as before, and nothing is stored or imported unnecessarily."""

from __future__ import annotations

import sqlite3
import textwrap
from contextlib import closing

import pytest

from tests.zrb.conftest import Zrb, lines

pytestmark = pytest.mark.slow

# What users of zrb can see of xcom. Each printed line is compared with that of stock zrb.
BEHAVIOURS = """
import threading
from zrb import Session, SharedContext
from zrb.xcom.xcom import Xcom
from zrb.dot_dict.dot_dict import DotDict

class Thing:
    def __init__(self):
        self.lock = threading.Lock()
        self.number = 1

def say(*words):
    print(*words, file=sys.stdout)

@make_task(name="feed", retries=0)
def feed(ctx):
    queue = ctx.xcom["feed"]
    calls = []
    for name in ("push", "pop"):
        add = getattr(queue, f"append_{name}_callback", None) or getattr(queue, f"add_{name}_callback")
        add(lambda name=name: calls.append(name))
    queue.push(1)
    queue.append({"a": [1]})
    queue.pop()
    say(calls, queue, len(queue), bool(queue), list(queue), queue[0], queue[-1], {"a": [1]} in queue)
    queue.set("only")
    say(queue.get(), queue.peek(), queue.get("x"), repr(queue), isinstance(queue, Xcom), isinstance(queue, DotDict))
    ctx.xcom.other = Xcom([3, 4])
    say(ctx.xcom.other.popright(), "other" in ctx.xcom, "nothing" in ctx.xcom, ctx.xcom.get("nothing"))
    ctx.xcom["plain"] = "a plain value"
    ctx.xcom["dict"] = {"x": 1}
    names = sorted(name for name in ctx.xcom if name in ("plain", "feed"))
    say(ctx.xcom["plain"], ctx.xcom.plain.upper(), ctx.xcom["dict"]["x"], names)
    shared = SharedContext(xcom=ctx.xcom)
    say(shared.xcom["other"].peek(), isinstance(ctx.xcom, DotDict))
    try:
        ctx.xcom["other"].pop(), ctx.xcom["other"].pop()
    except IndexError:
        say("IndexError")
    return Thing()

@make_task(name="use", upstream=feed, retries=0)
def use(ctx):
    thing = [one for one in ctx.xcom["feed"] if isinstance(one, Thing)][0]
    thing.number += 1
    queue = ctx.xcom["feed"]
    say(queue.pop(), queue[0] is thing, queue.pop() is thing, thing.number, thing.lock.acquire(False))
    ctx.xcom["threads"].push(threading.Lock()) if "threads" in ctx.xcom else None
    return {"nested": {"tuple": (1, 2), "set": {1}}}

@make_task(name="main", upstream=use, retries=0, group=cli)
def main(ctx):
    result = ctx.xcom["use"].peek()
    say(result["nested"]["tuple"], result["nested"]["set"], ctx.xcom["plain"])
    return "end"
"""


@pytest.mark.promise(number=7)
@pytest.mark.oldest
def test_a_stock_workflow_behaves_as_before(zrb: Zrb) -> None:
    zrb.tasks(BEHAVIOURS)
    stock = zrb.run("main", ZRB_INIT_MODULES=None)
    ours = zrb.run("main")
    assert ours.out.splitlines() == stock.out.splitlines()
    warnings = [line for line in lines(ours.err) if line.startswith("zrb-store:")]
    assert len(warnings) == 1
    assert all(word in warnings[0] for word in ("task feed:", "Thing"))
    assert zrb.stored().status == "completed"


@pytest.mark.oldest
@pytest.mark.parametrize("fails", ["ValueError('no')", "IndexError('no')"])
def test_failures_have_stocks_exit_code(zrb: Zrb, fails: str) -> None:
    zrb.tasks(
        f"""
        @make_task(name="main", retries=1, group=cli)
        def main(ctx):
            raise {fails}
        """
    )
    stock = zrb.run("main", code=None, ZRB_INIT_MODULES=None)
    assert zrb.run("main", code=None).code == stock.code
    assert zrb.stored().status == "failed"


@pytest.mark.promise(number=7)
def test_an_unstorable_value_lives_on_and_its_task_runs_again_when_needed(zrb: Zrb) -> None:
    zrb.tasks(
        """
        import threading

        @make_task(name="connect", retries=0)
        def connect(ctx):
            ran("connect")
            return {"rows": [1, {"conn": threading.Lock()}]}

        @make_task(name="step", upstream=[connect], retries=0)
        def step(ctx):
            ran("step")
            lock = ctx.xcom["connect"].peek()["rows"][1]["conn"]
            return lock.acquire(False)

        @make_task(name="main", upstream=[step, connect], retries=1, group=cli)
        def main(ctx):
            # The next attempt finds the very object that the failed attempt took.
            lock = ctx.xcom["connect"].pop()["rows"][1]["conn"]
            ran("locked" if lock.locked() else "free")
            if not exists("mended"):
                raise ValueError
            return lock.locked()
        """
    )
    err = zrb.run("main", code=1, ZRB_STORE_SESSION="opaque").err
    assert "zrb-store: task connect: cannot store $.rows[1].conn: lock; kept as its type and repr" in err
    assert err.count("zrb-store: task connect") == 1
    zrb.mark("mended")
    zrb.resume("opaque")
    # `main`, which did not complete, needs the result of `connect`; the result of `step` is stored.
    assert zrb.ran == ["connect", "step", "locked", "locked", "connect", "free"]
    assert zrb.stored("opaque").task("connect") == ["completed, given back", "completed"]
    assert zrb.stored("opaque").task("step") == ["completed"]


@pytest.mark.promise(number=7)
def test_a_value_above_the_limit_lives_on(zrb: Zrb) -> None:
    zrb.tasks(
        """
        big = Task(name="big", action=lambda ctx: ["x" * 1000])
        cli.add_task(Task(name="main", upstream=big, action=lambda ctx: len(ctx.xcom["big"].pop()[0])))
        """
    )
    done = zrb.run("main", ZRB_STORE_MAX_VALUE="500")
    assert done.out.strip() == "1000"
    (line,) = [line for line in lines(done.err) if line.startswith("zrb-store:")]
    assert "task big: " in line
    assert not zrb.stored().attempts[0].restorable


@pytest.mark.cold
def test_builtin_tasks_and_versions_are_not_stored(zrb: Zrb) -> None:
    zrb.db.unlink()
    zrb.run("version")
    generate = [*(["util"] if zrb.version >= (3, 14) else []), "uuid", "generate"]
    zrb.run(*generate)
    assert not zrb.db.exists()
    zrb.run(*generate, ZRB_STORE_PERSIST="all")
    assert zrb.stored().record.path == generate


@pytest.mark.cold
def test_our_settings_are_no_misspelt_ones_of_zrb(zrb: Zrb) -> None:
    zrb.tasks("cli.add_task(Task(name='main', action=lambda ctx: 1))")
    zrb.run("main", ZRB_STORE_SESSION="old")
    with closing(sqlite3.connect(zrb.db)) as database:
        database.execute("UPDATE zrb_session SET ended_at = 1")
        database.commit()
    done = zrb.run("main", ZRB_STORE_SESSION="new", ZRB_STORE_RETENTION="30d")
    assert "ZRB_STORE_RETENTION" not in done.err
    assert [one.name for one in zrb.sessions()] == ["new"]


def test_persist_named_stores_only_named_sessions(zrb: Zrb) -> None:
    zrb.tasks("cli.add_task(Task(name='main', action=lambda ctx: 1))")
    zrb.run("main", ZRB_STORE_PERSIST="named")
    assert zrb.sessions() == []
    zrb.run("main", ZRB_STORE_PERSIST="named", ZRB_STORE_SESSION="mine")
    assert [record.name for record in zrb.sessions()] == ["mine"]
    (line,) = lines(zrb.run("main", code=2, ZRB_STORE_PERSIST="some").err)
    assert "ZRB_STORE_PERSIST is 'some'" in line


def test_a_store_out_of_reach(zrb: Zrb) -> None:
    zrb.tasks("cli.add_task(Task(name='main', action=lambda ctx: ran('main') + 1))")
    there = zrb.folder / "zrb_init.py" / "store.db"
    (line,) = lines(zrb.run("main", code=69, ZRB_STORE_URL=str(there)).err)
    assert str(there) in line
    assert zrb.ran == []
    done = zrb.run("main", ZRB_STORE_URL=str(there), ZRB_STORE_UNAVAILABLE="memory")
    assert done.out.strip() == "1"
    (line,) = lines(done.err)
    assert "kept in memory only" in line


@pytest.mark.cold
def test_nothing_is_imported_before_it_is_needed(zrb: Zrb) -> None:
    zrb.tasks(
        """
        import atexit
        from zrb_store import step

        heavy = ("sqlalchemy", "alembic", "click", "psutil", "sqlite3", "zrb_store.page.site")
        atexit.register(lambda: print([name for name in heavy if name in sys.modules]))
        """
    )
    stock = zrb.run("version", ZRB_INIT_MODULES=None)
    assert zrb.run("version").out == stock.out


WORKFLOW = """
    from pathlib import Path
    from zrb_store import step

    @make_task(name="load", retries=1)
    def load(ctx):
        ctx.xcom["rows"].extend([1, 2])
        step("page", len, "abc")
        if not Path("failed").exists():
            Path("failed").touch()
            raise ValueError
        return [ctx.xcom["rows"].pop(), len(ctx.xcom["rows"])]

    @make_task(name="main", upstream=load, retries=0, group=cli)
    def main(ctx):
        return ctx.xcom["load"].pop()
"""


@pytest.mark.cold
def test_a_task_needs_no_sqlalchemy(zrb: Zrb) -> None:
    zrb.tasks("cli.add_task(Task(name='first', action=lambda ctx: None))")
    zrb.run("first")  # creates the store, for which Alembic is needed
    zrb.tasks("sys.modules['sqlalchemy'] = None\n" + textwrap.dedent(WORKFLOW))
    assert zrb.run("main", ZRB_STORE_SESSION="etl").out.strip() == "[1, 1]"
    assert zrb.stored("etl").tasks == {"load": ["failed", "completed"], "main": ["completed"]}


@pytest.mark.cold
def test_plugin_can_be_imported_by_the_task_file(zrb: Zrb) -> None:
    zrb.tasks("import zrb_store.plugin\ncli.add_task(Task(name='main', action=lambda ctx: ctx.task_name))")
    assert zrb.run("main", ZRB_INIT_MODULES=None).out.strip() == "main"
    assert zrb.stored().status == "completed"


@pytest.mark.cold
def test_a_reload_hooks_nothing_again(zrb: Zrb) -> None:
    zrb.tasks(
        """
        import importlib, zrb_store.plugin
        from zrb import BaseTask

        before = BaseTask.exec_root_tasks
        importlib.reload(zrb_store.plugin)
        cli.add_task(Task(name="main", action=lambda ctx: BaseTask.exec_root_tasks is before))
        """
    )
    done = zrb.run("main")
    assert done.out.strip() == "True"
    assert lines(done.err) == []


def test_a_note_quotes_a_name_without_its_control_characters(zrb: Zrb) -> None:
    zrb.tasks(
        r"""
        import threading

        @make_task(name="connect\x1b[31m", retries=0)
        def connect(ctx):
            return threading.Lock()

        @make_task(name="main", upstream=connect, retries=0, group=cli)
        def main(ctx):
            pass
        """
    )
    err = zrb.run("main").err
    assert r"zrb-store: task connect\x1b[31m: cannot store $: lock; kept as its type and repr" in err
