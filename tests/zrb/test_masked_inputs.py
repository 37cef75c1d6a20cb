"""Inputs that contain a secret are stored and compared with the secret masked, and a resume computes them again."""

from __future__ import annotations

import pytest

from tests.zrb.conftest import Zrb, files_with, lines
from zrb_store import codec

pytestmark = pytest.mark.slow

TASKS = """
from zrb import PasswordInput, StrInput

@make_task(
    name="load",
    input=[
        StrInput("host", default="db1"),
        PasswordInput("my-key", default="k1"),
        StrInput("dsn", default=lambda ctx: f"db://me:{ctx.input.my_key}@{ctx.input.host}", always_prompt=False),
        StrInput("token", default="", allow_empty=True, always_prompt=False),
    ],
    retries=0,
    group=cli.add_group(Group(name="etl")),
)
def load(ctx):
    ran("load")
    if exists("broken"):
        raise RuntimeError(f"no answer from {ctx.input.dsn}")
    return f"{ctx.input.dsn} {ctx.input.token}"
"""


def start(zrb: Zrb, *args: str, key: str = "hunter2-is", host: str = "db1", code: int | None = 0) -> str:
    options = ("--host", host, "--my-key", key, *args)
    return zrb.run("etl", "load", *options, code=code, ZRB_STORE_SESSION="night").out.strip()


def fail(zrb: Zrb, *args: str) -> None:
    zrb.tasks(TASKS)
    zrb.mark("broken")
    start(zrb, *args, code=1)
    (zrb.folder / "broken").unlink()


@pytest.mark.promise(number=9)
@pytest.mark.oldest
def test_a_default_that_is_made_of_a_secret_input(zrb: Zrb) -> None:
    fail(zrb)
    assert files_with(zrb, "hunter2") == []
    stored = zrb.stored("night")
    inputs = {"host": "db1", "dsn": {"masked": "db://me:***@db1"}, "token": "", "my-key": {"masked": "***"}}
    assert codec.decode(stored.record.inputs or "") == inputs
    assert stored.attempts[0].error_message == "no answer from db://me:***@db1"
    assert "db://me:***@db1" in zrb.run("xcom", "show", "night").out
    # The next start compares everything but the secret.
    assert start(zrb, key="hunter2-is", host="db2", code=65) == ""
    (line,) = lines(
        zrb.run("etl", "load", "--host=db1", "--my-key=hunter3-is", "--dsn=x", code=65, ZRB_STORE_SESSION="night").err
    )
    assert "hunter" not in line
    assert start(zrb, key="hunter3-is") == "db://me:hunter3-is@db1"
    assert files_with(zrb, "hunter2") == []


def test_a_resume_computes_it_again(zrb: Zrb) -> None:
    fail(zrb)
    assert zrb.resume("night", "--my-key", "hunter3-is").out.strip() == "db://me:hunter3-is@db1"


@pytest.mark.oldest
def test_a_resume_takes_one_that_was_given(zrb: Zrb) -> None:
    """The default would be different."""
    fail(zrb, "--dsn", "db://hunter2-is@elsewhere")
    assert files_with(zrb, "hunter2") == []
    for given in ([], ["--dsn", "db://hunter3-is@db1"]):
        (line,) = lines(zrb.resume("night", "--my-key", "hunter3-is", *given, code=2).err)
        assert line == (
            "zrb xcom: input dsn held a secret, which is not stored: give --dsn VALUE as it was, 'db://***@elsewhere'"
        )
    done = zrb.resume("night", "--my-key", "hunter3-is", "--dsn", "db://hunter3-is@elsewhere")
    assert done.out.strip() == "db://hunter3-is@elsewhere"


@pytest.mark.newest
def test_what_only_looks_masked_or_secret_is_stored(zrb: Zrb) -> None:
    fail(zrb, "--dsn", "db://***", "--token", "plain")
    assert zrb.resume("night", "--my-key", "hunter3-is").out.strip() == "db://*** plain"


@pytest.mark.newest
@pytest.mark.promise(number=9)
def test_an_input_is_masked_by_its_name_and_kept_for_the_resume(zrb: Zrb) -> None:
    zrb.tasks(NAMED)
    zrb.mark("broken")
    options = ("--api-key", "Zk7-key", "--to", "https://me:Zk7-user@db1?token=Zk7-token")
    zrb.run("call", *options, code=1, ZRB_STORE_SESSION="night")
    (zrb.folder / "broken").unlink()
    shown = [
        zrb.run("xcom", *words, "night").out for words in (["show"], ["show", "--format", "json"], ["log"], ["report"])
    ]
    assert not any("Zk7-" in text for text in shown)  # base64 has no hyphen
    assert "api-key=***, to=https://me:***@db1?token=***" in shown[0]
    other = zrb.run("call", "--api-key", "Zk7-other", *options[2:], code=65, ZRB_STORE_SESSION="night").err
    assert "api-key: *** became ***" in other
    assert zrb.resume("night").out.strip() == "Zk7-key https://me:Zk7-user@db1?token=Zk7-token"


NAMED = """
from zrb import StrInput

@make_task(name="call", input=[StrInput("api-key"), StrInput("to")], retries=0, group=cli)
def call(ctx):
    if exists("broken"):
        print("password=Zk7-printed")
        ctx.log_info(f"Bearer {ctx.input.to}")
        raise RuntimeError("login with token=Zk7-error failed")
    return f"{ctx.input.api_key} {ctx.input.to}"
"""
