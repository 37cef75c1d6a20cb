"""A task `etl load` with three inputs, one of them secret, and starts of it as the session `night`."""

from __future__ import annotations

from tests.zrb.conftest import Zrb, lines

TASKS = """
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

INPUTS = ("--day-of", "tue", "--rows", "5", "--my-key", "k2")


def start(zrb: Zrb, *inputs: str, code: int = 0) -> tuple[list[str], list[str]]:
    done = zrb.run("etl", "load", *(inputs or INPUTS), code=code, ZRB_STORE_SESSION="night")
    return list(lines(done.out)), list(lines(done.err))
