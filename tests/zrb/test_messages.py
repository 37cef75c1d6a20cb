"""What a run says on stderr before it starts, or instead of it."""

from __future__ import annotations

import re
import sqlite3
import subprocess
from contextlib import ExitStack, closing

import pytest

from tests.zrb.conftest import DEADLINE, Zrb, lines

pytestmark = pytest.mark.slow

TASKS = """
group = cli.add_group(Group(name="etl"))

@make_task(name="extract", retries=0)
def extract(ctx):
    ran("extract")
    return 1

pages = [Task(name=f"page-{n}", action=lambda ctx: 1, upstream=extract, retries=0) for n in range(6)]

@make_task(name="load", upstream=pages, retries=0, group=group)
def load(ctx):
    ran("load")
    if not exists("mended"):
        raise RuntimeError("broken")
    return "loaded"

@make_task(name="quiet", retries=0, group=group)
def quiet(ctx):
    pass
"""
PAGES = "page-0, page-1, page-2, page-3"
TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ"


def said(text: str) -> list[str]:
    """Return the lines of the plugin."""
    return [line for line in lines(text) if line.startswith(("zrb-store: ", "zrb xcom: "))]


@pytest.mark.newest
def test_a_completed_session_says_that_its_result_is_stored_and_since_when(zrb: Zrb) -> None:
    zrb.tasks(TASKS)
    zrb.mark("mended")
    assert said(zrb.run("etl", "load", ZRB_STORE_SESSION="night").err) == []
    again = zrb.run("etl", "load", ZRB_STORE_SESSION="night")
    assert again.out == "loaded\n"
    text = f"session night completed at {TIME}: this is its stored result, and nothing runs; "
    (line,) = said(again.err)
    assert re.fullmatch(f"zrb-store: {text}another ZRB_STORE_SESSION starts a new one", line), line
    (line,) = said(zrb.resume("night").err)
    assert re.fullmatch(f"zrb xcom: {text}--from TASK runs a part of it again", line), line
    zrb.run("etl", "quiet", ZRB_STORE_SESSION="quiet")
    (line,) = said(zrb.run("etl", "quiet", ZRB_STORE_SESSION="quiet").err)
    assert "session quiet completed at " in line
    assert "it has no result, and nothing runs" in line
    assert zrb.ran == ["extract", "load"]


@pytest.mark.oldest
def test_a_resume_says_what_it_runs_and_skips(zrb: Zrb) -> None:
    zrb.tasks(TASKS)
    first = said(zrb.run("etl", "load", code=1, ZRB_STORE_SESSION="night").err)
    assert first == ["zrb-store: session night failed; `zrb xcom resume night` continues it"]
    skips = f"skips extract, {PAGES} and 2 more, completed before"
    runs = "session night is resumed: runs load; "
    failed = "session night failed; `zrb xcom resume night` continues it"
    again = zrb.run("etl", "load", code=1, ZRB_STORE_SESSION="night")
    assert said(again.err) == [f"zrb-store: {runs}{skips}", f"zrb-store: {failed}"]
    assert again.err.index("is resumed") < again.err.index("broken")
    assert said(zrb.resume("night", code=1).err) == [f"zrb xcom: {runs}{skips}", f"zrb xcom: {failed}"]
    zrb.run("xcom", "fork", "night", "--from", "page-3", "--name", "copy")
    zrb.mark("mended")
    (line,) = said(zrb.resume("night", "--from", "extract").err)
    assert line.startswith(f"zrb xcom: session night is resumed: runs extract, {PAGES} and 3 more; skips nothing")
    (line,) = said(zrb.resume("copy").err)
    assert line.startswith("zrb xcom: session copy is resumed: runs ")
    assert "skips extract" in line


@pytest.mark.newest
def test_a_resume_in_another_folder_says_where_to_go(zrb: Zrb) -> None:
    zrb.tasks(TASKS)
    zrb.run("etl", "load", code=1, ZRB_STORE_SESSION="night")
    elsewhere = zrb.folder.with_name("else where")
    elsewhere.mkdir()
    zrb.tasks(TASKS, folder=elsewhere)
    away = zrb.run("xcom", "resume", "night", code=65, cwd=elsewhere)
    (line,) = lines(away.err)
    assert line.startswith("zrb xcom: session night ")
    for name in (f"not to {elsewhere}", f"`cd {zrb.folder}`", "`zrb xcom resume night --here`"):
        assert name in line
    zrb.run("etl", "load", code=1, cwd=elsewhere, ZRB_STORE_SESSION="other")
    (line,) = lines(zrb.resume("other", code=65).err)
    assert f"`cd '{elsewhere}'`" in line


@pytest.mark.newest
def test_an_unknown_variable_is_told_once(zrb: Zrb) -> None:
    zrb.tasks(TASKS)
    zrb.mark("mended")
    misspelt = {"ZRB_STORE_PRESIST": "all", "ZRB_STORE_QQQ": "hunter2-is"}
    told = [
        "ZRB_STORE_PRESIST is not a setting of zrb-store, and is ignored: did you mean ZRB_STORE_PERSIST?",
        "ZRB_STORE_QQQ is not a setting of zrb-store, and is ignored: `zrb xcom db status` lists the settings",
    ]
    run = zrb.run("etl", "load", program="zrb", code=0, cwd=None, ZRB_STORE_SESSION="night", **misspelt)
    assert said(run.err) == [f"zrb-store: {line}" for line in told]
    version = zrb.run("version", program="zrb", code=0, cwd=None, **misspelt)
    assert said(version.err) == [f"zrb-store: {line}" for line in told]
    resumed = zrb.resume("night", "--from", "load", code=0, **misspelt)
    assert said(resumed.err)[:2] == [f"zrb xcom: {line}" for line in told]
    assert len(said(resumed.err)) == 3
    alone = zrb.run("list", program="zrb-store", code=0, cwd=None, **misspelt)
    assert lines(alone.err) == [f"zrb-store: {line.replace('zrb xcom', 'zrb-store')}" for line in told]


@pytest.mark.oldest
def test_a_group_of_the_users_own_is_not_advised(zrb: Zrb) -> None:
    """Without `zrb xcom`, nothing but the same start again continues a session."""
    zrb.tasks(f"cli.add_group(Group(name='xcom'))\nimport zrb_store.plugin\n{TASKS}")
    failed = zrb.run("etl", "load", code=1, ZRB_STORE_SESSION="night", ZRB_INIT_MODULES=None)
    (last,) = said(failed.err)[-1:]
    start = r"ZRB_STORE_SESSION=night \S+zrb etl load"
    assert re.fullmatch(f"zrb-store: session night failed; `{start}` continues it", last), last


@pytest.mark.newest
def test_a_run_says_that_it_waits_for_its_store(zrb: Zrb) -> None:
    zrb.tasks(TASKS)
    zrb.mark("mended")
    with closing(sqlite3.connect(zrb.db, isolation_level=None)) as other, ExitStack() as stack:
        other.execute("BEGIN IMMEDIATE")
        started = []
        for program, args in (("zrb xcom", ("xcom", "push", "inbox", "q", "1")), ("zrb-store", ("etl", "load"))):
            popen = subprocess.Popen(
                [zrb.environ()["PATH"].split(":")[0] + "/zrb", *args],
                cwd=zrb.folder,
                env=zrb.environ(ZRB_STORE_SESSION="night"),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            stack.callback(popen.communicate)
            stack.callback(popen.kill)
            started.append((program, popen))
        for program, popen in started:
            assert popen.stderr is not None
            line = next(line for line in popen.stderr if "waiting up to" in line)
            assert re.fullmatch(
                rf"{program}: the store \S+ is locked by another program: waiting up to \d\d s more\n", line
            ), line
        other.execute("ROLLBACK")
        for _, popen in started:
            popen.communicate(timeout=DEADLINE)
            assert popen.returncode == 0


@pytest.mark.newest
def test_what_no_command_of_zrb_started_names_what_goes_on_with_it(zrb: Zrb) -> None:
    zrb.tasks(TASKS)
    zrb.run("push", "inbox", "files", "1", program="zrb-store")
    zrb.run("consume", "inbox", "files", "--as", "worker", "--", "false", program="zrb-store", code=1)
    (zrb.folder / "nightly.py").write_text(
        "from zrb_store import open_store\n"
        "with open_store() as store, store.session('nightly').run() as run, run.attempt('load'):\n"
        "    raise ValueError\n"
    )
    zrb.run(str(zrb.folder / "nightly.py"), program="python", code=1)
    zrb.run("-c", "import zrb_store; zrb_store.open_store().session('typed').run().start()", program="python")
    started = "was not started by a command of zrb"
    for session, said in {
        "inbox": "session inbox was never run: it has queues, and nothing to resume",
        "worker": rf"session worker {started}: `\S+zrb-store consume inbox files --as worker -- false` continues it",
        "typed": rf"session typed {started}: start its program again",
    }.items():
        (line,) = lines(zrb.resume(session, code=3).err)
        assert re.fullmatch(f"zrb xcom: {said}", line), line
        (line,) = lines(zrb.run("resume", session, program="zrb-store", code=3).err)
        assert re.fullmatch(f"zrb-store: {said}", line), line
    assert lines(zrb.resume("nightly", code=1).err)[-1] == "ValueError", "it starts the program again"
