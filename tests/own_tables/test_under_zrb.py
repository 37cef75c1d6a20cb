"""Transactions of a user's database in the tasks of real zrb: killed, resumed, repeated only if a person says so."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.support.programs import require_module
from tests.zrb.conftest import Zrb, lines
from tests.zrb.workflows import steps_of

pytestmark = [pytest.mark.promise(number=22)]

SHOP = """
import sqlalchemy as sa
from zrb import StrInput
from zrb_store import open_store, step

shop = sa.create_engine(f"sqlite:///{HERE}/shop.db", poolclass=sa.NullPool)
INSERT = sa.text("INSERT INTO orders VALUES (:number)")

def insert(connection, *numbers):
    ran(f"insert{numbers[0]}")
    connection.execute(INSERT, [{"number": number} for number in numbers])
    if exists(f"fail{numbers[0]}"):
        raise ValueError
    return len(numbers)

async def insert_later(connection, number):
    ran(f"insert{number}")
    await connection.execute(INSERT, {"number": number})
    return number
"""

CHAIN = (
    SHOP
    + """
@make_task(name="first", retries=0, input=StrInput(name="day", default="mon"))
def first(ctx):
    return step.transaction(shop, "first", insert, 1)

@make_task(name="load", upstream=first, retries=0, input=StrInput(name="day", default="mon"))
def load(ctx):
    count = step.transaction(shop, "load orders", insert, 2, 3)
    mark("loaded")
    while exists("hold"):
        time.sleep(0.02)
    return f"{count} on {ctx.input.day}"

@make_task(name="main", upstream=load, retries=0, group=cli)
def main(ctx):
    if not exists("mended"):
        raise ValueError
    return "done"
"""
)


@pytest.fixture
def zrb_with_shop(zrb: Zrb) -> Zrb:
    """A project beside a user's database."""
    with contextlib.closing(sqlite3.connect(zrb.folder / "shop.db")) as driver:
        driver.execute("CREATE TABLE orders (number INTEGER)")
    return zrb


def orders(zrb: Zrb) -> list[int]:
    with contextlib.closing(sqlite3.connect(zrb.folder / "shop.db")) as driver:
        return [number for (number,) in driver.execute("SELECT number FROM orders ORDER BY 1")]


@pytest.mark.slow
@pytest.mark.oldest
@pytest.mark.parametrize("point", ["own_tables:inside", "own_tables:after", "step_complete:after", "complete:before"])
def test_a_killed_task_inserts_once(zrb_with_shop: Zrb, point: str) -> None:
    zrb = zrb_with_shop
    zrb.tasks(CHAIN)
    zrb.mark("mended")
    testing: dict[str, Any] = {
        "ZRB_INIT_MODULES": "zrb_store.plugin:zrb_store.testing",
        "ZRB_STORE_TESTING": f"crash_at={point}#2",
    }
    zrb.run("main", "--day", "mon", code=-signal.SIGKILL, ZRB_STORE_SESSION="s", **testing)
    assert orders(zrb) == ([1] if point == "own_tables:inside" else [1, 2, 3])
    zrb.resume("s")
    assert orders(zrb) == [1, 2, 3]
    assert zrb.ran.count("insert2") == (2 if point == "own_tables:inside" else 1)
    assert zrb.stored("s").task("load") == ["lost", "completed"]
    shown = " ".join(zrb.run("xcom", "show", "s").out.split())
    assert "load orders (once, committed in shop.db) = 2" in shown or "2 attempts, once, committed in shop.db" in shown
    zrb.run("doctor", program="zrb-store")


@pytest.mark.slow
@pytest.mark.oldest
def test_a_retry_and_a_task_that_is_killed_after_it(zrb_with_shop: Zrb) -> None:
    """The function fails in one attempt of the task, completes in the next one, and the process is killed in that."""
    zrb = zrb_with_shop
    zrb.tasks(CHAIN.replace("upstream=first, retries=0", "upstream=first, retries=1, retry_period=0"))
    zrb.mark("fail2")
    zrb.mark("mended")
    zrb.run("main", "--day", "mon", code=1, ZRB_STORE_SESSION="s")
    assert (orders(zrb), zrb.ran.count("insert2")) == ([1], 2)
    (zrb.folder / "fail2").unlink()
    zrb.mark("hold")
    process = zrb.start("xcom", "resume", "s").reaches("loaded")
    assert orders(zrb) == [1, 2, 3]
    process.signal(signal.SIGKILL).done()
    (zrb.folder / "hold").unlink()
    zrb.resume("s")
    assert (orders(zrb), zrb.ran.count("insert2")) == ([1, 2, 3], 3)
    zrb.run("doctor", program="zrb-store")


def borrowed(folder: Path, *names: str) -> str:
    """Return a folder with libraries of the tests, which the environments of zrb do not have."""
    folder.mkdir()
    for name in names:
        found = require_module(name).__file__
        assert found is not None
        (folder / name).symlink_to(Path(found).parent)
    return str(folder)


@pytest.mark.slow
@pytest.mark.newest
@pytest.mark.cold
def test_coroutines_that_are_killed_load_each_order_once(zrb_with_shop: Zrb, tmp_path: Path) -> None:
    zrb = zrb_with_shop
    libraries = borrowed(tmp_path / "libraries", "greenlet", "aiosqlite")
    zrb.tasks(
        SHOP
        + """
from sqlalchemy.ext.asyncio import create_async_engine
later = create_async_engine(f"sqlite+aiosqlite:///{HERE}/shop.db", poolclass=sa.NullPool)

@make_task(name="load", retries=0, group=cli)
async def load(ctx):
    both = [step.transaction(later, f"order {number}", insert_later, number) for number in (1, 2)]
    return [*await asyncio.gather(*both), step.transaction(shop, "sync", insert, 3)]
"""
    )
    given: dict[str, Any] = {"ZRB_STORE_SESSION": "s", "PYTHONPATH": libraries}
    testing: dict[str, Any] = {"ZRB_INIT_MODULES": "zrb_store.plugin:zrb_store.testing"}
    for count in (1, 2):
        zrb.run(
            "load", code=-signal.SIGKILL, **given, **testing, ZRB_STORE_TESTING=f"crash_at=own_tables:after#{count}"
        )
        assert len(orders(zrb)) == len(set(orders(zrb))) >= count
    zrb.run("load", **given)
    assert (orders(zrb), sorted(zrb.ran)) == ([1, 2, 3], ["insert1", "insert2", "insert3"])
    zrb.run("doctor", program="zrb-store")


@pytest.mark.slow
@pytest.mark.newest
def test_a_completed_one_is_repeated_only_with_repeat_once(zrb_with_shop: Zrb) -> None:
    zrb = zrb_with_shop
    zrb.tasks(CHAIN)
    zrb.run("main", "--day", "mon", code=1, ZRB_STORE_SESSION="s")
    before = zrb.db.read_bytes()
    for given in (["--from", "load"], ["--from", "first"], ["--set", "day=tue"]):
        for more in ([], ["--plan"]):
            (line,) = lines(zrb.resume("s", *given, *more, code=2).err)
            assert "has completed and is declared `once`, and would run again" in line
            assert "add --repeat-once to allow it" in line
    (line,) = lines(zrb.run("fork", "s", "--from", "load", program="zrb-store", code=2).err)
    assert "--repeat-once" in line
    assert (zrb.db.read_bytes(), orders(zrb)) == (before, [1, 2, 3])
    zrb.mark("mended")
    zrb.resume("s", "--from", "main")  # over no such step
    assert orders(zrb) == [1, 2, 3]
    zrb.resume("s", "--from", "load", "--repeat-once")
    assert orders(zrb) == [1, 2, 2, 3, 3]
    assert zrb.run("get", "s", "load", program="zrb-store").out.strip() == "2 on mon"
    zrb.resume("s", "--set", "day=tue", "--repeat-once")
    assert orders(zrb) == [1, 2, 2, 2, 3, 3, 3]
    assert zrb.run("get", "s", "load", program="zrb-store").out.strip() == "2 on tue"
    assert steps_of(zrb, "load", "s") == {"load orders": ["completed, given back"] * 2 + ["completed"]}
    zrb.run("doctor", program="zrb-store")


@pytest.mark.slow
@pytest.mark.newest
def test_a_repeated_one_that_is_killed_is_repeated_once(zrb_with_shop: Zrb) -> None:
    """The row of the first execution is there, and must not be taken for that of the second one."""
    zrb = zrb_with_shop
    zrb.tasks(CHAIN)
    zrb.mark("mended")
    zrb.run("main", "--day", "mon", ZRB_STORE_SESSION="s")
    testing: dict[str, Any] = {"ZRB_INIT_MODULES": "zrb_store.plugin:zrb_store.testing"}
    for point, count in (("own_tables:inside", 1), ("own_tables:after", 2), (None, 2)):
        more = {**testing, "ZRB_STORE_TESTING": f"crash_at={point}" if point else ""}
        again = ["--from", "load", "--repeat-once"] if count == 1 else []
        zrb.resume("s", *again, code=-signal.SIGKILL if point else 0, **more)
        assert orders(zrb) == sorted([1, *[2, 3] * count])
    zrb.run("doctor", program="zrb-store")


@pytest.mark.slow
@pytest.mark.newest
def test_a_produced_file_that_changed_does_not_repeat_it_silently(zrb_with_shop: Zrb) -> None:
    """A step of a script whose file is changed would begin again, and the transaction that began after it with it."""
    zrb = zrb_with_shop
    zrb.tasks(
        SHOP
        + """
import subprocess

@make_task(name="load", retries=0, group=cli)
def load(ctx):
    words = ["zrb-store", "step", "dump", "--produces", "dump", "--", "sh", "-c", "cp source dump"]
    done = subprocess.run(words, cwd=HERE, env={**os.environ, **ctx.env}, capture_output=True, text=True)
    if done.returncode:
        raise ValueError(done.stderr)
    step.transaction(shop, "load orders", insert, 2, 3)
    if not exists("mended"):
        raise ValueError("later")
"""
    )
    (zrb.folder / "source").write_text("2 3")
    zrb.run("load", code=1, ZRB_STORE_SESSION="s")
    assert orders(zrb) == [2, 3]
    (zrb.folder / "dump").write_text("changed")
    zrb.mark("mended")
    refused = zrb.resume("s", code=1).err
    assert "step load orders of task load (s/load/2) has completed and is declared `once`" in " ".join(refused.split())
    assert "--from load --repeat-once" in refused
    assert orders(zrb) == [2, 3]
    (zrb.folder / "dump").write_text("2 3")  # the change is undone
    zrb.resume("s")
    assert orders(zrb) == [2, 3]
    zrb.resume("s", "--from", "load", "--repeat-once")
    assert orders(zrb) == [2, 2, 3, 3]
    zrb.run("doctor", program="zrb-store")
