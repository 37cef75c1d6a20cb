"""Workflows that tests run: with inputs, in a chain, with inputs that are assigned, with steps; and what they did."""

from __future__ import annotations

import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

from tests.zrb.conftest import Done, Process, Zrb, lines, until
from zrb_store import open_store
from zrb_store.queries import attempts
from zrb_store.records import AttemptRecord

ETL = """
from zrb import IntInput, PasswordInput, StrInput

@make_task(
    name="load",
    input=[StrInput("day-of", default="mon"), IntInput("rows", default=3), PasswordInput("my-key", default="k1")],
    retries=0,
    group=cli.add_group(Group(name="etl")),
)
async def load(ctx):
    ran("load")
    if exists("slow"):
        await hang("in-load")
    if exists("broken"):
        raise RuntimeError("broken")
    return f"{ctx.input.day_of} {ctx.input.rows}"
"""
"""A task `etl load` with three inputs, one of them secret."""

INPUTS = ("--day-of", "tue", "--rows", "5", "--my-key", "k2")


def start_etl(zrb: Zrb, *inputs: str, code: int = 0) -> tuple[list[str], list[str]]:
    """Start `etl load` as the session `night`, and return the lines of stdout and of stderr."""
    done = zrb.run("etl", "load", *(inputs or INPUTS), code=code, ZRB_STORE_SESSION="night")
    return list(lines(done.out)), list(lines(done.err))


CHAIN = """
@make_task(name="count", retries=0)
def count(ctx):
    ran("count")
    ctx.xcom["rows"].extend([1, 2, 3])
    return 3

@make_task(name="load", upstream=count, retries=0)
async def load(ctx):
    first = not ran("load")
    row = ctx.xcom["rows"].pop()
    ctx.xcom["loaded"].push([row, "half" if first and HALF else "whole"])
    if first and HALF:
        await HALF(ctx)
    return {"sum": row + ctx.xcom["count"].peek()}

@make_task(name="report", upstream=load, retries=0, group=cli)
def report(ctx):
    ran("report")
    return f"{ctx.xcom['load'].pop()} {list(ctx.xcom['rows'])} {list(ctx.xcom['loaded'])}"
"""
"""Three tasks that hand on values; the second one may do half of its work (`HALF`) the first time."""

UNDISTURBED = "{'sum': 4} [2, 3] [[1, 'whole']]"
"""What `report` prints in the end."""

WITH_INPUTS = """
from zrb import StrInput

GIVEN = {"day": "monday", "file-name": "a.csv"}
INPUTS = [StrInput(name, default=text, always_prompt=False) for name, text in GIVEN.items()]

def task(name, action, **more):
    return Task(name=name, action=action, input=INPUTS, **{"retries": 0, **more})

def shown(ctx):
    return sorted(dict(ctx.input).items())
"""
"""Functions for workflows whose tasks assign inputs. `MAIN` is their last task, `ASSIGNING` such a workflow."""

GIVEN = {"day": "monday", "file-name": "a.csv", "file_name": "a.csv"}


def killed_and_resumed(zrb: Zrb, tasks: str, *args: str) -> str:
    """Run `main`, which is killed the first time, resume it, and return what it printed."""
    zrb.tasks(WITH_INPUTS + tasks)
    zrb.run("main", *args, code=-9, ZRB_STORE_SESSION="s")
    zrb.mark("mended")
    return zrb.resume("s").out.strip()


MAIN = """
def last(ctx):
    if not exists("mended"):
        os.kill(os.getpid(), 9)
    return shown(ctx)

cli.add_task(task("main", last, upstream=tasks))
"""

ASSIGNING = f"""
from zrb_store import step

def add(ctx):
    ran("step")
    ctx.input.day += "?"

def change(ctx):
    ctx.input.day += "!"
    ctx.input.extra = []
    ctx.input.extra.append(1)
    step("add", lambda: add(ctx))

tasks = [task("change", change)]
{MAIN}
"""

PAGES = """
from zrb_store import step

def fetch(ctx, page):
    ran(f"fetch{page}")
    ctx.xcom["pages"].push(page)
    return ctx.xcom["todo"].pop()

@make_task(name="feed", retries=0)
def feed(ctx):
    ctx.xcom["todo"].extend(f"row{n}" for n in range(25))
"""
"""A task that pushes rows, and a function that fetches one, to be the work of a step."""


def steps_of(zrb: Zrb, task: str, session: str | None = None) -> dict[str, list[str]]:
    """Return the statuses of the attempts of each step of a task, saying which completed ones were given back."""
    found: dict[str, list[str]] = {}
    for one in step_attempts(zrb, task, session):
        given_back = ", given back" if one.status == "completed" and one.given_back_at else ""
        found.setdefault(str(one.step), []).append(one.status + given_back)
    return found


def step_attempts(zrb: Zrb, task: str, session: str | None = None) -> list[AttemptRecord]:
    """Return the attempts of all steps of a task, the oldest first."""
    from zrb_store.db.tables import attempt

    name = session or zrb.stored().record.name
    with zrb.store() as store:
        found = store.session(name).record()
        mine = (attempt.c.session_id == found.id, attempt.c.step_of == task)
        rows = store.database.execute(attempts.selection().where(*mine).order_by(attempt.c.id))
        return [attempts.record(row) for row in rows]


def told(done: Done) -> list[str]:
    """Return what the plugin printed, but for what a resume runs and skips."""
    found = [line for line in lines(done.err) if line.startswith(("zrb-store: ", "zrb xcom: "))]
    return [line for line in found if " is resumed: runs " not in line]


@contextmanager
def taken_over(zrb: Zrb, running: Process) -> Iterator[Done]:
    """Stop the process of the session `end` until another one has taken it over, and yield how it ends."""
    with closing(sqlite3.connect(zrb.db, timeout=0.1, isolation_level=None)) as database:

        def expires() -> bool:
            running.signal(signal.SIGSTOP)
            try:
                database.execute("UPDATE zrb_run SET lease_expires_at = 1, suspected_at = 1")
            except sqlite3.OperationalError:  # it was stopped while it renewed its lease
                running.signal(signal.SIGCONT)
                return False
            return True

        until(expires)
    with open_store(zrb.db) as store:
        other = store.session("end").run(task="main").start()
        zrb.mark("taken")
        yield running.signal(signal.SIGCONT).done()
        other.end("failed")
