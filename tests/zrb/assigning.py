"""A workflow that assigns inputs, is killed and resumed."""

from __future__ import annotations

from tests.zrb.conftest import Zrb

TASKS = """
from zrb import StrInput

GIVEN = {"day": "monday", "file-name": "a.csv"}
INPUTS = [StrInput(name, default=text, always_prompt=False) for name, text in GIVEN.items()]

def task(name, action, **more):
    return Task(name=name, action=action, input=INPUTS, **{"retries": 0, **more})

def shown(ctx):
    return sorted(dict(ctx.input).items())
"""

GIVEN = {"day": "monday", "file-name": "a.csv", "file_name": "a.csv"}


def killed_and_resumed(zrb: Zrb, tasks: str, *args: str) -> str:
    """Run `main`, which is killed the first time, resume it, and return what it printed."""
    zrb.tasks(TASKS + tasks)
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
