"""What people do by hand to a session whose task has steps: fork it before a step, and settle a step."""

from __future__ import annotations

import signal

import pytest

from tests.zrb.conftest import Zrb, lines

pytestmark = pytest.mark.newest

TASKS = """
from zrb_store import step

def convert_page(ctx, page):
    ran(f"page-{page}")
    ctx.xcom["out"].push(page)
    return page * 10

def charge():
    ran("charge")
    if not exists("charging"):
        mark("charging")
        time.sleep(60)
    return "receipt"

@make_task(name="convert", retries=0, group=cli)
def convert(ctx):
    ran("convert")
    pages = [step(f"page {page}", convert_page, ctx, page) for page in (1, 2, 3)]
    if not exists("mended"):
        raise ValueError
    return pages

@make_task(name="pay", retries=0, group=cli)
def pay(ctx):
    return step("charge", charge, once=True)
"""


@pytest.mark.slow
def test_a_fork_goes_on_with_the_steps_that_it_has(zrb: Zrb) -> None:
    zrb.tasks(TASKS)
    zrb.run("convert", code=1, ZRB_STORE_SESSION="night")
    zrb.mark("mended")
    assert lines(zrb.run("xcom", "fork", "night", "--from", "convert", "--step", "page 3").out) == ["night-fork"]
    assert "[10, 20, 30]" in zrb.resume("night-fork").out
    assert zrb.ran == ["convert", "page-1", "page-2", "page-3", "convert", "page-3"]
    assert zrb.stored("night-fork").live("out") == [1, 2, 3]
    zrb.run("xcom", "fork", "night", "--from", "convert", "--name", "anew")
    zrb.resume("anew")
    assert zrb.ran[6:] == ["convert", "page-1", "page-2", "page-3"]


@pytest.mark.slow
def test_a_step_that_was_killed_is_settled(zrb: Zrb) -> None:
    zrb.tasks(TASKS)
    zrb.start("pay", ZRB_STORE_SESSION="night").reaches("charging").signal(signal.SIGKILL).done()
    zrb.run("xcom", "fork", "night", "--from", "pay", "--name", "other", "--repeat-once")
    marked = zrb.run("xcom", "mark", "night", "pay", "--step", "charge", "completed", "--result", '"by hand"')
    assert lines(marked.out) == ["night/pay/1#2"]
    assert "by hand" in zrb.resume("night").out
    assert zrb.ran == ["charge"]
    assert "receipt" in zrb.resume("other").out
