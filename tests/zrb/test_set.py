"""`resume --set`: only what has read a changed input runs again, with everything downstream of it."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest

from tests.support.sessions import parse
from tests.zrb.conftest import Zrb, lines
from zrb_store import open_store

TASKS = """
from zrb import EnvMap, IntInput, PasswordInput, StrInput
from zrb_store import step
try:
    from zrb import Tpl
except ImportError:
    Tpl = str

INPUTS = [
    StrInput(name="region", default="us"),
    IntInput(name="size", default="2"),
    StrInput(name="file", default=lambda ctx: f"{ctx.input.region}.csv"),
    PasswordInput(name="key", default="nothing"),
    StrInput(name="dsn", default=lambda ctx: f"db://{ctx.input.key}@{ctx.input.region}"),
]

def task(name, upstream=(), **more):
    def action(ctx):
        ran(name)
        return READS[name](ctx)
    made = Task(name=name, action=action, upstream=list(upstream), retries=0, input=INPUTS, **more)
    return made

READS = {
    "extract": lambda ctx: [1] * ctx.input.size,
    "load": lambda ctx: (step("fetch", lambda: ctx.input.region), ctx.xcom["extract"].pop()),
    "csv": lambda ctx: ctx.input.file,
    "maybe": lambda ctx: "maybe",
    "whole": lambda ctx: len(dict(ctx.input)),
    "audit": lambda ctx: [ctx.xcom["load"].pop(), len(ctx.xcom["maybe"])],
}
extract = task("extract")
load = task("load", [extract])
csv = task("csv")
maybe = task("maybe", execute_condition=lambda ctx: ctx.input.region == "us")
cmd = CmdTask(name="cmd", cmd=Tpl("echo {ctx.input.region}"), retries=0, input=INPUTS)
env = CmdTask(name="env", cmd="echo $SIZE", env=EnvMap(vars=lambda ctx: {"SIZE": str(ctx.input.size)}), input=INPUTS)
audit = task("audit", [load, maybe])
whole = task("whole")
main = cli.add_task(Task(
    name="main", upstream=[audit, csv, cmd, env, whole], action=lambda ctx: ctx.xcom["audit"].pop(), retries=0,
    input=INPUTS,
))
"""
GIVEN = ["--region", "us", "--size", "2", "--file", "us.csv", "--key", "secret-key", "--dsn", "db://secret-key@us"]
IN_EUROPE = [text.replace("us", "eu") for text in GIVEN]


def live(zrb: Zrb, session: str) -> dict[str, object]:
    """Return the live values of a session's queues, without those that CmdTasks fill."""
    stored = zrb.stored(session)
    return {name: live for name in stored.rows if name[:3] not in ("cmd", "env") and (live := stored.live(name))}


@pytest.mark.slow
@pytest.mark.oldest
@pytest.mark.promise(number=19)
def test_only_what_has_read_it_runs_again(zrb: Zrb) -> None:
    zrb.tasks(TASKS)
    zrb.run("main", *GIVEN, ZRB_STORE_SESSION="night")
    key = ("--key", "secret-key")
    shown = zrb.resume("night", "--set", "region=eu", *key, "--plan").out.splitlines()
    assert {row.split()[0]: " ".join(row.split()[1:]) for row in shown[1:]} == {
        "extract": "skip reads no changed input",
        "load": "run input region: us -> eu",
        "maybe": "run input region: us -> eu",
        "audit": "run downstream of load",
        "csv": "run input file: us.csv -> eu.csv",
        "cmd": "run input region: us -> eu",
        "env": "skip reads no changed input",
        "whole": "run not known: runs",
        "main": "run downstream of load",
    }
    before = zrb.ran
    assert zrb.resume("night", "--set", "region=eu", *key).out.splitlines()[-1] == "[('eu', [1, 1]), 0]"
    assert sorted(zrb.ran[len(before) :]) == ["audit", "csv", "load", "whole"]
    zrb.run("main", *IN_EUROPE, ZRB_STORE_SESSION="full")
    assert live(zrb, "night") == live(zrb, "full")
    assert zrb.stored("night").live("cmd")[0].output == zrb.stored("full").live("cmd")[0].output == "eu"
    log = json.loads(zrb.run("xcom", "log", "night", "--json").out)
    assert [run["inputs"] and run["inputs"]["region"] for run in log["runs"]] == ["us", None]
    assert [(each["action"], each["detail"]) for each in log["changes"]] == [
        ("set", "region: us -> eu"),
        ("set", "file: us.csv -> eu.csv"),
        ("set", "dsn: *** -> ***"),
    ]
    # A start by its name compares with the last change.
    count = len(zrb.ran)
    zrb.run("main", *IN_EUROPE, ZRB_STORE_SESSION="night")
    old = zrb.run("main", *GIVEN, ZRB_STORE_SESSION="night", code=65).err
    assert "region: 'eu' became 'us'" in old
    assert "`zrb xcom resume night --set NAME=VALUE`" in old
    assert len(zrb.ran) == count
    # A copy as of an earlier moment has the inputs of that moment.
    zrb.run("xcom", "fork", "night", "--from", "audit", "--name", "then")
    assert '"region":"us"' in (zrb.stored("then").record.inputs or "").replace(" ", "")
    # What did not run, since its condition did not hold, may run now: so may all that comes after it.
    back = zrb.resume("night", "--set", "region=us", *key).out.splitlines()[-1]
    assert back == "[('us', [1, 1]), 1]"


@pytest.mark.slow
@pytest.mark.newest
@pytest.mark.needs("shell")
def test_what_is_refused_in_one_line(zrb: Zrb) -> None:
    zrb.tasks(TASKS)
    zrb.run("main", *GIVEN, ZRB_STORE_SESSION="night")
    with open_store(zrb.url) as store, store.session("script").run(task="/srv/job.py"):
        pass
    zrb.run("run", "copy", "--", "true", program="zrb-store")
    refused = [
        ("night", ["regoin=eu"], "main has no input regoin; did you mean region?; its inputs are region, size,", 2),
        ("night", ["region"], "--set 'region' is not of the form NAME=VALUE", 2),
        ("night", ["size=many"], "--set size=... was given a value that the input does not take", 2),
        ("night", ["region=us", "size=2"], "--set changes nothing in session night, where region is us already,", 2),
        ("night", ["region=eu", "region=asia"], "--set is given twice for one input", 2),
        ("night", ["key=other"], "input key holds a secret", 2),
        ("night", ["dsn=db://x@host"], "input dsn holds a secret", 2),
        ("script", ["region=eu"], "session script belongs to a Python program, which gives its inputs itself: ", 2),
        ("copy", ["region=eu"], "session copy runs a command, which has all inputs: ", 2),
    ]
    for session, changes, says, code in refused:
        for more in ([], ["--plan"]):
            words = [word for change in changes for word in ("--set", change)]
            (line,) = lines(zrb.resume(session, *words, *more, "--key", "secret-key", code=code).err)
            assert says in line
            assert "secret-key" not in line
    (line,) = lines(zrb.resume("night", "--set", "region=eu", "--region", "asia", code=2).err)
    assert "input region is given twice, as --set region=... and as --region" in line
    (line,) = lines(zrb.resume("night", "script", "--set", "region=eu", code=2).err)
    assert "--set, --from and --here are for one session" in line
    assert [run["inputs"] for run in json.loads(zrb.run("xcom", "log", "night", "--json").out)["runs"]] == [None]


@pytest.mark.slow
@pytest.mark.newest
def test_a_given_value_stays_although_its_default_has_changed(zrb: Zrb) -> None:
    by_chance = 'StrInput(name="stamp", default=lambda ctx: str(time.time_ns())),'
    zrb.tasks(TASKS.replace("INPUTS = [", f"INPUTS = [\n    {by_chance}"))
    given = [*GIVEN[:4], "--file", "mine.csv", *GIVEN[6:], "--stamp", "1"]
    zrb.run("main", *given, ZRB_STORE_SESSION="night")
    done = zrb.resume("night", "--set", "region=eu", "--key", "secret-key")
    assert "input file stays mine.csv: " in done.err
    assert "stamp" not in done.err, "its default is not made of what has changed"
    assert zrb.stored("night").live("csv") == ["mine.csv"]
    # A default that holds a secret is never compared: only whether it is made of what has changed.
    plan = parse("plan", zrb.resume("night", "--set", "size=3", "--key", "secret-key", "--plan", "--json").out)
    assert plan["set"] == {"size": {"before": "2", "now": "3"}}


@pytest.mark.newest
def test_a_value_that_the_changed_inputs_forbid(zrb: Zrb) -> None:
    zrb.tasks(
        """
        from zrb import OptionInput, StrInput

        zones = lambda ctx: [ctx.input.region + "1", ctx.input.region + "2"]
        INPUTS = [StrInput(name="region", default="us"), OptionInput(name="zone", options=zones, default="us1")]

        @make_task(name="main", retries=0, group=cli, input=INPUTS)
        def main(ctx):
            return ctx.input.zone
        """
    )
    zrb.run("main", "--region", "us", "--zone", "us2", ZRB_STORE_SESSION="s")
    assert "changed inputs: add --set zone=VALUE" in zrb.resume("s", "--set", "region=eu", code=65).err
    assert zrb.resume("s", "--set", "region=eu", "--zone", "eu1").out.strip() == "eu1"
    assert zrb.resume("s", "--set", "region=us", "--set", "zone=us2").out.strip() == "us2"


@pytest.mark.newest
def test_a_wait_for_an_answer_is_asked_anew(zrb: Zrb) -> None:
    zrb.tasks(
        """
        from zrb import StrInput
        from zrb_store import wait

        @make_task(name="main", retries=0, group=cli, input=StrInput(name="region", default="us"))
        def main(ctx):
            return wait("approve", say=f"Refund {ctx.input.region}?")
        """
    )
    zrb.run("main", ZRB_STORE_SESSION="s", code=75)
    zrb.run("push", "s", "approve", "yes for us", "--text", program="zrb-store")
    assert "Refund eu?" in zrb.resume("s", "--set", "region=eu", code=75).err
    assert zrb.stored("s").live("approve") == []


CHAIN = """
from zrb import StrInput
from zrb_store import step
INPUTS = [StrInput(name="region", default="us"), StrInput(name="other", default="x")]

@make_task(name="pay", retries=0, input=INPUTS)
def pay(ctx):
    step("charge", ran, "charge", once=True)
    ran("pay")
    if exists("fails"):
        raise ValueError
    return ctx.input.region

@make_task(name="main", upstream=pay, retries=0, input=INPUTS, group=cli)
def main(ctx):
    ran("main")  # CODE
    return ctx.xcom["pay"].pop()
"""


@pytest.mark.newest
@pytest.mark.promise(number=19)
def test_steps_start_over_and_once_needs_permission(zrb: Zrb) -> None:
    zrb.tasks(CHAIN)
    zrb.mark("fails")
    zrb.run("main", "--region", "us", "--other", "x", code=1, ZRB_STORE_SESSION="night")
    (zrb.folder / "fails").unlink()
    # The step completed before the task has read the region. The task itself was killed by no input that it knows.
    assert "pay   run     failed, 1 step kept" in zrb.resume("night", "--set", "other=y", "--plan").out
    zrb.resume("night", "--set", "other=y")
    assert zrb.ran == ["charge", "pay", "pay", "main"]
    (line,) = lines(zrb.resume("night", "--set", "region=eu", code=2).err)
    assert "step charge (night/pay/1) has completed and is declared `once`" in line
    assert "--repeat-once" in line
    assert zrb.resume("night", "--set", "region=eu", "--repeat-once").out.strip() == "eu"
    assert zrb.ran[4:] == ["charge", "pay", "main"]


@pytest.mark.newest
def test_what_is_not_known_and_what_has_another_code(zrb: Zrb) -> None:
    zrb.tasks(CHAIN)
    zrb.run("main", "--region", "us", "--other", "x", ZRB_STORE_SESSION="night")
    zrb.tasks(CHAIN.replace("# CODE", "or 1"))
    (line,) = lines(zrb.resume("night", "--plan").err)
    assert line.endswith("task main has changed since main#1 completed, and is skipped: --from main runs it")
    with closing(sqlite3.connect(zrb.db)) as database:  # as if it had forked
        database.execute("UPDATE zrb_attempt SET inputs_read = NULL WHERE task = 'main'")
        database.commit()
    plan = zrb.resume("night", "--set", "other=y", "--plan")
    assert [" ".join(row.split()) for row in plan.out.splitlines()[1:]] == [
        "pay skip reads no changed input",
        "main run not known: runs",
    ]
    assert plan.err == ""
