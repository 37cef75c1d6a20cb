"""Programs that die, scripts, consumers and zrb: what a collector gets of them by OTLP/HTTP."""

from __future__ import annotations

import signal

import pytest

from tests.traces.conftest import SETUP, Programs
from tests.traces.spans import Collector
from zrb_store import open_store

pytestmark = [pytest.mark.on_sqlite, pytest.mark.slow]

WORKFLOW = f"""{SETUP}
import os
import signal

from zrb_store import open_store, step

DIES = os.environ.get("DIES")


def page(number):
    if DIES == str(number):
        os.kill(os.getpid(), signal.SIGKILL)


def load():
    for number in range(1, 4):
        step(f"page {{number}}", page, number)


with open_store() as store, store.session("etl").run(task="etl") as run:
    run.task("extract", len, "abc")
    run.task("load", load)
"""


def test_a_workflow_that_is_killed_twice_and_resumed(programs: Programs, collector: Collector) -> None:
    programs.write("etl.py", WORKFLOW)
    for dies in ("2", "3"):
        programs.run("python", "etl.py", code=-signal.SIGKILL, more={"DIES": dies})
    programs.run("python", "etl.py")
    assert collector.tree == (
        "(lost)\n"
        "  task extract #1: completed\n"
        "(lost)\n"  # its task was killed, too
        "  step page 1 #1: completed\n"
        "(lost)\n"
        "  step page 2 #2: completed\n"
        "run etl: completed, 1 task from the store <- (lost)\n"
        "  task load #3: completed, 2 steps from the store\n"
        "    step page 3 #2: completed\n"
    )
    assert len({each.trace for each in collector.spans}) == 3
    assert collector.named("step page 1").attributes["zrb_store.fence"] == 1


SCRIPT = """
zrb-store step dump -- sh -c 'echo "$TRACEPARENT" > of-dump; echo dumped'
zrb-store push inbox files '"shop.sql"'
test -e mended || zrb-store step upload -- sh -c 'echo no space left >&2; exit 3'
zrb-store step upload -- true
echo "$TRACEPARENT" > of-script
"""


def test_a_script_and_a_consumer_without_any_code(programs: Programs, collector: Collector) -> None:
    programs.write("backup.sh", SCRIPT)
    programs.run("zrb-store", "run", "night", "--task", "backup", "--", "sh", "-e", "backup.sh", code=3)
    programs.write("mended", "")
    programs.run("zrb-store", "run", "night", "--task", "backup", "--", "sh", "-e", "backup.sh")
    programs.run("zrb-store", "consume", "inbox", "files", "--all", "--", "sh", "-c", 'echo "$TRACEPARENT" > of-{}')
    assert collector.tree == (
        "run backup: failed\n"
        "  task backup #1: failed\n"
        "    step dump #1: completed\n"
        "    step upload #1: failed\n"
        "run backup: completed <- run backup\n"
        "  task backup #2: completed, 1 step from the store\n"
        "    step upload #2: completed\n"
        "run inbox/files: completed\n"
        "process files #1: completed <- task backup, run inbox/files\n"
    )
    assert {each.service for each in collector.spans} == {"zrb-store"}
    failed = next(each for each in collector.spans if each.name == "step upload" and each.is_error)
    assert failed.message == "sh exited with 3: no space left"
    for file, name in (("of-dump", "step dump"), ("of-shop.sql", "process files")):
        given = (programs.folder / file).read_text().split("-")
        assert (given[1], given[2]) == (collector.named(name).trace, collector.named(name).id)
    ids = {each.id for each in collector.spans if each.name == "task backup"}
    assert (programs.folder / "of-script").read_text().split("-")[2] in ids


@pytest.mark.promise(number=9)
def test_values_and_outputs_are_exported_only_if_that_is_asked_for(programs: Programs, collector: Collector) -> None:
    programs.write("job.sh", "zrb-store step rates -- echo 'EUR 1.08 token=geheim'\necho printed\n")
    programs.run("zrb-store", "push", "inbox", "files", '"shop.sql"')
    for session, chosen in (("private", "on"), ("open", "values")):
        more = {"ZRB_STORE_TRACES": chosen}
        programs.run("zrb-store", "run", session, "--task", "job", "--", "sh", "job.sh", more=more)
        assert ("EUR 1.08" in str(collector.spans)) == (chosen == "values")
    assert "shop.sql" not in str(collector.spans)
    programs.run("zrb-store", "consume", "inbox", "files", "--all", "--", "true", more={"ZRB_STORE_TRACES": "values"})
    assert collector.named("process files").attributes["zrb_store.data"] == '"shop.sql"'
    step = next(each for each in collector.spans if "zrb_store.result" in each.attributes)
    assert step.attributes["zrb_store.result"] == '"EUR 1.08 token=***"'
    assert not any(text in str(collector.spans) for text in ("geheim", "printed"))


def test_a_fork_of_a_script(programs: Programs, collector: Collector) -> None:
    programs.write("backup.sh", "zrb-store step dump -- true\nzrb-store step upload -- true\n")
    backup = ("--task", "backup", "--", "sh", "-e", "backup.sh")
    programs.run("zrb-store", "run", "night", *backup)
    programs.run("zrb-store", "fork", "night", "--from", "backup", "--step", "upload", "--name", "again")
    programs.run("zrb-store", "run", "again", *backup)
    assert collector.tree == (
        "run backup: completed\n"
        "  task backup #1: completed\n"
        "    step dump #1: completed\n"
        "    step upload #1: completed\n"
        "run backup: completed <- run backup\n"
        "  task backup #1: completed, 1 step from the store\n"
        "    step upload #1: completed\n"
    )


TASKS = """
from zrb import CmdTask, Task, cli, make_task


@make_task(name="count", group=cli, retries=0)
def count(ctx):
    return ctx.xcom["inner"].pop() if len(ctx.xcom["inner"]) else 3


inner = CmdTask(name="inner", cmd="ZRB_STORE_SESSION=nested zrb count", retries=0)


@make_task(name="sum", group=cli, upstream=[inner], retries=0)
def total(ctx):
    import zrb_store

    zrb_store.step("add", len, "abc")
    if not __import__("pathlib").Path("mended").exists():
        raise ValueError("no total")
    return 1
"""


def test_zrb_in_zrb_is_one_trace(programs: Programs, collector: Collector) -> None:
    programs.write("zrb_init.py", TASKS)
    zrb = {"ZRB_INIT_MODULES": "zrb_store.plugin", "ZRB_STORE_SESSION": "outer", "OTEL_SERVICE_NAME": "etl"}
    programs.run("zrb", "sum", code=1, more=zrb)
    programs.write("mended", "")
    programs.run("zrb", "sum", more=zrb)
    assert collector.tree == (
        "run sum: failed\n"
        "  task inner #1: completed\n"
        "    run count: completed\n"
        "      task count #1: completed\n"
        "  task sum #1: failed\n"
        "    step add #1: completed\n"
        "run sum: completed, 1 task from the store <- run sum\n"
        "  task sum #2: completed, 1 step from the store\n"
    )
    assert {each.service for each in collector.spans} == {"etl"}
    assert collector.named("run count").trace == collector.named("task inner").trace


@pytest.mark.parametrize(
    "more", [{"ZRB_STORE_TRACES": "off"}, {"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none"}]
)
def test_nothing_is_traced_when_it_is_off(programs: Programs, collector: Collector, more: dict[str, str]) -> None:
    programs.write("etl.py", WORKFLOW)
    programs.run("zrb-store", "run", "night", "--", "true", more=more)
    programs.run("zrb-store", "push", "inbox", "files", "1", more=more)
    assert collector.spans == []
    with open_store(programs.environment["ZRB_STORE_URL"]) as store:
        assert store.session("night").record().traceparent is None


TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_a_push_keeps_the_span_of_its_environment(programs: Programs, collector: Collector) -> None:
    nobody = {"OTEL_EXPORTER_OTLP_ENDPOINT": "", "TRACEPARENT": TRACEPARENT}
    programs.run("zrb-store", "push", "inbox", "files", "1", more=nobody)
    programs.run("zrb-store", "push", "inbox", "files", "2", more={**nobody, "TRACEPARENT": "00-0-0-0"})
    programs.run("zrb-store", "consume", "inbox", "files", "--all", "--", "true", more={"TRACEPARENT": TRACEPARENT})
    run = collector.named("run inbox/files")
    assert (run.trace, run.parent) == tuple(TRACEPARENT.split("-")[1:3])
    links = [each.links for each in collector.spans if each.name == "process files"]
    assert links == [(run.parent, run.id), (run.id,)]


def test_what_is_missing_is_named_only_if_traces_were_asked_for(programs: Programs) -> None:
    programs.write("opentelemetry.py", "raise ImportError")
    path = {"PYTHONPATH": str(programs.folder)}
    assert programs.run("zrb-store", "run", "one", "--", "true", more=path) == ""
    needed = "install opentelemetry-sdk and opentelemetry-exporter-otlp-proto-http, or set ZRB_STORE_TRACES=off\n"
    assert programs.run("zrb-store", "run", "two", "--", "true", more={**path, "ZRB_STORE_TRACES": "on"}) == (
        f"zrb-store: traces are asked for, but OpenTelemetry has no SDK here: {needed}"
    )
    more = {"OTEL_TRACES_EXPORTER": "zipkin", "ZRB_STORE_TRACES": "on"}
    assert programs.run("zrb-store", "run", "three", "--", "true", more=more) == (
        f"zrb-store: there is no exporter of traces zipkin: {needed}"
    )


def test_a_collector_that_does_not_answer_is_one_line(programs: Programs) -> None:
    nobody = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    [line] = programs.run("zrb-store", "run", "night", "--", "true", more=nobody).splitlines()
    assert line.startswith("zrb-store: traces are not exported: ")


HANGS = """
import os
import signal
from zrb import cli, make_task


@make_task(name="load", group=cli, retries=0)
async def load(ctx):
    import asyncio

    os.kill(os.getpid(), signal.{number})
    await asyncio.sleep(600)
"""


@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT"])
def test_a_signal_loses_no_span(programs: Programs, collector: Collector, number: str) -> None:
    programs.write("zrb_init.py", HANGS.format(number=number))
    code = {"SIGTERM": 143, "SIGINT": 130}[number]
    programs.run("zrb", "load", code=code, more={"ZRB_INIT_MODULES": "zrb_store.plugin"})
    assert collector.tree == "run load: interrupted\n  task load #1: interrupted\n"
    assert not any(each.is_error for each in collector.spans)


TRIGGER = """
import asyncio
from zrb import BaseTrigger, Callback, CmdTask, StrInput, cli

shell = CmdTask(name="shell", cmd='echo "$TRACEPARENT" > of-shell', input=StrInput("event", default=""), retries=0)


async def fire(ctx):
    ctx.xcom["events"].push("a")
    while not len(ctx.xcom["results"]):
        await asyncio.sleep(0.02)


cli.add_task(
    BaseTrigger(
        name="watch", action=fire, queue_name="events", retries=0, readiness_check_delay=0,
        callback=Callback(
            task=shell, input_mapping=lambda ctx: {"event": ctx.xcom["events"].pop()}, result_queue="results",
        ),
    )
)
"""


def test_a_session_of_an_event_is_a_part_of_the_trace(programs: Programs, collector: Collector) -> None:
    programs.write("zrb_init.py", TRIGGER)
    programs.run("zrb", "watch", more={"ZRB_INIT_MODULES": "zrb_store.plugin"})
    assert collector.tree == (
        "run watch: completed\n"
        "  task watch #1: completed\n"
        "    run shell: completed\n"
        "      task shell #1: completed\n"
        "  task watch-check #1: completed\n"
    )
    assert (programs.folder / "of-shell").read_text().split("-")[2] == collector.named("task shell").id
