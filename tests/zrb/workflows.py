"""Workflows that tests run on both databases."""

from __future__ import annotations

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


UNDISTURBED = "{'sum': 4} [2, 3] [[1, 'whole']]"
